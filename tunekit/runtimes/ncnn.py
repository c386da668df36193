"""ncnn, Tencent's engine for phones, with pnnx as its converter."""

from __future__ import annotations

import importlib
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from tunekit.runtimes.conversion import Converted, in_shapes, run_tool
from tunekit.runtimes.runtime import NotApplicable, Preparation

if TYPE_CHECKING:
    from tunekit.runtimes.runner import Array


class NCNN(Converted):
    """A network without fp16 and bf16, which it would take unasked; forms: its Winograd tiles.

    It has no batch axis: of models with one image each, the image is given.
    """

    name = "ncnn"
    needs: ClassVar[Mapping[str, str]] = {"ncnn": "ncnn", "pnnx": "pnnx", "onnx": "onnx"}
    install = "'ncnn>=1.0.20261020' 'pnnx>=20261020'"
    packages = ("ncnn",)
    reads = "onnx"

    @classmethod
    def prepare(cls, preparation: Preparation) -> dict[str, Any]:
        for tensor in preparation.source.inputs:
            if tensor.shape[:1] != (1,):
                raise NotApplicable(f"ncnn has no batch axis, and {tensor} has no single image")
            if tensor.dtype != "float32":
                raise NotApplicable(f"ncnn takes float32, and not {tensor}")
        return super().prepare(preparation)

    @classmethod
    def convert(
        cls, given: Mapping[str, Any], inputs: Mapping[str, Array], threads: int, folder: Path
    ) -> dict[str, dict[str, Any]]:
        pnnx: Any = importlib.import_module("pnnx")
        shapes = ",".join(f"[{','.join(map(str, array.shape))}]f32" for array in inputs.values())
        # It writes a second format beside the model, which nobody needs.
        with tempfile.TemporaryDirectory(prefix="tunekit-pnnx-") as beside:
            model = Path(beside) / "model.onnx"
            model.symlink_to(given["file"])
            run_tool(
                *("pnnx", pnnx.EXEC_PATH, str(model), f"inputshape={shapes}", "fp16=0"),
                *(f"ncnnparam={folder / 'model.param'}", f"ncnnbin={folder / 'model.bin'}"),
            )
        if not (folder / "model.param").is_file():
            raise RuntimeError("pnnx wrote no file")
        return {
            "any Winograd": {"refuse": []},
            "small Winograd": {"refuse": ["use_winograd63_convolution"]},
            "no Winograd": {"refuse": ["use_winograd_convolution"]},
        }

    def load(
        self, plan: Mapping[str, Any], inputs: Mapping[str, Array], threads: int
    ) -> dict[str, Any]:
        ncnn: Any = importlib.import_module("ncnn")
        net, folder = ncnn.Net(), Path(plan["folder"])
        net.opt.num_threads = threads
        refused = ("use_vulkan_compute", "use_bf16_storage", "use_fp16_packed", "use_fp16_storage")
        for option in (*refused, "use_fp16_arithmetic", *plan["refuse"]):
            setattr(net.opt, option, False)
        for file, read in (("model.param", net.load_param), ("model.bin", net.load_model)):
            if read(str(folder / file)) != 0:
                raise RuntimeError(f"ncnn cannot read {file}: a layer that it does not have?")
        self._net, self._outputs = net, plan["outputs"]
        self._inputs = [
            (f"in{index}", ncnn.Mat(array[0]).clone())
            for index, array in enumerate(inputs.values())
        ]
        return {"threads": net.opt.num_threads, "fp16": False}

    def infer(self) -> object:
        extractor = self._net.create_extractor()
        for name, image in self._inputs:
            extractor.input(name, image)
        return [extractor.extract(f"out{index}") for index in range(len(self._outputs))]

    def arrays(self, result: Any) -> Sequence[Array]:
        import numpy as np

        failed = [index for index, (code, _) in enumerate(result) if code != 0]
        if failed:
            raise RuntimeError(f"ncnn could not compute output {failed[0]}")
        return in_shapes([np.array(image) for _, image in result], self._outputs)
