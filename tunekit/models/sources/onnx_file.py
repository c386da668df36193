"""`file.onnx`, and models that a callable returns as ONNX."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx.external_data_helper import ExternalDataInfo, uses_external_data

from tunekit.cache import ContentCache, KeyPart, file_digest
from tunekit.errors import ModelFileError
from tunekit.models.binding import (
    bound_values,
    given_inputs,
    require_dtype,
    require_fixed,
    require_inputs,
)
from tunekit.models.samples import Use
from tunekit.models.source import SourceModel
from tunekit.models.sources.onnx_reading import as_onnxruntime_reads, read_onnx, session_of
from tunekit.models.sources.quantized_onnx import (
    dynamic_step,
    is_quantized,
    largest_step,
    without_saturation,
)
from tunekit.models.spec import DeclaredInput, TensorSpec
from tunekit.processes.quiet import quiet
from tunekit.wording import first_line

if TYPE_CHECKING:
    import tvm

    from tunekit.models.binding import BoundValue
    from tunekit.models.source import Array
    from tunekit.recipe.schema import ModelSpec

_LARGEST_PROTOBUF_BYTES = 2**31 - 1
_SHORT: dict[int, float] = {onnx.TensorProto.FLOAT16: 2.0**-10, onnx.TensorProto.BFLOAT16: 2.0**-7}
_STEPS = 4
"""So many steps of its shorter numbers may a model be off: each operator rounds its result."""


def fingerprint(spec: ModelSpec) -> Mapping[str, KeyPart]:
    """The contents of the file, and of those that it keeps weights in."""
    path = Path(spec.source)
    return {"files": {item.name: file_digest(item) for item in _files(path)}}


def load(spec: ModelSpec, digest: str, cache: ContentCache | None, state: Path | None) -> OnnxModel:
    """The model; raises ModelFileError when the file is damaged or the inputs do not fit."""
    path = Path(spec.source)
    return OnnxModel(
        path.stem, digest, spec.seed, given_inputs(spec), read_onnx(path), bound_values(spec)
    )


class OnnxModel(SourceModel):
    """An ONNX model whose inputs have the shapes of the recipe; ONNX Runtime is the reference."""

    framework = "onnx"

    def __init__(
        self,
        name: str,
        digest: str,
        seed: int,
        inputs: Sequence[TensorSpec],
        model: onnx.ModelProto,
        bound: Mapping[str, BoundValue] | None = None,
    ) -> None:
        """`bound` are inputs of the file that become constants."""
        super().__init__(name, digest, seed)
        model = _with_constants(_with_ranks(model, inputs), bound or {}, name)
        declared = [item.spec() for item in _declared_inputs(model)]
        if not inputs:
            inputs = require_fixed(name, declared)
        require_inputs(name, declared, inputs)
        self._inputs = tuple(inputs)
        self.model = _with_fixed_shapes(model, self._inputs)

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        return self._inputs

    @cached_property
    def outputs(self) -> tuple[TensorSpec, ...]:
        arrays = self.reference(self.sample_inputs(self.seed))
        return tuple(
            TensorSpec(value.name, array.shape, str(array.dtype))
            for value, array in zip(self.model.graph.output, arrays, strict=True)
        )

    def reference(self, inputs: Mapping[str, Array]) -> list[Array]:
        names = [value.name for value in self.model.graph.output]
        feed = {spec.name: np.asarray(inputs[spec.name]) for spec in self.inputs}
        session = self._session
        try:
            with quiet():
                return [np.asarray(value) for value in session.run(names, feed)]
        except Exception as error:
            given = "; ".join(map(str, self.inputs))
            raise ModelFileError(
                f"{self.name} does not accept the recipe's inputs ({given}): {first_line(error)}",
                hint="check the shapes and dtypes of model.inputs",
            ) from error

    def rounding_step(self, outputs: Sequence[Array]) -> float:
        quantized = largest_step(self.model, outputs) if is_quantized(self.model) else 0.0
        steps = [dynamic_step(self.model), *map(_step, _types_in(self.model))]
        return max(quantized, _STEPS * max(steps))

    def operators(self) -> list[str]:
        return [
            f"ONNX operator {node.op_type}, node {index} '{node.name or node.output[0]}'"
            for index, node in enumerate(self.model.graph.node)
        ]

    def looking_at(self, operators: Sequence[int]) -> OnnxModel:
        nodes = [self.model.graph.node[index] for index in operators]
        model = onnx.ModelProto()
        model.CopyFrom(self.model)
        del model.graph.output[:]
        model.graph.output.extend(
            onnx.ValueInfoProto(name=next(filter(None, node.output))) for node in nodes
        )
        return OnnxModel(self.name, self.digest, self.seed, self.inputs, model)

    def to_relax(self) -> tvm.IRModule:
        from tunekit.onnx_frontend import proto_to_relax

        return proto_to_relax(
            self.model,
            [spec.name for spec in self.inputs],
            self.name,
            computed_single=[spec.dtype for spec in self.outputs] if self.is_single else None,
        )

    def uses(self) -> Mapping[str, Use]:
        from tunekit.models.sources.onnx_uses import uses_of_inputs

        return uses_of_inputs(self.model)

    def torch_module(self, *, traced: bool = False) -> None:
        return None

    def write_onnx(self, path: Path) -> None:
        # Which cannot always be inferred, and without which some runtimes read no file.
        for value, spec in zip(self.model.graph.output, self.outputs, strict=True):
            sizes = [onnx.TensorShapeProto.Dimension(dim_value=size) for size in spec.shape]
            value.type.tensor_type.shape.CopyFrom(onnx.TensorShapeProto(dim=sizes))
        write_onnx(self.model, path)

    @cached_property
    def _session(self) -> Any:
        import tempfile

        # As it is written: the integer kernels of the optimizations round otherwise.
        as_written = is_quantized(self.model)
        model = without_saturation(self.model) if as_written else self.model
        try:
            with quiet(), tempfile.TemporaryDirectory(prefix="tunekit-onnx-") as folder:
                path = Path(folder) / "model.onnx"
                write_onnx(model, path)
                return session_of(str(path), as_written=as_written)
        except Exception as error:
            raise ModelFileError(
                f"ONNX Runtime, which is the reference, cannot load {self.name}: "
                f"{first_line(error)}"
            ) from error


def write_onnx(model: onnx.ModelProto, path: Path) -> None:
    """Writes a model; one above 2 GB with its weights in a file beside it."""
    large = model.ByteSize() > _LARGEST_PROTOBUF_BYTES
    onnx.save(model, str(path), save_as_external_data=large)


def _files(path: Path) -> list[Path]:
    """The model's file and those it keeps weights in."""
    try:
        with quiet():
            model = onnx.load(str(path), load_external_data=False)
    except Exception:  # noqa: BLE001 - reported when it is loaded
        return [path] if path.is_file() else []
    names = {
        str(ExternalDataInfo(tensor).location)
        for tensor in model.graph.initializer
        if uses_external_data(tensor)
    }
    beside = [path.parent / name for name in sorted(names)]
    return [path, *(item for item in beside if item.is_file())]


