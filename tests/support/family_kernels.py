"""Kernels that are no convolutions as TIR modules, and what every family's space has to hold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from fused_convolutions import ELSEWHERE, NATIVE, RUN, Array, compiled, random_arguments

from tunekit.machine.target import ResolvedTarget
from tunekit.spaces.registry import find_family
from tunekit.spaces.sampling import first_choices


def kernel(arguments: Sequence[Any], *, constants: Sequence[int] = ()) -> Any:
    """The TIR module of a tensor expression; `constants` are arguments whose layout is free."""
    import tvm
    from tvm import te

    function = te.create_prim_func(list(arguments)).with_attr("global_symbol", "main")
    if constants:
        function = function.with_attr("layout_free_buffers", list(constants))
    return tvm.IRModule({"main": function})


def variants(module: Any, target: ResolvedTarget, seed: int, family: str) -> list[Any]:
    """The structural variants of a kernel of `family`, with decisions as the seed draws them."""
    from tvm.s_tir import Schedule

    found = find_family(module, target)
    assert found is not None
    name, designs = found
    assert name == family
    return designs(Schedule(module, seed=seed))


def default(module: Any, family: str) -> Any:
    """The first variant of a kernel of `family`, its first choices taken."""
    with first_choices():
        return variants(module, NATIVE, 1, family)[0]


def run_unpacked(module: Any, arguments: list[Array]) -> Array:
    """Runs a kernel that packs its constants itself."""
    import tvm

    tensors = [tvm.runtime.tensor(array) for array in arguments]
    tvm.tirx.build(module, RUN.tvm)["main"](*tensors)
    result: Array = tensors[-1].numpy()
    return result


def assert_all_compute_the_same(module: Any, seed: int, family: str, *, most: int = 3) -> None:
    """Up to `most` variants, one after another with equal gaps, and the default compute what the
    unscheduled kernel does."""
    arguments = random_arguments(module)
    expected = run_unpacked(module, arguments)
    scale = np.abs(expected).max()
    assert scale > 0
    made = variants(module, NATIVE, seed, family)
    assert made
    for variant in (default(module, family), *made[:: -(-len(made) // most)]):
        actual = run_unpacked(variant.mod, arguments)
        assert np.abs(actual - expected).max() <= 1e-4 * scale, variant.trace


def assert_every_target_compiles(module: Any, name: str, family: str, *, most: int = 2) -> None:
    """Machine code for a CPU that need not be here."""
    target = ELSEWHERE[name]
    made = variants(module, target, 1, family)
    for variant in made[:: -(-len(made) // most)]:
        compiled(variant.mod, target)
