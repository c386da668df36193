"""MetaSchedule's objects as tunekit makes them: restorable, without the 47 s import."""

from __future__ import annotations

import sys

import pytest
import tvm
import tvm_ffi
from tvm import te
from tvm.s_tir import Schedule

from tunekit.ir.trace import load_trace
from tunekit.machine.target import ResolvedTarget
from tunekit.spaces.design_space import DesignSpace
from tunekit.spaces.metaschedule import generic_space, without_tensor_intrinsics

_INTRINSICS = "tvm.s_tir.tensor_intrin"


def _matmul() -> tvm.ir.IRModule:
    a, b = te.placeholder((32, 32), name="a"), te.placeholder((32, 32), name="b")
    k = te.reduce_axis((0, 32), name="k")
    c = te.compute((32, 32), lambda i, j: te.sum(a[i, k] * b[k, j], axis=k), name="c")
    return tvm.IRModule({"main": te.create_prim_func([a, b, c])})


def _candidates(target: ResolvedTarget) -> list[Schedule]:
    space = DesignSpace(_matmul(), target, generic_space(target), name="matmul", threads=1)
    return [made.schedule for made in space.draw(range(1, 9)) if made is not None]


@pytest.fixture(scope="module")
def were_there() -> bool:
    """Whether another test of this process imported the intrinsics before."""
    return _INTRINSICS in sys.modules


@pytest.fixture(scope="module")
def schedules(native: ResolvedTarget, were_there: bool) -> list[Schedule]:
    return _candidates(native)


def test_a_trace_read_back_from_text_gives_the_same_code(schedules: list[Schedule]) -> None:
    assert len(schedules) >= 4
    for schedule in schedules:
        again = Schedule(_matmul())
        load_trace(tvm.ir.save_json(schedule.trace)).apply_to_schedule(again, remove_postproc=False)
        assert tvm_ffi.structural_equal(again.mod, schedule.mod)


def test_a_trace_survives_being_read_and_saved_twice(schedules: list[Schedule]) -> None:
    text = tvm.ir.save_json(schedules[0].trace)
    again = Schedule(_matmul())
    load_trace(tvm.ir.save_json(load_trace(text))).apply_to_schedule(again, remove_postproc=False)
    assert tvm_ffi.structural_equal(again.mod, schedules[0].mod)


def test_a_trace_read_back_can_be_printed(schedules: list[Schedule]) -> None:
    saved = tvm.ir.save_json(schedules[0].trace)
    assert str(load_trace(saved)) == str(schedules[0].trace)


def test_a_context_neither_imports_tensor_intrinsics_nor_leaves_a_stub(
    were_there: bool,
    schedules: list[Schedule],
) -> None:
    assert schedules
    assert (_INTRINSICS in sys.modules) == were_there
    assert hasattr(tvm.s_tir, "tensor_intrin") == were_there


def test_the_stub_is_taken_away_also_after_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, _INTRINSICS, raising=False)
    monkeypatch.delattr(tvm.s_tir, "tensor_intrin", raising=False)

    def fail() -> None:
        import tvm.s_tir.tensor_intrin  # noqa: F401

        assert not hasattr(sys.modules[_INTRINSICS], "__file__")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), without_tensor_intrinsics():
        fail()
    assert _INTRINSICS not in sys.modules
    assert not hasattr(tvm.s_tir, "tensor_intrin")


def test_intrinsics_that_someone_imported_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = type(sys)(_INTRINSICS)
    monkeypatch.setitem(sys.modules, _INTRINSICS, theirs)
    with without_tensor_intrinsics():
        assert sys.modules[_INTRINSICS] is theirs
    assert sys.modules[_INTRINSICS] is theirs
