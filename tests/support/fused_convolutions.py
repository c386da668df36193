"""Fused convolutions as TIR modules, and the means to run and to compile them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from targets import unoptimized

from tunekit.machine.target import ResolvedTarget, resolve_target

Array = npt.NDArray[Any]

NATIVE = resolve_target("native")
# What is run for its numbers is compiled in a fifth of the time so.
RUN = unoptimized()
ELSEWHERE = {
    name: resolve_target(spec, measured_elsewhere=True)
    for name, spec in {
        "avx512": "llvm -mcpu=skylake-avx512 -num-cores=4",
        "avx2": "llvm -mcpu=x86-64-v3 -num-cores=4",
        "sse": "llvm -mcpu=x86-64-v2 -num-cores=4",
        "neon": '{"kind": "llvm", "mtriple": "aarch64-linux-gnu", "mcpu": "cortex-a72",'
        ' "mattr": ["+neon"], "num-cores": 4}',
    }.items()
}
EPILOGUES = (
    *("none", "bias and relu", "residual", "silu", "broadcast tail", "unblocked tail"),
    "normalized identity",
)


@dataclass(frozen=True)
class Kernel:
    """A fused convolution: blocks of `in_block` and `out_block` channels, and what follows."""

    kind: str = "dense"
    batch: int = 1
    in_blocks: int = 2
    out_blocks: int = 3
    in_block: int = 8
    out_block: int = 8
    size: tuple[int, int] = (9, 7)
    kernel: tuple[int, int] = (3, 3)
    stride: int = 1
    dilation: int = 1
    padding: tuple[int, int, int, int] = (1, 1, 1, 1)
    epilogue: str = "none"

    def module(self) -> Any:
        """The kernel as a TIR module whose only function is `main`, not scheduled."""
        import tvm
        from tvm import te

        from tunekit.graph.kernels.convolution import (
            ConvolutionShape,
            blocked_convolution,
            blocked_depthwise_convolution,
        )
        from tunekit.graph.kernels.winograd import winograd_convolution

        groups = 2 if self.kind == "grouped" else 1
        block = self.out_block if self.kind == "depthwise" else self.in_block
        blocks = self.out_blocks if self.kind == "depthwise" else self.in_blocks * groups
        data = te.placeholder((self.batch, blocks, *self.size, block), name="data")
        shape = ConvolutionShape(
            (self.stride, self.stride), self.padding, (self.dilation, self.dilation), groups
        )
        if self.kind == "depthwise":
            weights = te.placeholder((blocks, *self.kernel, block), name="weights")
            result = blocked_depthwise_convolution(data, weights, shape, "float32")
        elif self.kind.startswith("winograd"):
            m = int(self.kind.removeprefix("winograd"))
            packed = ((m + 2) ** 2, self.out_blocks, self.in_blocks)
            weights = te.placeholder((*packed, self.in_block, self.out_block), name="weights")
            result = winograd_convolution(data, weights, shape, m, "float32")
        else:
            packed = (self.out_blocks * groups, self.in_blocks, *self.kernel)
            weights = te.placeholder((*packed, self.in_block, self.out_block), name="weights")
            result = blocked_convolution(data, weights, shape, "float32")
        more, result = _epilogue(self.epilogue, result)
        function = te.create_prim_func([data, weights, *more, result])
        return tvm.IRModule({"main": function.with_attr("global_symbol", "main")})


def _epilogue(name: str, x: Any) -> tuple[list[Any], Any]:
    from tvm import te, topi

    batch, blocks, height, width, lanes = (int(extent) for extent in x.shape)
    if name == "bias and relu":
        bias = te.placeholder((1, blocks, 1, 1, lanes), name="bias")
        return [bias], topi.nn.relu(topi.add(x, bias))
    if name == "residual":
        other = te.placeholder((batch, blocks, height, width, lanes), name="other")
        return [other], topi.nn.relu(topi.add(x, other))
    if name == "normalized identity":
        other = te.placeholder((batch, blocks, height, width, lanes), name="other")
        scale, shift = (te.placeholder((1, blocks, 1, 1, lanes), name=name) for name in ("a", "b"))
        beside = topi.add(topi.multiply(other, scale), shift)
        return [other, scale, shift], topi.nn.relu(topi.add(beside, x))
    if name == "silu":
        return [], topi.multiply(topi.sigmoid(x), x)
    if name == "broadcast tail":
        wide = te.placeholder((batch, blocks, height * 2, width, lanes), name="wide")
        gate = topi.sigmoid(x)
        scaled = te.compute(
            wide.shape, lambda n, c, h, w, b: wide[n, c, h, w, b] * gate[n, c, h // 2, w, b]
        )
        return [wide], topi.nn.relu(scaled)
    if name == "unblocked tail":
        from tunekit.graph.kernels.convolution import from_blocked

        return [], from_blocked(topi.nn.relu(x))
    return [], x


def compiled(module: Any, target: ResolvedTarget) -> Any:
    import tvm
    from tvm.s_tir.transform import RemoveWeightLayoutRewriteBlock

    module = RemoveWeightLayoutRewriteBlock(skip_tensor_rewrite=True)(module)
    library = tvm.tirx.build(module, target.tvm)
    library.inspect_source("asm")
    return library


def random_arguments(module: Any) -> list[Array]:
    from tvm.s_tir.meta_schedule.arg_info import ArgInfo

    random = np.random.default_rng(0)
    return [
        random.standard_normal([int(extent) for extent in info.shape]).astype(str(info.dtype))
        for info in ArgInfo.from_entry_func(module, False)
    ]


def run(module: Any, arguments: list[Array], target: ResolvedTarget = RUN) -> Array:
    import tvm
    from tvm.s_tir.transform import RemoveWeightLayoutRewriteBlock

    module = RemoveWeightLayoutRewriteBlock(skip_tensor_rewrite=True)(module)
    tensors = [tvm.runtime.tensor(array) for array in arguments]
    tvm.tirx.build(module, target.tvm)["main"](*tensors)
    result: Array = tensors[-1].numpy()
    return result
