"""OpenVINO, layer by layer, by its performance counters."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tunekit.attribution.nodes import Node, as_dict, kind_of_openvino, openvino_operation
from tunekit.runtimes.openvino import OpenVINO, bound_request, compiled_model

if TYPE_CHECKING:
    from tunekit.runtimes.runner import Array

_WARM_UP_RUNS, _LEAST_RUNS, _MOST_RUNS = 2, 3, 500


class ProfiledOpenVINO(OpenVINO):
    """A compiled model of its own with counters for each profile; the rest as in `bench`."""

    def load(
        self, plan: Mapping[str, Any], inputs: Mapping[str, Array], threads: int
    ) -> dict[str, Any]:
        self._file, self._threads, self._arrays = plan["file"], threads, inputs
        return super().load(plan, inputs, threads)

    def profile(self, seconds: float) -> dict[str, Any]:
        """Seconds of each layer in one run: the mean of the runs after the first ones.

        A counter is the mean of all runs since the model was compiled, in whole microseconds;
        the first runs, which are slow, are taken out of it again.
        """
        compiled = compiled_model(self._file, self._threads, {"PERF_COUNT": True})
        request, _tensors = bound_request(compiled, self._arrays)
        for _ in range(_WARM_UP_RUNS):
            request.infer()
        before = _counters(request)
        start, runs = time.perf_counter(), 0
        while runs < _MOST_RUNS:
            request.infer()
            runs += 1
            if runs >= _LEAST_RUNS and time.perf_counter() - start >= seconds:
                break
        after = _counters(request)
        total_runs = _WARM_UP_RUNS + runs
        layers = _layers(compiled)
        nodes = [
            _node(
                name,
                layers.get(name, {}),
                max(0.0, (mean * total_runs - before.get(name, 0.0) * _WARM_UP_RUNS) / runs),
            )
            for name, mean in after.items()
        ]
        return {"nodes": [as_dict(node) for node in nodes], "runs": runs}


def _counters(request: Any) -> dict[str, float]:
    """Mean seconds of a run by layer, of those that were executed."""
    return {
        str(layer.node_name): layer.real_time.total_seconds()
        for layer in request.get_profiling_info()
        if str(layer.status).endswith(".EXECUTED")
    }


def _layers(compiled: Any) -> dict[str, dict[str, Any]]:
    """The layers of the graph that is executed, by name: type, and shapes of what goes in and out.

    Those of the graph that was given are fused and changed.
    """
    return {
        str(layer.get_friendly_name()): {
            "type": str(layer.get_rt_info()["layerType"].astype(str)),
            "inputs": [tuple(port.get_shape()) for port in layer.inputs()],
            "outputs": [tuple(port.get_shape()) for port in layer.outputs()],
        }
        for layer in compiled.get_runtime_model().get_ordered_ops()
    }


def _node(name: str, layer: Mapping[str, Any], seconds: float) -> Node:
    kind = str(layer.get("type", ""))
    outputs = layer.get("outputs") or []
    operation = openvino_operation(kind, layer["inputs"], outputs[0]) if outputs else None
    return Node(
        name=name,
        op=kind,
        kind=kind_of_openvino(kind),
        key=operation.key if operation else None,
        work=str(operation) if operation else "",
        elements=math.prod(outputs[0]) if outputs else 0,
        seconds=seconds,
    )
