"""How many of ONNX's own node tests does tunekit pass, and how many ONNX Runtime?

    python benchmarks/onnx_conformance.py [--only PART ...] [--expanded] [-o FILE]

Each test of the onnx package is a small model with inputs and the right outputs. It is imported,
prepared, given default schedules, compiled and run; ONNX Runtime runs it on the CPU as it is. Where
sizes depend on the values of an input, that input is bound to the test's. Tests run side by side in
one library, in a process of its own; where that fails they are run in halves. Tests whose inputs or
outputs are text, sequences or optional are left out. Written to
benchmarks/results/onnx_conformance.json.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests" / "support"))

from onnx_node_tests import (  # noqa: E402 - found by the line above
    Prepared,
    array_of,
    batches,
    difference,
    differences,
    has_tensors_only,
    node_tests,
    operator_of,
    prepared,
)

RESULTS = ROOT / "benchmarks" / "results" / "onnx_conformance.json"
LIMIT_S = 600
BATCH = 24
STATES = ("right", "refused", "wrong", "error")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="*", help="tests whose name has one of these parts")
    parser.add_argument("--expanded", action="store_true", help="also the expanded twins")
    parser.add_argument("-o", "--output", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    tests = [
        test
        for test in node_tests()
        if has_tensors_only(test.model)
        and (arguments.expanded or "_expanded" not in test.name)
        and (not arguments.only or any(part in test.name for part in arguments.only))
    ]
    rows = {test.name: {"operator": operator_of(test)} for test in tests}
    for test in tests:
        with silence():
            rows[test.name]["onnxruntime"] = onnxruntime_is_right(test)
    ready = []
    for test in tests:
        with silence():
            state, item = attempt(test)
        rows[test.name].update(state)
        if item is not None:
            ready.append(item)
    for batch in batches(ready, BATCH):
        for item, text in zip(batch, compared(batch), strict=True):
            state = "right" if not text else "error" if text.startswith("died") else "wrong"
            rows[item.test.name].update({"state": state, "message": text})
        print(".", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    report(rows)
    arguments.output.write_text(json.dumps(rows, indent=1) + "\n", "utf-8")


def attempt(test: Any) -> tuple[dict[str, Any], Prepared | None]:
    """The state of a test that is refused, or what is to be compiled of another."""
    from tunekit.errors import TunekitError

    try:
        item = prepared(test)
    except TunekitError as error:
        return {"state": "refused", "message": error.message}, None
    except Exception as error:  # noqa: BLE001 - what is counted here
        return {"state": "error", "message": f"{type(error).__name__}: {error}"[:300]}, None
    return {"bound": list(item.bound)} if item.bound else {}, item


def compared(batch: Sequence[Prepared]) -> list[str]:
    """What is wrong with each test of a batch; halves where the batch fails as a whole."""
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=child, args=(batch, sender))
    process.start()
    sender.close()
    texts: list[str] | None = None
    with contextlib.suppress(EOFError):
        texts = receiver.recv() if receiver.poll(LIMIT_S) else None
    if texts is None:
        process.kill()
    process.join()
    if texts is not None:
        return texts
    if len(batch) == 1:
        return [f"died with exit code {process.exitcode}"]
    half = len(batch) // 2
    return compared(batch[:half]) + compared(batch[half:])


def child(batch: Sequence[Prepared], sender: Any) -> None:
    with silence():
        sender.send(differences(batch))


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """Frameworks write to both streams, also from C++."""
    kept = [os.dup(stream) for stream in (1, 2)]
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        for stream in (1, 2):
            os.dup2(nowhere, stream)
        yield
    finally:
        for stream, copy in zip((1, 2), kept, strict=True):
            os.dup2(copy, stream)
            os.close(copy)
        os.close(nowhere)


def onnxruntime_is_right(test: Any) -> bool:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(
            test.model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        inputs, outputs = test.data_sets[0]
        names = [value.name for value in test.model.graph.input]
        feed = {name: array_of(value) for name, value in zip(names, inputs, strict=False)}
        return not difference(test, outputs, session.run(None, feed))
    except Exception:  # noqa: BLE001 - it raises of every kind
        return False


def report(rows: dict[str, dict[str, Any]]) -> None:
    """Both counts, and the operators that are not all right."""
    states = Counter(row["state"] for row in rows.values())
    theirs = [row for row in rows.values() if row["onnxruntime"]]
    both = sum(row["state"] == "right" for row in theirs)
    print(f"{len(rows)} tests on tensors of numbers")
    print("tunekit: " + ", ".join(f"{states[state]} {state}" for state in STATES))
    print(f"ONNX Runtime: {len(theirs)} right, {both} of them in tunekit too")
    left: dict[str, list[tuple[str, dict[str, Any]]]] = defaultdict(list)
    for name, row in rows.items():
        if row["state"] != "right" and (row["state"] != "refused" or row["onnxruntime"]):
            left[row["operator"]].append((name, row))
    for operator, some in sorted(left.items(), key=lambda item: -len(item[1])):
        counts = Counter(row["state"] for _, row in some)
        words = ", ".join(f"{count} {state}" for state, count in counts.items())
        print(f"  {operator}: {words}; {some[0][0]}: {some[0][1]['message'][:160]}")


if __name__ == "__main__":
    main()
