"""Who goes to another device, and who is to blame, when devices end under candidates."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tunekit.catalogue.entries import FailureKind
from tunekit.measure.measurer import Candidate, MeasureOptions
from tunekit.measure.noise_guard import Reading, UsualSpeed
from tunekit.measure.remote.job import Ending, Job, RemoteCandidate
from tunekit.measure.remote.retries import Retries, Settled
from tunekit.measure.timing import Measurement

_OPTIONS = MeasureOptions(
    target=json.dumps({"kind": "llvm"}),
    device="cpu",
    repeat=2,
    min_repeat_ms=1,
    build_timeout_s=60,
    run_timeout_s=8,
    jobs=1,
    threads=1,
    cpu_cache="warm",
    memory_bytes=1 << 30,
)
_WAIT_S = 30.0


def _pending(key: int) -> RemoteCandidate:
    candidate = Candidate(key, "{}", (), slow_s=1.0)
    return RemoteCandidate(candidate, Measurement(noise_guard=False), path=Path("nowhere"))


def _job(*keys: int) -> Job:
    return Job([_pending(key) for key in keys])


def _retries(*jobs: Job) -> Retries:
    retries = Retries(_OPTIONS, _WAIT_S)
    retries.add(jobs)
    return retries


def _end_under(retries: Retries, job: Job, device: str, how: Ending, now: float = 0.0) -> None:
    """The device ends while it measures the job's only candidate."""
    retries.waiting.remove(job)
    assert retries.lost(job, device, how, "no answer", job.candidates[0], now) == []


def _told(settled: list[Settled]) -> list[tuple[int, FailureKind, str, str]]:
    return [
        (fate.candidate.candidate.key, fate.failure.kind, fate.failure.text, fate.device)
        for fate in settled
    ]


def test_a_candidate_under_which_a_device_died_is_the_next_that_another_one_gets() -> None:
    unlucky, other = _job(0), _job(1)
    retries = _retries(unlucky, other)
    _end_under(retries, unlucky, "a", "died")
    assert retries.judge(0.0, {"b"}) == []
    assert retries.waiting == [unlucky, other]
    assert unlucky.hung_on == []


def test_a_candidate_that_took_down_two_devices_has_crashed() -> None:
    job = _job(3)
    retries = _retries(job)
    for device in ("a", "b"):
        _end_under(retries, job, device, "died")
    assert _told(retries.judge(0.0, {"c"})) == [(3, FailureKind.CRASH, "it took down a and b", "b")]
    assert retries.waiting == []


@pytest.mark.parametrize("endings", [("hung", "hung"), ("hung", "died"), ("died", "hung")])
def test_a_candidate_that_hung_on_one_of_two_devices_has_timed_out(
    endings: tuple[Ending, Ending],
) -> None:
    job = _job(3)
    retries = _retries(job)
    for device, how in zip("ab", endings, strict=True):
        _end_under(retries, job, device, how)
    assert _told(retries.judge(0.0, {"c"})) == [
        (3, FailureKind.RUN_TIMEOUT, "not measured within 8 s on a and b", "b")
    ]


def test_a_candidate_that_hung_goes_to_another_device_as_long_as_one_may_come() -> None:
    job = _job(0)
    retries = _retries(job)
    _end_under(retries, job, "a", "hung", now=100.0)
    assert job.hung_on == ["a"]
    assert retries.judge(100.0, {"a", "b"}) == []
    assert retries.judge(100.0 + _WAIT_S, {"a", "b"}) == []
    late = retries.judge(100.1 + _WAIT_S, {"a", "b"})
    assert _told(late)[0][1] is FailureKind.RUN_TIMEOUT
    assert late[0].failure.text.endswith("on a, and there is no other device to try")


@pytest.mark.parametrize("devices", [{"a"}, set()])
def test_a_candidate_that_hung_on_the_only_device_has_timed_out_at_once(devices: set[str]) -> None:
    job = _job(0)
    retries = _retries(job)
    _end_under(retries, job, "a", "hung")
    assert _told(retries.judge(0.0, devices))[0][1] is FailureKind.RUN_TIMEOUT


def test_the_third_session_that_is_lost_before_a_candidate_runs_loses_the_job() -> None:
    job = _job(0, 1)
    retries = _retries(job)
    for device in ("a", "b"):
        retries.waiting.remove(job)
        assert retries.lost(job, device, "died", "refused", None, 0.0) == []
        assert retries.waiting == [job]
    retries.waiting.remove(job)
    assert _told(retries.lost(job, "c", "died", "refused", None, 0.0)) == [
        (key, FailureKind.LOST_DEVICE, "c: refused", "c") for key in (0, 1)
    ]
    assert retries.waiting == []


@pytest.mark.parametrize(
    ("how", "kind"), [("hung", FailureKind.RUN_TIMEOUT), ("died", FailureKind.LOST_DEVICE)]
)
def test_of_candidates_that_take_turns_only_the_one_that_ran_is_to_blame(
    how: Ending, kind: FailureKind
) -> None:
    job = _job(0, 1, 2)
    for pending in job.candidates:
        pending.measured.add([Reading((1.0,))], UsualSpeed())
    retries = _retries(job)
    retries.waiting.remove(job)
    settled = retries.lost(job, "a", how, "no answer", job.candidate(1), 0.0)
    assert _told(settled) == [(1, kind, f"a {how}: no answer", "a")]
    assert [pending.candidate.key for pending in job.candidates] == [0, 2]
    assert retries.waiting == [job]
    # Seconds on one device do not compare with seconds on another.
    assert all(pending.measured.samples == () for pending in job.candidates)


def test_devices_that_are_busy_are_waited_for_longer_than_none() -> None:
    retries = _retries(_job(0))

    def gives_up(now: float, *, any_device: bool, all_refused: bool = False) -> bool:
        return retries.is_out_of_patience(now, any_device=any_device, all_refused=all_refused)

    assert not gives_up(1.0, any_device=False)
    assert gives_up(1.0, any_device=False, all_refused=True)
    assert gives_up(1.0 + _WAIT_S, any_device=False)
    assert not gives_up(1.0 + _WAIT_S, any_device=True)
    assert gives_up(1.0 + 10 * _WAIT_S, any_device=True)
    retries.not_idle()
    assert not gives_up(1.0 + 10 * _WAIT_S, any_device=False)


def test_where_no_other_device_comes_the_candidate_is_lost_with_the_last() -> None:
    unlucky, untried = _job(0), _job(1)
    retries = _retries(unlucky, untried)
    _end_under(retries, unlucky, "a", "died")
    assert _told(retries.give_up(any_device=False)) == [
        (0, FailureKind.LOST_DEVICE, "a died, and no other device came within 30 s", "a")
    ]
    assert retries.waiting == [untried]


def test_a_device_that_is_asked_who_it_is_is_asked_for_again_when_its_session_is_lost() -> None:
    inquiry = Job([])
    retries = _retries(inquiry)
    for _ in range(5):
        retries.waiting.remove(inquiry)
        assert retries.lost(inquiry, "a", "died", "refused", None, 0.0) == []
        assert retries.waiting == [inquiry]
