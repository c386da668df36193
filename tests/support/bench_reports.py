"""Reports for tests of what is made from them, with times and errors chosen."""

from __future__ import annotations

from tunekit.benchmark.comparison import summarise, verdict, with_ratios
from tunekit.benchmark.results import (
    Accuracy,
    Environment,
    Model,
    Protocol,
    Report,
    Round,
    RuntimeResult,
    Tensor,
)
from tunekit.timing.host_load import Noise

QUIET = Noise(
    load_before=(0.1, 0.1, 0.1), load_after=(1.9, 0.4, 0.2), others_share=0.01, steal_share=0.0
)


def timed(name, milliseconds, *, status="ok", reason=None, error=3.7e-6, rounds=None):
    """A row whose round medians are these milliseconds, three runs in each round."""
    numbers = rounds if rounds is not None else range(len(milliseconds))
    turns = [
        Round(
            round=number,
            position=0,
            seconds=[round(ms / 1e3 * factor, 9) for factor in (0.99, 1.0, 1.02)],
            wall_s=ms * 3e-3,
            cpu_s=ms * 6e-3,
            waiting_cpu_s=0.0,
            at_rest=True,
        )
        for number, ms in zip(numbers, milliseconds, strict=True)
    ]
    latency = summarise([sample for turn in turns for sample in turn.seconds])
    return RuntimeResult(
        name=name,
        status=status,
        reason=reason,
        latency=latency,
        fps=1e3 / latency.median_ms,
        accuracy=Accuracy(
            mse=error**2, max_abs_error=error * 10, relative_error=error, within=status == "ok"
        ),
        peak_rss_bytes=734_003_200,
        rss_bytes=700_000_000,
        import_s=0.75,
        load_s=1.25,
        first_run_s=0.1,
        cpu_ms=milliseconds[0] * 2,
        idle_cpu_s=0.04,
        settings={"threads": 2},
        rounds=turns,
    )


def failed(name, reason, status="failed", detail=None):
    """A row of a runtime that never had a turn."""
    return RuntimeResult(name=name, status=status, reason=reason, detail=detail)


def report_of(*rows, warnings=()):
    """A report with these rows, rated against each other."""
    rated = with_ratios(rows, aside=frozenset({"unscheduled"}))
    return Report(
        recipe="name: resnet50_x86\n",
        recipe_digest="0" * 64,
        model=Model(
            name="resnet50_x86",
            source="torchvision:resnet50",
            framework="pytorch",
            digest="1" * 64,
            inputs=(Tensor(name="input", shape=(1, 3, 224, 224), dtype="float32"),),
            outputs=(Tensor(name="output", shape=(1, 1000), dtype="float32"),),
        ),
        protocol=Protocol(
            rounds=10, threads=2, seed=0, turn_s=0.5, warm_up_s=1.0, relative_error=1e-3
        ),
        environment=Environment(
            date="2026-01-02T03:04:05+00:00",
            host={"cpu_name": "AMD EPYC 9B14 96-Core Processor", "cores": 2},
            system="Linux-6.1-x86_64",
            versions={"python": "3.11.4", "torch": "2.12.1"},
            noise=QUIET,
        ),
        order=[[row.name for row in rows if row.rounds] for _ in range(10)],
        runtimes=rated,
        verdict=verdict(rated),
        warnings=list(warnings),
    )


def full_report():
    """All six runtimes of a large model, one of them crashed and one of them wrong."""
    return report_of(
        timed("tuned", [50.1, 50.3, 49.8, 50.0, 50.2, 50.4]),
        timed("unscheduled", [5321.0, 5330.0, 5319.0], rounds=[0, 2, 5]),
        timed("pytorch", [94.2, 94.8, 93.9, 94.1, 95.0, 94.4], error=0.0),
        failed("torchscript", 'SIGSEGV (segmentation fault), after printing "oneDNN" (in round 1)'),
        timed("onnxruntime", [56.0, 56.4, 55.8, 56.1, 56.2, 56.6]),
        timed(
            "openvino",
            [35.0, 35.4, 34.8, 35.1, 35.2, 35.6],
            status="wrong",
            reason="wrong outputs: relative error 0.013, and 0.001 is allowed",
            error=0.013,
        ),
    )
