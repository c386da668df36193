"""Models that torch runs, wherever they come from."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from tunekit.cache import ContentCache, content_key
from tunekit.errors import ImportFailed, ModelFileError
from tunekit.models.binding import given_inputs
from tunekit.models.samples import Use, draw
from tunekit.models.source import SourceModel
from tunekit.models.sources.torch_calls import Call, NamedCall, require_stateless
from tunekit.models.sources.torch_refusals import require_importable
from tunekit.models.spec import TensorSpec, code_digest
from tunekit.models.weights import calibrate, is_untrained, load_weights
from tunekit.processes.quiet import quiet
from tunekit.wording import first_line

if TYPE_CHECKING:
    import tvm
    from torch.export import ExportedProgram

    from tunekit.models.binding import BoundValue
    from tunekit.models.source import Array
    from tunekit.recipe import ModelSpec
    from tunekit.recipe.detector import DetectorSpec

STATE_KIND = "torch-state"
STATE_FILE = "state.pth"
_SHORT = {torch.float16, torch.bfloat16}
_STEPS = 4
"""So many steps of its shorter floats may a model be off: each operator rounds its result."""


@dataclass(frozen=True)
class Weights:
    """Where the weights of a torch module come from.

    Attributes:
        file: loaded into the module; None for those that it is built with.
        state: a file of calibrated weights to use instead.
        random: whether those that it is built with are random, which are calibrated; None says
            that of a model whose batch normalizations have never seen a batch.
        cache: keeps calibrated weights.
        made_at: the model at the size that random weights are made at, where it has several.
    """

    file: Path | None = None
    state: Path | None = None
    random: bool | None = None
    cache: ContentCache | None = None
    made_at: ModelSpec | None = None


class TorchModel(SourceModel):
    """A torch module, built when it is first needed."""

    framework = "pytorch"

    def __init__(
        self,
        name: str,
        digest: str,
        seed: int,
        inputs: Sequence[TensorSpec],
        build: Callable[[], torch.nn.Module],
        weights: Weights,
        bound: Mapping[str, BoundValue] | None = None,
        detector: DetectorSpec | None = None,
    ) -> None:
        """`build` makes the module; its random initial weights come from the seed.

        `bound` are parameters of its `forward` that are constants, `detector` what the recipe says
        of one.
        """
        super().__init__(name, digest, seed)
        self._detector_spec = detector
        self._bound = bound or {}
        self._inputs = tuple(inputs)
        self._build = build
        self._weights = weights

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        return self._inputs

    @cached_property
    def outputs(self) -> tuple[TensorSpec, ...]:
        results = self._run(self.arguments(self.sample_inputs(self.seed)))
        if not results:
            raise ModelFileError(f"{self.name} returns no tensor")
        return tuple(
            TensorSpec(name, tuple(tensor.shape), str(tensor.dtype).removeprefix("torch."))
            for name, tensor in results
        )

    def reference(self, inputs: Mapping[str, Array]) -> list[Array]:
        return [
            tensor.detach().cpu().contiguous().numpy().copy()
            for _, tensor in self._run(self.arguments(inputs))
        ]

    def exact_reference(self, inputs: Mapping[str, Array]) -> list[Array] | None:
        widened = [
            value.double() if value.is_floating_point() else value
            for value in self.arguments(inputs)
        ]
        try:
            with torch.no_grad(), quiet():
                results = copy.deepcopy(self.module).double().named_results(widened)
        except Exception:  # noqa: BLE001 - a module may insist on float32
            return None
        dtypes = [spec.dtype for spec in self.outputs]
        return [
            tensor.numpy().astype(dtype) for (_, tensor), dtype in zip(results, dtypes, strict=True)
        ]

    def rounding_step(self, outputs: Sequence[Array]) -> float:
        module = self.module
        dtypes = {tensor.dtype for tensor in (*module.parameters(), *module.buffers())}
        if "program" in vars(self):
            # What is computed in shorter floats, whatever the weights are, is in the trace.
            parts = self.program.graph_module.modules()
            graphs = [part.graph for part in parts if isinstance(part, torch.fx.GraphModule)]
            fakes = [node.meta.get("val") for graph in graphs for node in graph.nodes]
            dtypes |= {fake.dtype for fake in fakes if isinstance(fake, torch.Tensor)}
        return max((_STEPS * torch.finfo(dtype).eps for dtype in dtypes & _SHORT), default=0.0)

    def operators(self) -> list[str]:
        return [
            f"operator {node.target}, node '{node.name}'" for node in _tensor_calls(self.program)
        ]

    def looking_at(self, operators: Sequence[int]) -> TorchModel:
        with quiet():
            traced = self.program.module(check_guards=False)
        graph = torch.fx.GraphModule(traced, traced.graph)
        calls = _tensor_calls(self.program)
        names = [calls[index].name for index in operators]
        by_name = {node.name: node for node in graph.graph.nodes}
        [result] = graph.graph.find_nodes(op="output")
        result.args = (tuple(by_name[name] for name in names),)
        plain: Any = torch.fx.graph.CodeGen
        graph.graph.set_codegen(plain())
        graph.recompile()
        probe = TorchModel(
            self.name, self.digest, self.seed, self.inputs, lambda: graph, Weights(random=False)
        )
        probe.is_single = self.is_single
        return probe

    def to_relax(self) -> tvm.IRModule:
        from tunekit.torch_frontend import is_data_dependent, program_to_relax

        self._require_stateless()
        try:
            names = [spec.name for spec in self.inputs]
            return program_to_relax(self.program, names, self.name, is_single=self.is_single)
        except ImportFailed as error:
            # An exporter would follow the branch that the sample inputs take, and say nothing.
            if is_data_dependent(error):
                raise
            return self._through_onnx(error)

    def _through_onnx(self, refusal: ImportFailed) -> tvm.IRModule:
        """The model by way of an exported ONNX file.

        Raises:
            ImportFailed: `refusal`, where that does not work either.
        """
        from tunekit.models.sources.onnx_file import OnnxModel

        with tempfile.TemporaryDirectory(prefix="tunekit-onnx-") as folder:
            path = Path(folder) / "model.onnx"
            try:
                self.write_onnx(path)
                import onnx

                proto = onnx.load(str(path))
                model = OnnxModel(self.name, self.digest, self.seed, self.inputs, proto)
                model.is_single = self.is_single
                if [spec.shape for spec in model.outputs] != [spec.shape for spec in self.outputs]:
                    raise refusal
                module = model.to_relax()
            except (ImportFailed, ModelFileError):
                raise refusal from None
        self.detour = f"through ONNX ({refusal.message.removeprefix(f'{self.name}: ')})"
        return module

    def torch_module(self, *, traced: bool = False) -> torch.nn.Module:
        """The module in evaluation mode; takes the inputs by position, in their order."""
        return self.module

    def write_onnx(self, path: Path) -> None:
        import onnx

        arguments = tuple(self.arguments(self.sample_inputs(self.seed)))
        names: dict[str, Any] = {
            "input_names": [spec.name for spec in self.inputs],
            "output_names": [spec.name for spec in self.outputs],
        }
        failure: Exception | None = None
        # The older exporter knows some operators that the newer one does not.
        for dynamo in (True, False):
            options: dict[str, Any] = {"external_data": False} if dynamo else {}
            try:
                model = self.program if dynamo else self.module
                with quiet(), torch.no_grad():
                    torch.onnx.export(
                        model, arguments, str(path), dynamo=dynamo, **names, **options
                    )
                    onnx.checker.check_model(str(path))
                return
            except Exception as error:  # noqa: BLE001 - the exporters raise of every kind
                failure = failure or error
        path.unlink(missing_ok=True)
        assert failure is not None
        raise ImportFailed(
            f"{self.name}: torch.onnx.export cannot export the model: {first_line(failure)}"
        ) from failure

    @cached_property
    def program(self) -> ExportedProgram:
        """The traced model.

        Raises:
            ImportFailed: torch.export cannot trace it.
        """
        return self._trace()

    def _trace(self) -> ExportedProgram:
        from tunekit.torch_frontend import export_program

        arguments = self.arguments(self.sample_inputs(self.seed))
        _ = self.outputs  # An input that does not fit is told as such, not as a failed trace.
        model = self.module.model
        if isinstance(model, torch.jit.ScriptModule):
            positional, named = self.module.arguments(arguments)
            return export_program(model, positional, self.name, named)
        return export_program(self.module, arguments, self.name)

    def _require_stateless(self) -> None:
        _ = self.outputs  # An input that does not fit is told as such.
        seeds = (self.seed, self.seed + 1)
        samples = [self.arguments(self.sample_inputs(seed)) for seed in seeds]
        with torch.no_grad(), quiet():
            require_stateless(self.module, samples, self.name)

    @cached_property
    def module(self) -> Call:
        """The module with its weights, in evaluation mode."""
        module = self._built
        require_importable(module, self.name)
        self._fill(module)
        module.eval()
        for parameter in module.parameters():  # A script has no requires_grad_ of its own.
            parameter.requires_grad_(False)
        call = self._by_position(module)
        call.eval()
        return call

    @cached_property
    def _built(self) -> torch.nn.Module:
        """The module with the weights that it is built with, in evaluation mode."""
        with torch.random.fork_rng(devices=[]), quiet():
            torch.manual_seed(self.seed)
            return self._build().eval()

    def uses(self) -> Mapping[str, Use]:
        from tunekit.models.sources.torch_uses import uses_of_arguments

        arguments = [torch.from_numpy(draw(spec, None, 0, 0)) for spec in self.inputs]
        names = [spec.name for spec in self.inputs]
        return uses_of_arguments(self._by_position(self._built), arguments, names)

    @cached_property
    def state_key(self) -> str:
        """The cache's key of the weights."""
        from tunekit.models.registry import load_source

        made_at = self._weights.made_at
        digest = self.digest if made_at is None else load_source(made_at).digest
        return content_key(STATE_KIND, digest, code_digest())

    def arguments(self, inputs: Mapping[str, Array]) -> list[torch.Tensor]:
        """The arrays as tensors, in the order of `inputs`."""
        return [torch.from_numpy(inputs[spec.name]) for spec in self.inputs]

    def _fill(self, module: torch.nn.Module) -> None:
        path, cache = self._weights.state or self._weights.file, self._weights.cache
        if path is not None:
            load_weights(module, path)
            return
        random = self._weights.random
        if not (is_untrained(module) if random is None else random):
            return
        kept = cache.get(STATE_KIND, self.state_key) if cache is not None else None
        if kept is not None:
            load_weights(module, kept / STATE_FILE)
            return
        self._calibrate(module)
        if cache is not None:
            with cache.put(STATE_KIND, self.state_key) as folder:
                torch.save(module.state_dict(), folder / STATE_FILE)

    def _calibrate(self, module: torch.nn.Module) -> None:
        """Gives it random weights that do not hide errors."""
        calibrate(self._by_position(module), self._examples(), self.seed)

    def state(self) -> dict[str, torch.Tensor]:
        """The weights by name, as the module takes them."""
        state: dict[str, torch.Tensor] = self.module.model.state_dict()
        return state

    def _examples(self) -> list[torch.Tensor]:
        """Inputs that random weights are made with."""
        made_at, likely = self._weights.made_at, self.likely_values
        specs = self.inputs if made_at is None else given_inputs(made_at)
        return [
            torch.from_numpy(draw(spec, likely.get(spec.name), self.seed, index))
            for index, spec in enumerate(specs)
        ]

    def _by_position(self, module: torch.nn.Module) -> Call:
        """The module as one that takes the inputs by position, and no other."""
        return NamedCall(module, self.inputs, self.name, self._bound)

    def _run(self, arguments: Sequence[torch.Tensor]) -> list[tuple[str, torch.Tensor]]:
        """The results with their names; the arguments stay as they are."""
        module = self.module
        try:
            with torch.no_grad(), quiet():
                return module.named_results([tensor.clone() for tensor in arguments])
        except Exception as error:
            given = "; ".join(map(str, self.inputs))
            raise ModelFileError(
                f"{self.name} does not accept the recipe's inputs ({given}): {first_line(error)}",
                hint="check the shapes and dtypes of model.inputs",
            ) from error


def _tensor_calls(program: ExportedProgram) -> list[torch.fx.Node]:
    """The nodes of a program that compute one tensor."""
    return [
        node
        for node in program.graph.nodes
        if node.op == "call_function" and isinstance(node.meta.get("val"), torch.Tensor)
    ]


def write_state(model: TorchModel, path: Path) -> None:
    """Write the weights, which `Weights(state=path)` takes."""
    torch.save(model.state(), path)
