"""ONNX Runtime on an NVIDIA GPU: by CUDA, and by TensorRT."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from tunekit.runtimes.gpu import OnGpu
from tunekit.runtimes.onnxruntime import OnnxRuntime, session_options
from tunekit.runtimes.runtime import Preparation

if TYPE_CHECKING:
    from tunekit.runtimes.runner import Array


class OnnxRuntimeCuda(OnGpu):
    """The CUDA execution provider, without TF32; inputs and outputs bound on the GPU."""

    name = "onnxruntime-cuda"
    needs: ClassVar[Mapping[str, str]] = {"onnxruntime": "onnxruntime-gpu", "onnx": "onnx"}
    packages = ("onnxruntime",)
    providers: ClassVar[Mapping[str, Mapping[str, str]]] = {
        "CUDAExecutionProvider": {"use_tf32": "0"}
    }

    @classmethod
    def prepare(cls, preparation: Preparation) -> dict[str, Any]:
        return OnnxRuntime.prepare(preparation)

    def open(
        self, plan: Mapping[str, Any], inputs: Mapping[str, Array], threads: int
    ) -> dict[str, Any]:
        import onnxruntime as ort

        missing = [name for name in self.providers if name not in ort.get_available_providers()]
        if missing:
            raise RuntimeError(
                f"this onnxruntime has no {missing[0]}: pip uninstall onnxruntime; "
                "pip install onnxruntime-gpu"
            )
        # CUDA's libraries may have come with PyTorch, in a folder that no loader looks into.
        ort.preload_dlls()
        session = ort.InferenceSession(
            plan["file"],
            sess_options=session_options(threads),
            providers=[(name, dict(options)) for name, options in self.providers.items()],
        )
        taken = session.get_providers()
        wanted = next(iter(self.providers))
        # The others are there for what the first cannot do, and not in its place.
        if taken[0] != wanted:
            raise RuntimeError(f"onnxruntime took {taken[0]} in place of {wanted}")
        self._session, self._binding = session, session.io_binding()
        self._host = [inputs[entry.name] for entry in session.get_inputs()]
        self._inputs = [
            ort.OrtValue.ortvalue_from_numpy(array, self.device, 0) for array in self._host
        ]
        for entry, value in zip(session.get_inputs(), self._inputs, strict=True):
            self._binding.bind_ortvalue_input(entry.name, value)
        for entry in session.get_outputs():
            self._binding.bind_output(entry.name, self.device)
        return {"providers": taken}

    def upload(self) -> None:
        for inside, outside in zip(self._inputs, self._host, strict=True):
            inside.update_inplace(outside)

    def compute(self) -> None:
        self._session.run_with_iobinding(self._binding)
        self._binding.synchronize_outputs()

    def download(self) -> Sequence[Array]:
        return list(self._binding.copy_outputs_to_cpu())


class OnnxRuntimeTensorRT(OnnxRuntimeCuda):
    """The TensorRT execution provider in fp32, and CUDA for what that does not take."""

    name = "onnxruntime-tensorrt"
    providers: ClassVar[Mapping[str, Mapping[str, str]]] = {
        "TensorrtExecutionProvider": {},
        **OnnxRuntimeCuda.providers,
    }

    def open(
        self, plan: Mapping[str, Any], inputs: Mapping[str, Array], threads: int
    ) -> dict[str, Any]:
        # The provider has no option for it: https://github.com/microsoft/onnxruntime/issues/26029
        os.environ["NVIDIA_TF32_OVERRIDE"] = "0"
        return super().open(plan, inputs, threads)
