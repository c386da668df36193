"""PyTorch on an NVIDIA GPU: eager, TorchScript, TorchInductor, and through TensorRT."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from tunekit.runtimes.gpu import OnGpu
from tunekit.runtimes.pytorch import built_module, flat_tensors, module_plan
from tunekit.runtimes.runtime import Preparation
from tunekit.runtimes.torchscript import TorchScript, import_operators, traced_module

if TYPE_CHECKING:
    from tunekit.runtimes.runner import Array

_COMPILING_RUNS = 3


class PyTorchCuda(OnGpu):
    """Eager, in fp32: TF32, which PyTorch would take for convolutions, is off."""

    name = "pytorch-cuda"
    needs: ClassVar[Mapping[str, str]] = {"torch": "torch"}
    packages: ClassVar[Sequence[str]] = ("torch",)

    @classmethod
    def prepare(cls, preparation: Preparation) -> dict[str, Any]:
        return module_plan(preparation, "PyTorch")

    def open(
        self, plan: Mapping[str, Any], inputs: Mapping[str, Array], threads: int
    ) -> dict[str, Any]:
        import torch

        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cudnn.benchmark = True
        torch.set_num_threads(threads)
        pinned = self.device == "cuda"
        host = [torch.from_numpy(array) for array in inputs.values()]
        self._host = [tensor.pin_memory() for tensor in host] if pinned else host
        self._inputs = [tensor.to(self.device) for tensor in self._host]
        self._inference_mode = torch.inference_mode
        cuda: Any = torch.cuda
        self._wait = cuda.synchronize if pinned else lambda: None
        self._module = self.on_device(plan)
        return {"device": self.device, "tf32": False}

    def on_device(self, plan: Mapping[str, Any]) -> Any:
        """What is called, on the device."""
        return built_module(plan).to(self.device)

    def upload(self) -> None:
        for inside, outside in zip(self._inputs, self._host, strict=True):
            inside.copy_(outside, non_blocking=True)

    def compute(self) -> None:
        with self._inference_mode():
            self._results = flat_tensors(self._module(*self._inputs))
        self._wait()

    def download(self) -> Sequence[Array]:
        return [tensor.cpu().numpy() for tensor in self._results]


class TorchScriptCuda(PyTorchCuda):
    """Traced and frozen."""

    name = "torchscript-cuda"

    @classmethod
    def prepare(cls, preparation: Preparation) -> dict[str, Any]:
        return TorchScript.prepare(preparation)

    def imports(self, plan: Mapping[str, Any]) -> None:
        super().imports(plan)
        import_operators(plan)

    def on_device(self, plan: Mapping[str, Any]) -> Any:
        import torch

        jit: Any = torch.jit
        return jit.freeze(traced_module(plan, self.device))


class InductorCuda(PyTorchCuda):
    """`torch.compile` with `max-autotune`, which records CUDA graphs, and frozen weights."""

    name = "inductor-cuda"
    mode: ClassVar[str] = "max-autotune"

    def on_device(self, plan: Mapping[str, Any]) -> Any:
        import torch

        config: Any = importlib.import_module("torch._inductor.config")
        compiled: Any = torch.compile(built_module(plan).to(self.device), mode=self.mode)
        with self._inference_mode(), config.patch(freezing=True):
            for _ in range(_COMPILING_RUNS):
                compiled(*self._inputs)
        return compiled


class TorchTensorRT(PyTorchCuda):
    """Torch-TensorRT: what TensorRT takes of the exported program, in fp32."""

    name = "torch-tensorrt"
    needs: ClassVar[Mapping[str, str]] = {"torch": "torch", "torch_tensorrt": "torch-tensorrt"}
    # It would take an executorch that is for a newer torch.
    install = "'torch-tensorrt>=2.12,<2.13' 'executorch>=1.3,<1.4'"
    packages = ("torch", "torch_tensorrt")

    def on_device(self, plan: Mapping[str, Any]) -> Any:
        import torch

        tensorrt: Any = importlib.import_module("torch_tensorrt")
        module = built_module(plan).to(self.device)
        return tensorrt.compile(
            module,
            ir="dynamo",
            inputs=self._inputs,
            enabled_precisions={torch.float32},
            disable_tf32=True,
        )