def declared_inputs(path: Path) -> list[DeclaredInput]:
    """The inputs that a file declares. Raises ModelFileError when it is damaged."""
    try:
        with quiet():
            model = onnx.load(str(path), load_external_data=False)
    except Exception as error:
        raise ModelFileError(
            f"{path} cannot be read: damaged, or not an ONNX model: {first_line(error)}"
        ) from error
    return _declared_inputs(model)


def _declared_inputs(model: onnx.ModelProto) -> list[DeclaredInput]:
    """The inputs that are not weights."""
    weights = {tensor.name for tensor in model.graph.initializer}
    declared = []
    for value in model.graph.input:
        if value.name in weights:
            continue
        tensor = value.type.tensor_type
        if not value.type.HasField("tensor_type"):
            raise ModelFileError(
                f"input {value.name!r} is a sequence, a map or an optional value",
                hint="give the model tensors of numbers as inputs",
            )
        if not tensor.HasField("shape"):
            raise ModelFileError(
                f"input {value.name!r} has no shape in the file",
                hint=f"give the recipe model.inputs: [{{name: {value.name}, shape: [...]}}]",
            )
        try:
            dtype = str(onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type))
        except KeyError:
            dtype = f"of the unknown type {tensor.elem_type}"
        require_dtype(value.name, dtype)
        dims = tuple(
            # "?" says of each size for itself that it is open.
            dim.dim_value if dim.dim_value > 0 else dim.dim_param.strip(" ?") or None
            for dim in tensor.shape.dim
        )
        declared.append(DeclaredInput(value.name, dims, dtype))
    return declared


