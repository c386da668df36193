"""How many of ONNX's own node tests does tunekit pass, and how many ONNX Runtime?

    python benchmarks/onnx_conformance.py [--only PART ...] [--workers 2] [-o FILE]

Each test of the onnx package is a small model with inputs and the right outputs. It is imported,
prepared, given default schedules, compiled and run in a process of its own; ONNX Runtime runs it
on the CPU as it is. Where sizes depend on the values of an input, that input is bound to the
test's. Tests whose inputs or outputs are text, sequences or optional are counted apart. Written to
benchmarks/results/onnx_conformance.json.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import multiprocessing.connection
import os
import sys
import time
import warnings
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import onnx

RESULTS = Path(__file__).parent / "results" / "onnx_conformance.json"
LIMIT_S = 120
STATES = ("right", "refused", "wrong", "error", "died", "too slow")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="*", help="tests whose name has one of these parts")
    parser.add_argument("--expanded", action="store_true", help="also the expanded twins")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("-o", "--output", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    tests = [
        test
        for test in node_tests()
        if (arguments.expanded or "_expanded" not in test.name)
        and (not arguments.only or any(part in test.name for part in arguments.only))
    ]
    rows = run_all(tests, arguments.workers)
    report(rows)
    arguments.output.write_text(json.dumps(rows, indent=1) + "\n", "utf-8")


def node_tests() -> list[Any]:
    """The tests of the onnx package, each with a model and data."""
    with warnings.catch_warnings():
        # Made with overflows and divisions by zero on purpose.
        warnings.simplefilter("ignore")
        from onnx.backend.test.loader import load_model_tests

        return list(load_model_tests(kind="node"))


def run_all(tests: list[Any], workers: int) -> list[dict[str, Any]]:
    """A row for each test, in their order."""
    # Loaded once; each test runs in a fork of this process.
    import onnxruntime  # noqa: F401
    import torch  # noqa: F401
    import tvm  # noqa: F401

    import tunekit.frontends.onnx  # noqa: F401

    context = multiprocessing.get_context("fork")
    waiting, running, rows = list(enumerate(tests)), {}, {}
    while waiting or running:
        while waiting and len(running) < workers:
            index, test = waiting.pop(0)
            receiver, sender = context.Pipe(duplex=False)
            process = context.Process(target=_child, args=(test, sender))
            process.start()
            sender.close()
            running[receiver] = index, process, time.monotonic()
        for receiver in multiprocessing.connection.wait(list(running), timeout=1):
            index, process, _ = running.pop(receiver)
            rows[index] = _received(tests[index], receiver, process)
            print(f"{len(rows)}/{len(tests)} {rows[index]}"[:300], file=sys.stderr)
        for receiver, (index, process, started) in list(running.items()):
            if time.monotonic() - started > LIMIT_S:
                del running[receiver]
                process.kill()
                process.join()
                rows[index] = _row(tests[index], "too slow", f"{LIMIT_S} s", None)
    return [rows[index] for index in range(len(tests))]


def _received(test: Any, receiver: Any, process: Any) -> dict[str, Any]:
    try:
        row: dict[str, Any] = receiver.recv()
        process.join()
    except EOFError:
        process.join()
        return _row(test, "died", f"exit code {process.exitcode}", None)
    return row


def _row(test: Any, state: str, message: str, onnxruntime_is_right: bool | None) -> dict[str, Any]:
    return {
        "name": test.name,
        "operator": _operator(test),
        "state": state,
        "message": message,
        "onnxruntime": onnxruntime_is_right,
        "tensors": _has_tensors_only(test.model),
    }


def _operator(test: Any) -> str:
    # The operator that a test is about is its first that is no constant.
    kinds = [node.op_type for node in test.model.graph.node if node.op_type != "Constant"]
    return kinds[0] if kinds else "Constant"


def _has_tensors_only(model: onnx.ModelProto) -> bool:
    values = [*model.graph.input, *model.graph.output]
    return all(
        value.type.HasField("tensor_type")
        and value.type.tensor_type.elem_type != onnx.TensorProto.STRING
        for value in values
    )


def _child(test: Any, sender: Any) -> None:
    """Says how a test went; the messages of frameworks go nowhere."""
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    from tunekit.errors import TunekitError

    theirs = _onnxruntime_is_right(test)
    try:
        sender.send(_row(test, *_run(test), theirs))
    except TunekitError as error:
        sender.send(_row(test, "refused", error.message, theirs))
    except Exception as error:  # noqa: BLE001 - what is counted here
        text = f"{type(error).__name__}: {str(error).strip()[-300:]}"
        sender.send(_row(test, "error", text, theirs))


def _onnxruntime_is_right(test: Any) -> bool:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(
            test.model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        for inputs, outputs in test.data_sets:
            names = [value.name for value in test.model.graph.input]
            feed = {name: _argument(value) for name, value in zip(names, inputs, strict=False)}
            results = session.run(None, feed)
            if _difference(test, outputs, results):
                return False
    except Exception:  # noqa: BLE001 - it raises of every kind
        return False
    return True


def _argument(value: Any) -> Any:
    return value if value is None or isinstance(value, list) else np.asarray(value)


def _run(test: Any) -> tuple[str, str]:
    from tunekit.errors import ValueNeeded

    bound: list[str] = []
    for inputs, outputs in test.data_sets:
        names = [value.name for value in test.model.graph.input]
        feed = dict(zip(names, inputs, strict=False))
        while True:
            try:
                results = imported_results(bind(test.model, feed, bound), feed)
                break
            except ValueNeeded as needed:
                new = [name for name in needed.names if name not in bound]
                if not new:
                    raise
                bound += new
        difference = _difference(test, outputs, results)
        if difference:
            return "wrong", difference
    return "right", f"bound: {', '.join(bound)}" if bound else ""


def bind(model: onnx.ModelProto, feed: dict[str, Any], names: list[str]) -> onnx.ModelProto:
    """The model with some inputs as constants."""
    result = onnx.ModelProto()
    result.CopyFrom(model)
    for name in names:
        [declared] = [value for value in result.graph.input if value.name == name]
        result.graph.input.remove(declared)
        result.graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(feed[name]), name))
    return result


def imported_results(model: onnx.ModelProto, feed: dict[str, Any]) -> list[Any]:
    """What a library of the model with default schedules computes."""
    import tvm
    from tvm import relax

    from tunekit.frontends.onnx import proto_to_relax
    from tunekit.graph.lowering.build import compile_model
    from tunekit.graph.prepare import prepare
    from tunekit.graph.tasks import extract_tasks
    from tunekit.library.apply import apply_records
    from tunekit.machine.target import resolve_target
    from tunekit.machine.tvm_loading import arrays_of

    names = [value.name for value in model.graph.input]
    target = resolve_target("native")
    graph = prepare(proto_to_relax(model, names, "test"), target, "auto")
    module = apply_records(graph, extract_tasks(graph, target), [], target).module
    executable = compile_model(module, target.tvm)
    machine = relax.VirtualMachine(executable, tvm.cpu())
    values = [tvm.runtime.tensor(np.array(feed[name], order="C")) for name in names]
    return [np.asarray(array) for array in arrays_of(machine["main"](*values))]


def _difference(test: Any, expected: list[Any], given: list[Any]) -> str:
    if len(expected) != len(given):
        return f"{len(given)} outputs in place of {len(expected)}"
    for index, (right, value) in enumerate(zip(expected, given, strict=True)):
        try:
            _require_equal(test, right, value)
        except AssertionError as error:
            lines = [line for line in str(error).splitlines() if line.strip()]
            return f"output {index}: " + "; ".join(lines[:4])
    return ""


def _require_equal(test: Any, right: Any, value: Any) -> None:
    if isinstance(right, list):
        assert isinstance(value, list)
        assert len(right) == len(value)
        for pair in zip(right, value, strict=True):
            _require_equal(test, *pair)
        return
    right, value = np.asarray(right), np.asarray(value)
    assert right.dtype == value.dtype, f"dtype {value.dtype} in place of {right.dtype}"
    assert right.shape == value.shape, f"shape {value.shape} in place of {right.shape}"
    if right.dtype == object or right.dtype.kind in "SU":
        np.testing.assert_array_equal(right, value)
        return
    if right.dtype.kind == "V" or "float" in str(right.dtype):
        right, value = right.astype(np.float64), value.astype(np.float64)
    np.testing.assert_allclose(right, value, rtol=test.rtol, atol=test.atol)


def report(rows: list[dict[str, Any]]) -> None:
    """Both counts, and the operators where they differ."""
    tensors = [row for row in rows if row["tensors"]]
    states = Counter(row["state"] for row in tensors)
    theirs = sum(bool(row["onnxruntime"]) for row in tensors)
    both = sum(bool(row["onnxruntime"]) and row["state"] == "right" for row in tensors)
    print(f"{len(rows)} tests, {len(tensors)} of them on tensors of numbers")
    print("tunekit: " + ", ".join(f"{states[state]} {state}" for state in STATES))
    print(f"ONNX Runtime: {theirs} right, {both} of them in tunekit too")
    missing: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in tensors:
        if row["state"] not in ("right", "refused") or (
            row["state"] == "refused" and row["onnxruntime"]
        ):
            missing[row["operator"]].append(row)
    for operator, some in sorted(missing.items(), key=lambda item: -len(item[1])):
        counts = Counter(row["state"] for row in some)
        words = ", ".join(f"{count} {state}" for state, count in counts.items())
        print(f"  {operator}: {words}; {some[0]['name']}: {some[0]['message'][:160]}")


if __name__ == "__main__":
    main()
