"""Preparation: the one order of passes from an imported model to kernels.

Task extraction and compilation must see the same functions: a record is found by the structural
hash of its function, and a pass that runs on one side only makes every record silently miss. So
both start from what `prepare` gives, and nothing else in tunekit legalizes or fuses.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from tunekit.graph.attention.fuse import fuse_attention
from tunekit.graph.dilated_parts import dilated_in_parts
from tunekit.graph.dilated_phases import dilated_as_phases
from tunekit.graph.images.convert import convolutions_as_images
from tunekit.graph.implementation import Choice, ConvProblem
from tunekit.graph.kernels import fast_math
from tunekit.graph.layouts.convert import Layout, choose_layout, convert_layout
from tunekit.graph.outer_taps import without_outer_taps
from tunekit.graph.padded_columns import pad_columns
from tunekit.graph.sorting import sort_in_c
from tunekit.ir.tir import with_root

if TYPE_CHECKING:
    from tvm.ir import IRModule

    from tunekit.machine.target import ResolvedTarget

# Raised when a pass below changes, or how kernels are lowered (`lowering`): records and cached
# graphs of another preparation are of no use.
PREPARATION_VERSION = 8

LayoutChoice = Literal["NCHW", "NHWC", "NCHWc", "auto"]


@dataclass(frozen=True)
class PreparedGraph:
    """A model as calls of fused kernels, before any of them is scheduled.

    Attributes:
        module: `main` in Relax and one TIR function for each fused operator.
        layout: the layout its activations are in.
        transforms: layout transforms of activations that remain.
        problems: the convolutions that have another algorithm than the direct one.
        seconds: how long the preparation took.
    """

    module: IRModule
    layout: Layout
    transforms: int
    problems: frozenset[ConvProblem]
    seconds: float

    @property
    def preparation(self) -> str:
        """How the kernels came about, for the catalogue: equal text means comparable workloads."""
        return f"v{PREPARATION_VERSION} layout={self.layout}"


def prepare(
    module: IRModule,
    target: ResolvedTarget,
    layout: LayoutChoice,
    say: Callable[[str], None] = lambda _: None,
    choice: Choice | None = None,
) -> PreparedGraph:
    """Brings an imported model into the form that is tuned and compiled.

    Args:
        module: Relax module with batch norm folded and weights bound as constants.
        target: what it will run on.
        layout: the layout wanted, or "auto".
        say: told what was done, a line at a time.
        choice: algorithms of the convolutions; direct where it says nothing.
    """
    from tvm import relax, transform
    from tvm.ir.transform import module_pass

    started = time.monotonic()
    with target.tvm:
        module = transform.Sequential(
            [relax.transform.DecomposeOpsForInference(), relax.transform.CanonicalizeBindings()]
        )(module)
        module = without_outer_taps(module)
        if target.kind == "llvm":
            module = dilated_as_phases(module)
            module = dilated_in_parts(module)
            module = fuse_attention(module, target.f32_lanes)
            module = pad_columns(module, target.f32_lanes)
            if layout in ("auto", "NCHWc"):
                module = convolutions_as_images(module)
        chosen = choose_layout(module, target.kind) if layout == "auto" else layout
        lanes = target.f32_lanes
        laid_out = convert_layout(module, chosen, lanes, choice)
        module = laid_out.module
        if target.kind == "llvm":
            module = sort_in_c(module)
        prepared = transform.Sequential(
            [
                relax.transform.LegalizeOps(fast_math.legalizations()),
                relax.transform.AnnotateTIROpPattern(),
                relax.transform.FoldConstant(),
                relax.transform.FuseOps(),
                relax.transform.FuseTIR(),
                module_pass(_with_roots, opt_level=0, name="WithRoots"),
                relax.transform.DeadCodeElimination(["main"]),
                # Lets a schedule choose how a constant's bytes lie; `apply` repacks them.
                relax.transform.AttachAttrLayoutFreeBuffers(),
            ]
        )(module)
    seconds = time.monotonic() - started
    say(
        f"layout {laid_out.layout}: {laid_out.transforms} layout transform"
        f"{'' if laid_out.transforms == 1 else 's'} of activations remain"
    )
    return PreparedGraph(prepared, laid_out.layout, laid_out.transforms, laid_out.problems, seconds)


def _with_roots(module: IRModule, _: object) -> IRModule:
    from tvm import IRModule
    from tvm.tirx import PrimFunc

    rooted = {
        variable: with_root(function) if isinstance(function, PrimFunc) else function
        for variable, function in module.functions_items()
    }
    return IRModule(rooted, attrs=module.attrs)
