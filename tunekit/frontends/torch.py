"""From torch to Relax: tracing, the operators that are kept whole, and TVM's faults mended."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import tvm
from torch.export import ExportedProgram
from tvm import relax
from tvm.relax.frontend.torch.exported_program_translator import ExportedProgramImporter

from tunekit.errors import ImportFailed
from tunekit.frontends.batch_norm import fold_batch_norm
from tunekit.processes.quiet import abandon, quiet
from tunekit.wording import first_line

_KEPT_WHOLE = frozenset(
    {
        "adaptive_avg_pool1d.default",
        "adaptive_avg_pool2d.default",
        "adaptive_avg_pool3d.default",
        "avg_pool1d.default",
        "conv1d.default",
        "conv2d.default",
        "conv3d.default",
        "gru.input",
        "hardsigmoid.default",
        "hardswish.default",
        "hardtanh.default",
        "layer_norm.default",
        "leaky_relu.default",
        "linear.default",
        "lstm.input",
        "matmul.default",
        "max_pool1d.default",
        "max_pool2d.default",
        "max_pool3d.default",
        "relu6.default",
        "scaled_dot_product_attention.default",
        "silu.default",
        "softmax.int",
        "upsample_bicubic2d.vec",
        "upsample_bilinear2d.vec",
        "upsample_nearest2d.vec",
    }
)
"""Operators that Relax has as one: what they would be decomposed into is harder to lay out and to
schedule (silu as two operators, a pooling as a mean, attention with a guard for empty rows)."""


def export_program(
    module: torch.nn.Module, arguments: Sequence[torch.Tensor], name: str
) -> ExportedProgram:
    """Traces a module in evaluation mode.

    Raises:
        ImportFailed: with the reason and the line of the user's code.
    """
    try:
        with quiet(), torch.no_grad():
            return torch.export.export(module, tuple(arguments))
    except Exception as error:
        raise ImportFailed(
            f"{name}: torch.export cannot trace the model: {first_line(error)}{_user_line(error)}",
            hint="what the model computes must not depend on the values of its inputs: take such "
            "parts (post-processing, loops until convergence) out of the model, or use "
            "torch.where and torch.cond",
        ) from error


def program_to_relax(program: ExportedProgram, names: Sequence[str], name: str) -> tvm.IRModule:
    """A Relax module of a traced program, folded, with main's parameters named `names`.

    Raises:
        ImportFailed: names the operator and where it stands.
    """
    with quiet():
        failure: ImportFailed | None = None
        # Some uses of an operator that is kept whole cannot be imported as one.
        for kept in (_KEPT_WHOLE, frozenset[str]()):
            try:
                module = _translated(program, kept, name)
                break
            except ImportFailed as error:
                failure = failure or error
        else:
            assert failure is not None
            raise failure
        return fold_batch_norm(module, names)


def _translated(program: ExportedProgram, kept: frozenset[str], name: str) -> tvm.IRModule:
    # torch's own table of operators, which carries no types.
    table: Any = torch.export.default_decompositions()
    for operator in list(table.keys()):
        if operator.__name__ in kept:
            table.pop(operator)
    with torch.no_grad():
        program = program.run_decompositions(table)
    importer = _Importer(name)
    try:
        return importer.from_exported_program(
            program,
            keep_params_as_input=False,
            unwrap_unit_return_tuple=True,
            no_bind_return_tuple=False,
            custom_convert_map=None,
        )
    except ImportFailed:
        abandon(importer.block_builder)
        raise
    except Exception as error:
        abandon(importer.block_builder)
        raise ImportFailed(
            f"{name}: the traced model cannot be imported: {first_line(error)}", hint=_HINT
        ) from error


class _Importer(ExportedProgramImporter):  # type: ignore[misc]
    """TVM's importer with its negative indices mended and its failures located."""

    def __init__(self, model_name: str) -> None:
        self.model_name = model_name
        super().__init__()

    def create_convert_map(self) -> dict[Any, Callable[[Any], Any]]:
        converters = super().create_convert_map()
        # Missing from TVM's, though it has the operators.
        converters["amax.default"] = self._extreme(relax.op.max)
        converters["amin.default"] = self._extreme(relax.op.min)
        return {key: self._located(converter) for key, converter in converters.items()}

    def _located(self, converter: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def convert(node: Any) -> Any:
            try:
                return converter(node)
            except ImportFailed:
                raise
            except Exception as error:
                raise ImportFailed(
                    f"{self.model_name}: operator {node.target} cannot be imported as it is used "
                    f"here: {first_line(error)}; at {_place(node)}",
                    hint=_HINT,
                ) from error

        return convert

    def _check_unsupported_func_type(self, nodes: Any) -> None:
        missing = [
            node
            for node in nodes
            if node.op == "call_function" and node.target.__name__ not in self.convert_map
        ]
        if not missing:
            return
        names = list(dict.fromkeys(str(node.target) for node in missing))
        plural = "s" if len(names) > 1 else ""
        raise ImportFailed(
            f"{self.model_name}: operator{plural} {', '.join(names)} cannot be imported; first at "
            f"{_place(missing[0])}",
            hint=_HINT,
        )

    def _extreme(self, operator: Callable[..., Any]) -> Callable[[Any], Any]:
        def convert(node: Any) -> Any:
            axes = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", [])
            keep = node.args[2] if len(node.args) > 2 else node.kwargs.get("keepdim", False)
            axes = [axes] if isinstance(axes, int) else list(axes)
            data = self.env[node.args[0]]
            return self.block_builder.emit(operator(data, axis=axes or None, keepdims=keep))

        return convert

    def _select(self, node: Any) -> Any:
        """`x.select(dim, index)`: TVM's reads outside of the tensor for a negative index."""
        data, dim, index = self.env[node.args[0]], node.args[1], node.args[2]
        if not isinstance(index, int):
            return super()._select(node)
        if index < 0:
            index += self.shape_of(data)[dim]
        taken = relax.op.strided_slice(data, [dim], [index], [index + 1])
        return self.block_builder.emit(relax.op.squeeze(self.block_builder.emit(taken), [dim]))

    def _index_tensor(self, node: Any) -> Any:
        """`x[tensor, ...]`: TVM's reads outside of the tensor for negative indices."""
        data = self.env[node.args[0]]
        for dim, index in enumerate(node.args[1]):
            if index is not None:
                self.env[index] = self._from_the_start(self.env[index], self.shape_of(data)[dim])
        return super()._index_tensor(node)

    def _from_the_start(self, index: Any, size: Any) -> Any:
        """Indices with `size` added where they are negative (others and masks unchanged)."""
        dtype = str(index.ty.dtype)
        if not dtype.startswith("int") or not hasattr(size, "value"):
            return index
        negative = self.block_builder.emit(relax.op.less(index, relax.const(0, dtype)))
        moved = self.block_builder.emit(relax.op.add(index, relax.const(int(size), dtype)))
        return self.block_builder.emit(relax.op.where(negative, moved, index))

    def _scaled_dot_product_attention(self, node: Any) -> Any:
        """Attention as two matrix products and a softmax, each of which can be scheduled."""
        emit = self.block_builder.emit
        query, key, value = (self.env[argument] for argument in node.args[:3])
        options = dict(zip(("attn_mask", "dropout_p", "is_causal"), node.args[3:], strict=False))
        options.update(node.kwargs)
        if options.get("enable_gqa") or options.get("dropout_p"):
            raise ValueError("grouped queries and dropout are not supported")
        dtype = str(query.ty.dtype)
        width = int(self.shape_of(query)[-1])
        scale = options.get("scale") or width**-0.5
        rank = len(self.shape_of(key))
        turned = emit(relax.op.permute_dims(key, [*range(rank - 2), rank - 1, rank - 2]))
        scaled = emit(relax.op.multiply(query, relax.const(scale, dtype)))
        scores = emit(relax.op.matmul(scaled, turned))
        if options.get("is_causal"):
            rows, columns = (int(extent) for extent in list(self.shape_of(scores))[-2:])
            scores = self._masked(scores, relax.const(np.tri(rows, columns, dtype=bool)))
        if options.get("attn_mask") is not None:
            scores = self._masked(scores, self.env[options["attn_mask"]])
        return emit(relax.op.matmul(emit(relax.op.nn.softmax(scores, axis=-1)), value))

    def _masked(self, scores: Any, mask: Any) -> Any:
        """Scores plus a mask of floats, or lowered to nothing where a mask of booleans is false."""
        emit = self.block_builder.emit
        if str(mask.ty.dtype) != "bool":
            return emit(relax.op.add(scores, mask))
        dtype = str(scores.ty.dtype)
        lowest = relax.const(float(np.finfo(dtype).min), dtype)
        return emit(relax.op.where(mask, scores, lowest))


_HINT = (
    "write that part of the model with other operators, leave it out (post-processing often can "
    "be), or export the model to ONNX and give the .onnx file as the source"
)


def _place(node: Any) -> str:
    """Where a node of the graph comes from: its name, the submodule and the line of code."""
    parts = [f"node '{node.name}'"]
    modules = node.meta.get("nn_module_stack")
    if modules:
        path, kind = list(modules.values())[-1]
        kind_name = kind if isinstance(kind, str) else kind.__name__
        # torch writes the path as code: L['self'].layer1, or plainly: layer1.
        parts.append(f"in {path or 'the model'} ({kind_name.rpartition('.')[2]})")
    lines = [line.strip() for line in (node.meta.get("stack_trace") or "").splitlines()]
    files = [line for line in lines if line.startswith("File ")]
    if files:
        parts.append(files[-1].removeprefix("File ").replace('"', "").replace(", line ", ":"))
    return ", ".join(parts)


def _user_line(error: BaseException) -> str:
    """`; at file:line` of the last line outside of torch that led to the error."""
    home = str(torch.__path__[0])
    place = ""
    trace = error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        if not code.co_filename.startswith((home, __file__, "<")):
            place = f"; at {code.co_filename}:{trace.tb_lineno}, in {code.co_name}"
        trace = trace.tb_next
    return place
