"""An ONNX file whose batch is left open: the size is given by its name.

    python examples/02_onnx.py

The same on the command line: `tunekit tune classifier.onnx --dim batch=4 --trials 32`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

import tunekit


def write_model(file: Path) -> None:
    """A classifier of two layers that takes any number of rows, in place of your file."""
    random = np.random.default_rng(0)
    weights = {
        "w1": random.standard_normal((64, 128)) / 8,
        "w2": random.standard_normal((128, 10)) / 11,
    }
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["features", "w1"], ["hidden"]),
            helper.make_node("Relu", ["hidden"], ["active"]),
            helper.make_node("MatMul", ["active", "w2"], ["scores"]),
        ],
        "classifier",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["batch", 64])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", 10])],
        [numpy_helper.from_array(w.astype("float32"), name) for name, w in weights.items()],
    )
    opset = helper.make_opsetid("", 17)
    onnx.save(helper.make_model(graph, opset_imports=[opset], ir_version=8), file)


def main(folder: Path = Path("artifacts/examples"), trials: int = 32) -> None:
    """Tunes the file for a batch of four, and runs it with an input given by name."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "classifier.onnx"
    write_model(file)

    library = tunekit.tune(
        file,
        dims={"batch": 4},
        trials=trials,
        output=folder,
        catalogue=folder / "catalogue.db",
    )

    scores = library.run(features=np.ones((4, 64), "float32"))
    print(f"library: {library.folder}")
    print(f"scores: {scores.shape}, of the input {library.manifest.inputs[0]}")


if __name__ == "__main__":
    main()
