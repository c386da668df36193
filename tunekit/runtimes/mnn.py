"""MNN, Alibaba's engine for phones."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from tunekit.runtimes.conversion import Converted, in_integer_types, in_shapes, run_tool
from tunekit.wording import last_lines

if TYPE_CHECKING:
    from tunekit.runtimes.runner import Array

# Interpreter.HintMode of MNN/Interpreter.hpp, which its Python package has no names for.
_WINOGRAD_MEMORY_LEVEL = 3
_FILE = "model.mnn"
_CONVERTER = "import sys, _tools; _tools.mnnconvert(['mnnconvert', *sys.argv[1:]])"


class MNN(Converted):
    """A session on its CPU back end at `precision: high`, which is fp32.

    Forms: Winograd with any tile, which is its default, with the smallest, and none. What is timed
    includes its conversions of layout, as with every other runtime.

    The converter is called in its extension module: its script installs a package that reports
    who uses it.
    """

    name = "mnn"
    needs: ClassVar[Mapping[str, str]] = {"MNN": "MNN", "onnx": "onnx"}
    install = "'MNN>=3.6'"
    packages = ("MNN",)
    reads = "onnx"

    @classmethod
    def convert(
        cls, given: Mapping[str, Any], inputs: Mapping[str, Array], threads: int, folder: Path
    ) -> dict[str, dict[str, Any]]:
        converter = (sys.executable, "-P", "-c", _CONVERTER, "-f", "ONNX", "--bizCode", "tunekit")
        source, made = ("--modelFile", given["file"]), ("--MNNModel", str(folder / _FILE))
        said = run_tool("MNN's converter", *converter, *source, *made)
        if not (folder / _FILE).is_file():
            raise RuntimeError(f"MNN's converter wrote no file: {last_lines(said)}")
        return {
            "any Winograd": {"winograd": 3},
            "small Winograd": {"winograd": 1},
            "no Winograd": {"winograd": 0},
        }

    def load(
        self, plan: Mapping[str, Any], inputs: Mapping[str, Array], threads: int
    ) -> dict[str, Any]:
        import numpy as np

        mnn: Any = importlib.import_module("MNN")
        kinds = {"f": mnn.Halide_Type_Float, "i": mnn.Halide_Type_Int, "u": mnn.Halide_Type_Int}
        net = mnn.Interpreter(str(Path(plan["folder"]) / _FILE))
        net.setSessionHint(_WINOGRAD_MEMORY_LEVEL, plan["winograd"])
        session = net.createSession(
            {"backend": "CPU", "numThread": threads, "precision": "high", "memory": "high"}
        )
        self._net, self._session = net, session
        taken, given = net.getSessionInputAll(session), net.getSessionOutputAll(session)

        def host(array: Array) -> Any:
            kind = kinds[array.dtype.kind]
            narrow = array.astype("int32") if array.dtype.kind in "iu" else array
            layout = mnn.Tensor_DimensionType_Caffe
            return mnn.Tensor(array.shape, kind, np.ascontiguousarray(narrow), layout)

        for name, array in inputs.items():
            net.resizeTensor(taken[name], array.shape)
        net.resizeSession(session)
        self._pairs = [(taken[name], host(array)) for name, array in inputs.items()]
        self._shapes = plan["outputs"]
        self._results = [
            (given[name], host(np.zeros(shape, dtype)))
            for name, (shape, dtype) in zip(plan["output_names"], plan["outputs"], strict=True)
        ]
        return {"threads": threads, "precision": "high"}

    def infer(self) -> object:
        for inside, outside in self._pairs:
            inside.copyFrom(outside)
        self._net.runSession(self._session)
        for inside, outside in self._results:
            inside.copyToHostTensor(outside)
        return self._results

    def arrays(self, result: Any) -> Sequence[Array]:
        import numpy as np

        found = [np.array(outside.getNumpyData()) for _, outside in result]
        return in_shapes(in_integer_types(found, self._shapes), self._shapes)
