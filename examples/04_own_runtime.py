"""A runtime of your own in `bench`: ONNX Runtime with half of its optimisations.

    python examples/04_own_runtime.py

On the command line: `tunekit bench RECIPE --runtimes tuned,package.module:BasicOnnxRuntime`, with
the module where Python finds it.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

import tunekit
from tunekit.runtimes.runtime import Preparation, Runtime


class BasicOnnxRuntime(Runtime):
    """ONNX Runtime that only removes what is redundant in the graph."""

    name = "onnxruntime-basic"
    needs: ClassVar[dict[str, str]] = {"onnxruntime": "onnxruntime", "onnx": "onnx"}

    @classmethod
    def prepare(cls, preparation: Preparation) -> dict[str, Any]:
        """In the parent: writes the model's ONNX file, once, and says where it is."""
        from tunekit.models.export import onnx_file

        return {"file": str(onnx_file(preparation.source, preparation.cache))}

    def load(self, plan: Any, inputs: Any, threads: int) -> dict[str, Any]:
        """In a process of its own: opens the model with these inputs and threads."""
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
        self._session = ort.InferenceSession(
            plan["file"], sess_options=options, providers=["CPUExecutionProvider"]
        )
        self._inputs = dict(inputs)
        return {"threads": threads, "graph_optimization": "ORT_ENABLE_BASIC"}

    def infer(self) -> list[np.ndarray]:
        """What is timed."""
        return self._session.run(None, self._inputs)

    def arrays(self, result: list[np.ndarray]) -> list[np.ndarray]:
        """The outputs, to be compared with the original's."""
        return result


def main(folder: Path = Path("artifacts/examples"), trials: int = 32, rounds: int = 6) -> None:
    """Compares it with the tuned library and with all optimisations."""
    # Runtimes are imported by name in their own processes.
    sys.path.insert(0, str(Path(__file__).parent))
    folder.mkdir(parents=True, exist_ok=True)
    recipe = tunekit.load_recipe(
        "python:tunekit.models.vanilla_cnn:onnx_model",
        inputs={"input": (1, 3, 64, 64)},
        trials=trials,
        output=folder,
        catalogue=folder / "catalogue.db",
    )
    tunekit.tune(recipe)
    names = ["tuned", "onnxruntime", f"{Path(__file__).stem}:{BasicOnnxRuntime.__name__}"]
    report = tunekit.bench(recipe, runtimes=names, rounds=rounds)
    for row in report.runtimes:
        median = f"{row.latency.median_ms:.3f} ms" if row.latency else row.reason
        print(f"{row.name:18} {row.status:8} {median}")
    print(report.verdict)


if __name__ == "__main__":
    main()
