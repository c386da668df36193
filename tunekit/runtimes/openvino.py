"""OpenVINO on its CPU plugin."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from tunekit.runtimes.runtime import Preparation, Runtime

if TYPE_CHECKING:
    from tunekit.runtimes.runner import Array


class OpenVINO(Runtime):
    """The latency hint, one stream on all threads, inputs bound once, and fp32 asked for.

    On a CPU with AVX512_BF16 or AMX the plugin computes fp32 models in bfloat16 unless told
    otherwise. That would be another contest: everyone here computes in the model's own precision.
    """

    name = "openvino"
    needs: ClassVar[Mapping[str, str]] = {"openvino": "openvino", "onnx": "onnx"}
    packages = ("openvino",)

    @classmethod
    def prepare(cls, preparation: Preparation) -> dict[str, Any]:
        from tunekit.models.export import onnx_file

        return {"file": str(onnx_file(preparation.source, preparation.cache))}

    def load(
        self, plan: Mapping[str, Any], inputs: Mapping[str, Array], threads: int
    ) -> dict[str, Any]:
        compiled = compiled_model(plan["file"], threads)
        # The request reads the tensors in place: they must live as long as it does.
        self._request, self._inputs = bound_request(compiled, inputs)
        return {
            "threads": int(compiled.get_property("INFERENCE_NUM_THREADS")),
            "precision": str(compiled.get_property("INFERENCE_PRECISION_HINT").to_string()),
            "streams": int(compiled.get_property("NUM_STREAMS")),
            "performance_hint": str(compiled.get_property("PERFORMANCE_HINT")),
        }

    def infer(self) -> object:
        self._request.infer()
        return self._request

    def arrays(self, result: Any) -> Sequence[Array]:
        return [tensor.data.copy() for tensor in result.output_tensors]


def compiled_model(file: str, threads: int, more: Mapping[str, Any] | None = None) -> Any:
    """The model, compiled as it is run here; `more` are properties besides."""
    import openvino as ov

    properties = {
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": 1,
        "INFERENCE_NUM_THREADS": threads,
        "INFERENCE_PRECISION_HINT": "f32",
        **(more or {}),
    }
    return ov.Core().compile_model(file, "CPU", properties)


def bound_request(compiled: Any, inputs: Mapping[str, Array]) -> tuple[Any, list[Any]]:
    """A request with its inputs set, and the tensors that it reads these from."""
    import openvino as ov

    request = compiled.create_infer_request()
    tensors = [ov.Tensor(array, shared_memory=True) for array in inputs.values()]
    for port in compiled.inputs:
        position = next(index for index, name in enumerate(inputs) if name in port.get_names())
        request.set_tensor(port, tensors[position])
    return request, tensors
