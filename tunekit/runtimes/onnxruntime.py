"""ONNX Runtime on its CPU execution provider."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from tunekit.runtimes.runtime import Preparation, Runtime

if TYPE_CHECKING:
    from tunekit.runtimes.runner import Array


class OnnxRuntime(Runtime):
    """All graph optimisations, one operator at a time on all threads, inputs bound once.

    Its threads spin between operators and for some 40 ms after a run, which is its default and
    its best for runs in a row. The runner process waits that out before it ends its turn.
    """

    name = "onnxruntime"
    needs: ClassVar[Mapping[str, str]] = {"onnxruntime": "onnxruntime", "onnx": "onnx"}
    packages = ("onnxruntime",)

    @classmethod
    def prepare(cls, preparation: Preparation) -> dict[str, Any]:
        from tunekit.models.export import onnx_file

        return {"file": str(onnx_file(preparation.source, preparation.cache))}

    def load(
        self, plan: Mapping[str, Any], inputs: Mapping[str, Array], threads: int
    ) -> dict[str, Any]:
        session, binding = bound_session(plan["file"], session_options(threads), inputs)
        self._session, self._binding, self._inputs = session, binding, inputs
        return {
            "threads": session.get_session_options().intra_op_num_threads,
            "graph_optimization": "ORT_ENABLE_ALL",
            "execution_mode": "ORT_SEQUENTIAL",
            "providers": session.get_providers(),
        }

    def infer(self) -> object:
        self._session.run_with_iobinding(self._binding)
        return self._binding

    def arrays(self, result: Any) -> Sequence[Array]:
        return list(result.copy_outputs_to_cpu())


def session_options(threads: int) -> Any:
    """What a session is opened with here."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    return options


def bound_session(file: str, options: Any, inputs: Mapping[str, Array]) -> tuple[Any, Any]:
    """A session with these options, and the binding of its inputs and outputs."""
    import onnxruntime as ort

    session = ort.InferenceSession(file, sess_options=options, providers=["CPUExecutionProvider"])
    binding = session.io_binding()
    expected = [entry.name for entry in session.get_inputs()]
    for name in expected:
        binding.bind_cpu_input(name, inputs[name])
    for entry in session.get_outputs():
        binding.bind_output(entry.name, "cpu")
    return session, binding
