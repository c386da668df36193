"""OpenCV's dnn module."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from tunekit.runtimes.conversion import Converted, in_shapes

if TYPE_CHECKING:
    from tunekit.runtimes.runner import Array


class OpenCV(Converted):
    """The ONNX file as OpenCV reads it; forms: the classic engine and the new one."""

    name = "opencv"
    needs: ClassVar[Mapping[str, str]] = {"cv2": "opencv-python-headless", "onnx": "onnx"}
    install = "'opencv-python-headless>=5.0'"
    packages = ("cv2",)
    reads = "onnx"

    @classmethod
    def convert(
        cls, given: Mapping[str, Any], inputs: Mapping[str, Array], threads: int, folder: Path
    ) -> dict[str, dict[str, Any]]:
        return {
            "classic engine": {"engine": "ENGINE_CLASSIC"},
            "new engine": {"engine": "ENGINE_NEW"},
        }

    def load(
        self, plan: Mapping[str, Any], inputs: Mapping[str, Array], threads: int
    ) -> dict[str, Any]:
        cv2: Any = importlib.import_module("cv2")
        cv2.setNumThreads(threads)
        self._net = cv2.dnn.readNetFromONNX(plan["file"], getattr(cv2.dnn, plan["engine"]))
        self._inputs = dict(inputs)
        self._names, self._outputs = plan["output_names"], plan["outputs"]
        return {"threads": cv2.getNumThreads()}

    def infer(self) -> object:
        # The network keeps a copy of its own, and may have written over it.
        for name, array in self._inputs.items():
            self._net.setInput(array, name)
        return self._net.forward(self._names)

    def arrays(self, result: Any) -> Sequence[Array]:
        return in_shapes([array.copy() for array in result], self._outputs)
