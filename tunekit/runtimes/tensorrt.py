"""TensorRT by its own builder."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from tunekit.runtimes.conversion import Converted
from tunekit.runtimes.gpu import OnGpu

if TYPE_CHECKING:
    from tunekit.runtimes.runner import Array

_FILE = "model.engine"


class TensorRT(OnGpu, Converted):
    """An engine that is built from the ONNX file, in fp32 without TF32."""

    name = "tensorrt"
    needs: ClassVar[Mapping[str, str]] = {"torch": "torch", "tensorrt": "tensorrt", "onnx": "onnx"}
    # Version 11 has no flag for fp16; this is the series of the torch-tensorrt for our torch.
    install = "'tensorrt>=10.16.1,<10.17'"
    packages = ("torch", "tensorrt")
    reads = "onnx"
    half: ClassVar[bool] = False

    @classmethod
    def convert(
        cls, given: Mapping[str, Any], inputs: Mapping[str, Array], threads: int, folder: Path
    ) -> dict[str, dict[str, Any]]:
        trt: Any = importlib.import_module("tensorrt")
        builder = trt.Builder(trt.Logger(trt.Logger.WARNING))
        network = builder.create_network(0)
        parser = trt.OnnxParser(network, trt.Logger(trt.Logger.WARNING))
        if not parser.parse_from_file(given["file"]):
            raise RuntimeError(f"TensorRT cannot read the model: {parser.get_error(0)}")
        config = builder.create_builder_config()
        config.clear_flag(trt.BuilderFlag.TF32)
        if cls.half:
            config.set_flag(trt.BuilderFlag.FP16)
        engine = builder.build_serialized_network(network, config)
        if engine is None:
            raise RuntimeError("TensorRT built no engine")
        (folder / _FILE).write_bytes(engine)
        return {"engine": {}}

    def open(
        self, plan: Mapping[str, Any], inputs: Mapping[str, Array], threads: int
    ) -> dict[str, Any]:
        import torch

        trt: Any = importlib.import_module("tensorrt")
        self._runtime = trt.Runtime(trt.Logger(trt.Logger.WARNING))
        self._engine = self._runtime.deserialize_cuda_engine(
            (Path(plan["folder"]) / _FILE).read_bytes()
        )
        self._context = self._engine.create_execution_context()
        cuda: Any = torch.cuda
        self._stream = cuda.Stream()
        self._host = [torch.from_numpy(array).pin_memory() for array in inputs.values()]
        self._inputs = [tensor.to(self.device) for tensor in self._host]
        self._results = [
            torch.empty(shape, dtype=getattr(torch, dtype), device=self.device)
            for shape, dtype in plan["outputs"]
        ]
        bound = dict(zip(inputs, self._inputs, strict=True))
        bound.update(zip(plan["output_names"], self._results, strict=True))
        for name, tensor in bound.items():
            self._context.set_tensor_address(name, tensor.data_ptr())
        return {"device": self.device, "precision": "fp16" if self.half else "fp32"}

    def upload(self) -> None:
        import torch

        for inside, outside in zip(self._inputs, self._host, strict=True):
            inside.copy_(outside, non_blocking=True)
        torch.cuda.current_stream().synchronize()

    def compute(self) -> None:
        if not self._context.execute_async_v3(self._stream.cuda_stream):
            raise RuntimeError("TensorRT could not run the engine")
        self._stream.synchronize()

    def download(self) -> Sequence[Array]:
        return [tensor.cpu().numpy() for tensor in self._results]


class TensorRTHalf(TensorRT):
    """The same with fp16 where TensorRT likes it: another precision, which is told by its error."""

    name = "tensorrt-fp16"
    half = True
    yardstick = False
