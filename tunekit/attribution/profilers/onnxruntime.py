"""ONNX Runtime, node by node, by its own profile."""

from __future__ import annotations

import json
import math
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunekit.attribution.nodes import Node, as_dict, kind_of_onnx, onnx_operation
from tunekit.runtimes.onnxruntime import OnnxRuntime, bound_session, session_options

if TYPE_CHECKING:
    from tunekit.runtimes.runner import Array

_WARM_UP_RUNS, _LEAST_RUNS, _MOST_RUNS = 2, 3, 500
_SUFFIX = "_kernel_time"


class ProfiledOnnxRuntime(OnnxRuntime):
    """A session of its own for each profile, as one ends with its file; options as in `bench`."""

    def load(
        self, plan: Mapping[str, Any], inputs: Mapping[str, Array], threads: int
    ) -> dict[str, Any]:
        self._file, self._threads = plan["file"], threads
        return super().load(plan, inputs, threads)

    def profile(self, seconds: float) -> dict[str, Any]:
        """Seconds of each node in one run: the medians of the runs after the first ones."""
        with tempfile.TemporaryDirectory(prefix="tunekit-profile-") as folder:
            options = session_options(self._threads)
            options.enable_profiling = True
            options.profile_file_prefix = str(Path(folder) / "profile")
            session, binding = bound_session(self._file, options, self._inputs)
            for _ in range(_WARM_UP_RUNS):
                session.run_with_iobinding(binding)
            start, runs = time.perf_counter(), 0
            while runs < _MOST_RUNS:
                session.run_with_iobinding(binding)
                runs += 1
                if runs >= _LEAST_RUNS and time.perf_counter() - start >= seconds:
                    break
            events = json.loads(Path(session.end_profiling()).read_text("utf-8"))
        return {"nodes": [as_dict(node) for node in nodes_of(events, runs)], "runs": runs}


def nodes_of(events: Sequence[Mapping[str, Any]], runs: int) -> list[Node]:
    """The nodes of the last `runs` runs in a profile, each with its median seconds."""
    starts = sorted(int(event["ts"]) for event in events if event["name"] == "model_run")[-runs:]
    kernels = sorted(
        (event for event in events if event["name"].endswith(_SUFFIX)),
        # The outer of two that start together first: it contains the other.
        key=lambda event: (int(event["ts"]), -int(event["dur"])),
    )
    first_events: dict[tuple[str, int], Mapping[str, Any]] = {}
    samples: dict[tuple[str, int], list[float]] = {}
    for start, end in zip(starts, [*starts[1:], math.inf], strict=True):
        seen: dict[str, int] = {}
        inside_until = -1
        for event in kernels:
            begins = int(event["ts"])
            if not start <= begins < end or begins + int(event["dur"]) <= inside_until:
                continue  # of another run, or a node of a node's own graph, in its time already
            inside_until = begins + int(event["dur"])
            name = str(event["name"])
            which = (name, seen.get(name, 0))
            seen[name] = which[1] + 1
            first_events[which] = event
            samples.setdefault(which, []).append(int(event["dur"]) / 1e6)
    return [
        _node(event, statistics.median(samples[which])) for which, event in first_events.items()
    ]


def _node(event: Mapping[str, Any], seconds: float) -> Node:
    arguments = event["args"]
    op = str(arguments["op_name"])
    inputs = _shapes(arguments.get("input_type_shape", ()))
    outputs = _shapes(arguments.get("output_type_shape", ()))
    operation = onnx_operation(op, inputs, outputs[0]) if outputs else None
    return Node(
        name=str(event["name"]).removesuffix(_SUFFIX),
        op=op,
        kind=kind_of_onnx(op),
        key=operation.key if operation else None,
        work=str(operation) if operation else "",
        elements=math.prod(outputs[0]) if outputs else 0,
        seconds=seconds,
    )


def _shapes(entries: Sequence[Mapping[str, Sequence[int]]]) -> list[tuple[int, ...]]:
    return [tuple(shape) for entry in entries for shape in entry.values()]
