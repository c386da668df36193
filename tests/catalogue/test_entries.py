"""What an entry refuses before it comes near a database."""

from __future__ import annotations

import math
from datetime import datetime
from typing import TYPE_CHECKING

import pytest

from tunekit.catalogue import Catalogue, Failure, FailureKind, toolchain_key
from tunekit.catalogue.canonical_json import canonical_json

if TYPE_CHECKING:
    from tests.catalogue.conftest import Examples


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, -1.0, 0.0, 1e10])
def test_only_real_measurements_are_run_seconds(new: Examples, bad: float) -> None:
    with pytest.raises(ValueError, match="not a measurement"):
        new.trial(1, samples_s=(1e-3, bad))


def test_a_trial_has_seconds_or_a_failure_and_never_both_or_neither(new: Examples) -> None:
    failure = Failure(FailureKind.CRASH, "SIGILL")
    for changes in (
        {"samples_s": None},
        {"failure": failure},
        {"samples_s": ()},
    ):
        with pytest.raises(ValueError, match="failure"):
            new.trial(1, **changes)
    assert new.trial(1, samples_s=None, failure=failure).score_s is None
    assert new.trial(1, samples_s=(1.0, 2.0)).score_s == 1.5


@pytest.mark.parametrize("name", ["build_s", "measure_s", "calibration_s"])
@pytest.mark.parametrize("bad", [math.nan, math.inf, -1.0])
def test_other_seconds_are_finite_too(new: Examples, name: str, bad: float) -> None:
    with pytest.raises(ValueError, match=name):
        new.trial(1, **{name: bad})


@pytest.mark.parametrize("bad", [math.nan, math.inf, -1.0, 0.0, 1e9, 1e-9])
def test_a_slowdown_is_a_factor_and_a_device_has_a_name(new: Examples, bad: float) -> None:
    with pytest.raises(ValueError, match="slowdown"):
        new.trial(1, slowdown=bad)
    for name in ("", "x" * 129):
        with pytest.raises(ValueError, match="device"):
            new.trial(1, device=name)
    assert new.trial(1, samples_s=(1.0, 2.0), slowdown=3.0).score_s == 0.5


def test_moments_have_a_time_zone_and_budgets_are_not_negative(new: Examples) -> None:
    with pytest.raises(ValueError, match="time zone"):
        new.trial(1, measured_at=datetime(2030, 1, 1))
    with pytest.raises(ValueError, match="budget"):
        new.session(budget_trials=-1)
    with Catalogue.open("sqlite://") as catalogue:
        session = catalogue.sessions.begin(new.session())
        with pytest.raises(ValueError, match="budget"):
            catalogue.sessions.set_budget(session.id, -1)


def test_a_failures_text_can_always_be_stored_and_keeps_both_ends() -> None:
    with pytest.raises(ValueError, match="bad luck"):
        Failure("bad luck", "")  # type: ignore[arg-type]
    assert Failure("crash", "a\0b\udc80").text == "a\N{REPLACEMENT CHARACTER}b?"  # type: ignore[arg-type]
    long = Failure(FailureKind.BUILD_ERROR, "cause " + "x" * 10**6 + " innermost").text
    assert len(long) <= 20_000
    assert long.startswith("cause ")
    assert long.endswith(" innermost")
    assert Failure(FailureKind.BUILD_ERROR, long).text == long


def test_the_frameworks_do_not_change_a_toolchains_key() -> None:
    tvm = {"apache-tvm": "0.27.0.post1"}
    assert toolchain_key(tvm) == toolchain_key({**tvm, "torch": "2.12.1"})
    assert toolchain_key(tvm) != toolchain_key({"apache-tvm": "0.28"})
    assert toolchain_key({"torch": "1"}) != toolchain_key({"torch": "2"})


def test_what_json_cannot_hold_is_refused() -> None:
    assert canonical_json({"b": {"y", "x"}, "a": (1,)}) == '{"a":[1],"b":["x","y"]}'
    with pytest.raises(ValueError, match="JSON"):
        canonical_json({"a": math.nan})
    with pytest.raises(TypeError, match="object"):
        canonical_json({"a": object()})