def _types_in(model: onnx.ModelProto) -> Iterator[int]:
    """Of weights and casts."""
    yield from (tensor.data_type for tensor in model.graph.initializer)
    casts = (node for node in model.graph.node if node.op_type == "Cast")
    yield from (item.i for node in casts for item in node.attribute if item.name == "to")


def _step(kind: int) -> float:
    """Of numbers of a type, where they are shorter than float32."""
    return _SHORT.get(kind, 0.0)


def _with_constants(
    model: onnx.ModelProto, bound: Mapping[str, BoundValue], name: str
) -> onnx.ModelProto:
    """A copy in which inputs are constants, which the shapes inside can then follow from.

    Raises:
        ModelFileError: the model has no such input, or not with such a value.
    """
    if not bound:
        return model
    declared = {item.name: item.spec() for item in _declared_inputs(model)}
    fixed = onnx.ModelProto()
    fixed.CopyFrom(model)
    values = []
    for input_name, value in bound.items():
        own = declared.get(input_name, TensorSpec(input_name, (), ""))
        array = np.asarray(value, own.dtype or None)
        if array.size == 1 and all(size in (0, 1) for size in own.shape):
            array = array.reshape([1] * len(own.shape))  # a number, where the file has a list
        values.append(TensorSpec(input_name, array.shape, str(array.dtype)))
        fixed.graph.initializer.append(onnx.numpy_helper.from_array(array, input_name))
    require_inputs(name, list(declared.values()), values, whole=False)
    inputs = [value for value in fixed.graph.input if value.name not in bound]
    del fixed.graph.input[:]
    fixed.graph.input.extend(inputs)
    return _with_branches_taken(fixed)


def _with_branches_taken(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with the branches that known conditions take in place of the conditions.

    ONNX Runtime takes them too, and crashes on some models that do it in a branch again.
    """
    if all(node.op_type != "If" for node in model.graph.node):
        return model
    import onnx_ir
    from onnxscript import optimizer

    with quiet():
        folded = onnx_ir.from_proto(model)
        optimizer.fold_constants(folded)
        return onnx_ir.to_proto(folded)


def _with_ranks(model: onnx.ModelProto, inputs: Sequence[TensorSpec]) -> onnx.ModelProto:
    """The model; where inputs have no shape, a copy in which they have as many open sizes as the
    recipe gives them."""
    ranks = {spec.name: len(spec.shape) for spec in inputs}
    bare = [
        value.name
        for value in model.graph.input
        if value.name in ranks and not value.type.tensor_type.HasField("shape")
    ]
    if not bare:
        return model
    ranked = onnx.ModelProto()
    ranked.CopyFrom(model)
    for value in ranked.graph.input:
        if value.name in bare:
            shape = value.type.tensor_type.shape
            shape.SetInParent()
            for _ in range(ranks[value.name]):
                shape.dim.add()
    return ranked


def _with_fixed_shapes(model: onnx.ModelProto, inputs: Sequence[TensorSpec]) -> onnx.ModelProto:
    """A copy that ONNX Runtime reads, whose inputs have these shapes, with the shapes inside
    inferred from them."""
    fixed = as_onnxruntime_reads(model)
    shapes = {spec.name: spec.shape for spec in inputs}
    was_open = False
    for value in fixed.graph.input:
        sizes = shapes.get(value.name, ())
        for dim, size in zip(value.type.tensor_type.shape.dim, sizes, strict=False):
            was_open = was_open or not dim.HasField("dim_value")
            dim.dim_value = size
    if was_open:
        # What was inferred for open sizes would contradict the fixed ones.
        del fixed.graph.value_info[:]
        for value in fixed.graph.output:
            value.type.tensor_type.ClearField("shape")
        try:
            with quiet():
                return onnx.shape_inference.infer_shapes(fixed)
        except Exception:  # noqa: BLE001 - optional: nothing here needs the inner shapes
            return fixed
    return fixed
