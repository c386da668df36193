"""What pages are made of: a session, a library, an explanation."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from tunekit.attribution.results import Explanation, Operator, PeaksEntry, RuntimeEntry
from tunekit.catalogue import Catalogue, NewSession, NewTask, NewTrial, NewWorkload
from tunekit.catalogue.entries import Failure, FailureKind
from tunekit.library.manifest import Manifest, RatioEntry, Selection, VariantEntry


def session_in(path: Path) -> str:
    """A session of two kernels that got better and failed once; its id."""
    begun = datetime.now(UTC)
    with Catalogue.open(str(path)) as catalogue:
        session = catalogue.sessions.begin(
            NewSession(
                name="small",
                recipe_yaml="name: small\nmodel: <script>\n",
                recipe_digest="0" * 64,
                model_digest=None,
                model_name="small",
                target_json='{"kind":"llvm","mcpu":"znver3"}',
                host={"cpu_name": "AMD EPYC"},
                host_fingerprint="host",
                toolchain={"apache-tvm": "0.27"},
                budget_trials=4,
                seed=0,
            )
        )
        tasks = catalogue.trials.ensure_tasks(
            session.id,
            [
                NewTask(NewWorkload(f"hash{n}", f"module {n}", "fused", f"op{n}"), f"op{n}", 1.0)
                for n in range(2)
            ],
        )
        samples = [(0, 4e-3), (1, 2e-3), (0, 1e-3)]
        trials = [
            NewTrial(
                tasks[task],
                f"candidate {index}",
                "trace",
                samples_s=(seconds,),
                measured_at=begun + timedelta(minutes=index + 1),
            )
            for index, (task, seconds) in enumerate(samples)
        ]
        crash = Failure(FailureKind.CRASH, "SIGILL (illegal instruction)")
        trials.append(NewTrial(tasks[1], "candidate 3", "trace", failure=crash))
        catalogue.trials.add(session.id, trials)
        catalogue.sessions.add_seconds(session.id, {"measure": 90.0, "sample": 30.0})
        catalogue.sessions.close(session.id, "finished")
        return session.id


def selected_library() -> Manifest:
    """One that was faster than a variant, of which a third one crashed."""
    variants = (
        VariantEntry(name="tuned", relative_error=1.2e-5, median_ms=4.0, rounds_ms=(4.0,) * 6),
        VariantEntry(
            name="direct",
            relative_error=9e-6,
            median_ms=5.0,
            rounds_ms=(5.0,) * 6,
            ratio=RatioEntry(value=1.25, low=1.22, high=1.28, confidence=0.97),
        ),
        VariantEntry(name="default", left_out="SIGILL (illegal instruction)"),
    )
    return Manifest(
        name="small",
        sha256="0" * 64,
        size_bytes=4 * 2**20,
        created_at=datetime(2026, 1, 2, tzinfo=UTC),
        inputs=(),
        outputs=(),
        target={"kind": "llvm"},
        device="cpu",
        layout="NCHWc",
        layout_transforms=0,
        coverage=0.5,
        applied=1,
        kernels=2,
        estimated_latency_s=4e-3,
        relative_errors=(1.2e-5,),
        model_digest="1" * 64,
        work_digest="2" * 64,
        recipe_digest="3" * 64,
        recipe={},
        catalogue="catalogue.db",
        host={},
        versions={},
        tasks=(),
        selection=Selection(shipped="tuned", threads=2, rounds=6, variants=variants),
    )


def explanation() -> Explanation:
    operator = Operator(
        name="fused_conv",
        work="3x3 64 to 64, 56x56",
        kind="convolution",
        calls=3,
        seconds=2.5e-3,
        best_s=2.4e-3,
        share=0.5,
        flops=2e8,
        bytes=1_000_000,
        flops_per_s=8e10,
        bytes_per_s=4e8,
        of_peak=0.8,
        bound="compute",
        gain_s=5e-4,
        trials=10,
        space="convolution",
        others={},
        difference_s=None,
    )
    peaks = PeaksEntry(
        flops_per_s=1e11,
        bytes_per_s=2e10,
        streamed_mib=64,
        memory_bytes_per_s=1e10,
        launch_s=2e-6,
        measured=3,
    )
    return Explanation(
        name="small",
        source="python:small",
        library="artifacts/small",
        cpu="AMD EPYC",
        target={"kind": "llvm"},
        threads=2,
        rounds=5,
        sorted_by="gain",
        peaks=peaks,
        runtimes=(RuntimeEntry(name="tuned", status="ok", end_to_end_s=5e-3),),
        operators=(operator,),
        unmatched=(),
        remarks=("the machine was busy",),
    )
