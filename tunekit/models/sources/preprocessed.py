"""A model behind what turns its inputs, as people have them, into those that it was made for."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunekit.ir.rewrite import rebuild, substitute
from tunekit.models.binding import given_inputs
from tunekit.models.preprocessing import (
    CHANNELS_FIRST,
    CHANNELS_LAST,
    Preprocessing,
    preprocessing_of,
)
from tunekit.models.samples import Use
from tunekit.models.source import SourceModel
from tunekit.models.spec import TensorSpec

if TYPE_CHECKING:
    import onnx
    import torch
    import tvm

    from tunekit.accuracy import Comparison
    from tunekit.models.source import Array
    from tunekit.recipe.schema import ModelSpec


class PreprocessedModel(SourceModel):
    """A model behind what turns its inputs into those that it was made for."""

    def __init__(
        self,
        own: SourceModel,
        preprocessing: Mapping[str, Preprocessing],
        inputs: Sequence[TensorSpec],
    ) -> None:
        """`own` takes inputs of the same names and in the same order."""
        super().__init__(own.name, own.digest, own.seed)
        self.framework = own.framework
        self.finds_objects = own.finds_objects
        self.own = own
        self._preprocessing = preprocessing
        self._inputs = tuple(inputs)

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        return self._inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        return self.own.outputs

    def uses(self) -> Mapping[str, Use]:
        return self.own.uses()

    def sample_inputs(self, seed: int) -> dict[str, Array]:
        if not self.finds_objects:
            return super().sample_inputs(seed)
        specs = {spec.name: spec for spec in self.inputs}
        return {
            name: array
            if (how := self._preprocessing.get(name)) is None
            else _array_before(array, how, specs[name].dtype)
            for name, array in self.own.sample_inputs(seed).items()
        }

    def compare(self, reference: Sequence[Array], actual: Sequence[Array]) -> Comparison:
        return self.own.compare(reference, actual)

    def require_telling(self, references: Sequence[Sequence[Array]]) -> None:
        self.own.require_telling(references)

    def reference(self, inputs: Mapping[str, Array]) -> list[Array]:
        return self.own.reference(self._prepared(inputs))

    def exact_reference(self, inputs: Mapping[str, Array]) -> list[Array] | None:
        return self.own.exact_reference(self._prepared(inputs))

    def rounding_step(self, outputs: Sequence[Array]) -> float:
        return self.own.rounding_step(outputs)

    def operators(self) -> list[str]:
        return self.own.operators()

    def looking_at(self, operators: Sequence[int]) -> PreprocessedModel:
        return PreprocessedModel(self.own.looking_at(operators), self._preprocessing, self.inputs)

    def to_relax(self) -> tvm.IRModule:
        self.own.is_single = self.is_single
        module = self.own.to_relax()
        self.detour = self.own.detour
        return _relax_with(module, self.inputs, self._preprocessing)

    def torch_module(self, *, traced: bool = False) -> torch.nn.Module | None:
        module = self.own.torch_module(traced=traced)
        if module is None:
            return None
        from tunekit.models.sources.torch_calls import WithPreprocessing

        return WithPreprocessing(
            module, [self._preprocessing.get(spec.name) for spec in self.inputs]
        ).eval()

    def write_onnx(self, path: Path) -> None:
        import onnx

        from tunekit.models.sources.onnx_file import write_onnx

        with tempfile.TemporaryDirectory(prefix="tunekit-onnx-", dir=path.parent) as folder:
            own = Path(folder) / path.name
            self.own.write_onnx(own)
            model = onnx.load(str(own))
            write_onnx(_onnx_with(model, self.inputs, self._preprocessing), path)

    def _prepared(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """The arrays that the model was made for."""
        return {
            name: array
            if (how := self._preprocessing.get(name)) is None
            else _array_with(array, how)
            for name, array in inputs.items()
        }


def preprocessed(own: SourceModel, spec: ModelSpec) -> SourceModel:
    """The model with what a recipe asks before it; `own` is that of `without_preprocessing`."""
    preprocessing = preprocessing_of(spec)
    if not preprocessing:
        return own
    given = {item.name: item for item in given_inputs(spec)}
    # The model's order may be another than the recipe's.
    return PreprocessedModel(own, preprocessing, [given[item.name] for item in own.inputs])


def _array_with(array: Array, how: Preprocessing) -> Array:
    import numpy as np

    moved = array.transpose(CHANNELS_FIRST) if how.moves_channels else array
    factor, offset = how.constants()
    return np.ascontiguousarray(moved.astype(how.dtype) * factor + offset)


def _array_before(array: Array, how: Preprocessing, dtype: str) -> Array:
    """What is turned into an array, as near as numbers of its type are."""
    import numpy as np

    factor, offset = how.constants()
    given = (array.astype(how.dtype) - offset.astype(how.dtype)) / factor.astype(how.dtype)
    if np.dtype(dtype).kind in "iu":
        limits = np.iinfo(np.dtype(dtype))
        given = np.clip(np.rint(given), limits.min, limits.max)
    moved = given.transpose(CHANNELS_LAST) if how.moves_channels else given
    return np.ascontiguousarray(moved.astype(dtype))


def _relax_with(
    module: tvm.IRModule, inputs: Sequence[TensorSpec], preprocessing: Mapping[str, Preprocessing]
) -> tvm.IRModule:
    """A Relax module whose `main` takes the inputs as they come."""
    from tvm import relax

    own = list(module["main"].params)
    params = [
        relax.Var(spec.name, relax.TensorType(spec.shape, spec.dtype))
        if spec.name in preprocessing
        else param
        for spec, param in zip(inputs, own, strict=True)
    ]
    known: dict[Any, Any] = dict(zip(own, params, strict=True))

    def begin(builder: relax.BlockBuilder) -> None:
        for spec, param, given in zip(inputs, own, params, strict=True):
            how = preprocessing.get(spec.name)
            if how is None:
                continue
            value: Any = relax.op.astype(given, how.dtype)
            if how.moves_channels:
                value = relax.op.permute_dims(builder.emit(value), CHANNELS_FIRST)
            if how.normalizes:
                factor, offset = (relax.const(array) for array in how.constants())
                value = relax.op.multiply(builder.emit(value), factor)
                value = relax.op.add(builder.emit(value), offset)
            known[param] = builder.emit(value)

    def emit(builder: relax.BlockBuilder, var: relax.Var, value: relax.Expr) -> None:
        known[var] = builder.emit(substitute(value, known.__getitem__), var.name)

    return rebuild(
        module,
        emit,
        lambda _, result: substitute(result, known.__getitem__),
        params=params,
        begin=begin,
    )


def _onnx_with(
    model: onnx.ModelProto,
    inputs: Sequence[TensorSpec],
    preprocessing: Mapping[str, Preprocessing],
) -> onnx.ModelProto:
    """An ONNX model that takes the inputs as they come."""
    import numpy as np
    from onnx import helper, numpy_helper

    graph, nodes = model.graph, []
    declared = {value.name: value for value in graph.input}
    specs = {spec.name: spec for spec in inputs}
    for name, how in preprocessing.items():
        last = name
        steps: list[tuple[str, list[str], dict[str, Any]]] = [
            ("Cast", [], {"to": helper.np_dtype_to_tensor_dtype(np.dtype(how.dtype))})
        ]
        if how.moves_channels:
            steps.append(("Transpose", [], {"perm": CHANNELS_FIRST}))
        arithmetic = ("Mul", "Add") if how.normalizes else ()
        for operator, constant in zip(arithmetic, how.constants(), strict=False):
            weight = f"{name}/preprocessing/{operator}"
            graph.initializer.append(numpy_helper.from_array(constant, weight))
            steps.append((operator, [weight], {}))
        for operator, weights, attributes in steps:
            result = f"{name}/preprocessing/{operator}/result"
            nodes.append(helper.make_node(operator, [last, *weights], [result], **attributes))
            last = result
        _rename(graph, name, last)
        spec = specs[name]
        declared[name].CopyFrom(
            helper.make_tensor_value_info(
                name, helper.np_dtype_to_tensor_dtype(np.dtype(spec.dtype)), spec.shape
            )
        )
    kept = list(graph.node)
    del graph.node[:]
    graph.node.extend([*nodes, *kept])
    return model


def _rename(graph: onnx.GraphProto, name: str, new: str) -> None:
    """Lets nodes read another value, those in branches and loops too."""
    for node in graph.node:
        for index, read in enumerate(node.input):
            if read == name:
                node.input[index] = new
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                if all(value.name != name for value in inner.input):
                    _rename(inner, name, new)
    for value in graph.output:
        if value.name == name:
            # An input that is an output too.
            graph.node.append(onnx.helper.make_node("Identity", [new], [name]))
