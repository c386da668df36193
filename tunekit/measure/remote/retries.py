"""Who goes to another device, and who is to blame, when devices end under candidates.

A candidate whose device dies or hangs under it goes to another one, once. If that one fares no
better, it is the candidate: CRASH if both died, RUN_TIMEOUT otherwise. A device on which a
candidate hung is free again when its server ends the session, which it was told to do; one that
died has left the tracker.

Nothing here starts a process or asks a device; what the time is and which devices there are is
given.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from tunekit.catalogue.entries import Failure, FailureKind
from tunekit.measure import verdict
from tunekit.measure.measurer import MeasureOptions
from tunekit.measure.remote.job import Ending, Job, RemoteCandidate
from tunekit.measure.timing import Measurement

#: Devices that exist and are busy are waited for this many times longer than those that do not.
BUSY_PATIENCE = 10
_LOST_SESSIONS_LIMIT = 3


@dataclass(frozen=True)
class Settled:
    """A candidate that no device could say more about."""

    candidate: RemoteCandidate
    failure: Failure
    device: str


class Retries:
    """Jobs that wait for a device, those in front under which one ended.

    Args:
        options: how candidates are measured.
        wait_s: seconds to wait for a device where there is none.

    Attributes:
        waiting: the jobs, in the order in which devices are asked for.
    """

    def __init__(self, options: MeasureOptions, wait_s: float) -> None:
        self._options = options
        self._wait_s = wait_s
        self.waiting: list[Job] = []
        # Since when there is work and no device that does any of it.
        self._idle_since: float | None = None

    def add(self, jobs: Iterable[Job]) -> None:
        """Has more jobs wait, behind the others."""
        self.waiting += jobs

    def again(self, job: Job, now: float) -> None:
        """In front of all others: what has waited for one device does not wait for all again."""
        job.ready_at = now
        self.waiting.insert(0, job)

    def lost(
        self,
        job: Job,
        device: str,
        how: Ending,
        text: str,
        running: RemoteCandidate | None,
        now: float,
    ) -> list[Settled]:
        """What becomes of a job whose session ended under it.

        Args:
            job: waits again, as far as it has candidates left.
            device: the name of the device.
            how: the session ended.
            text: what is known of the reason.
            running: the candidate that ran, None before one did.
            now: by `time.monotonic`.
        """
        for pending in job.candidates:
            # Rounds on one device do not compare with rounds on another.
            pending.measured = Measurement(noise_guard=self._options.noise_guard)
        settled: list[Settled] = []
        if running is None:
            job.lost_sessions += 1
            if job.lost_sessions >= _LOST_SESSIONS_LIMIT:
                failure = Failure(FailureKind.LOST_DEVICE, f"{device}: {text}")
                settled = [Settled(pending, failure, device) for pending in job.candidates]
                job.candidates.clear()
        elif len(job.candidates) == 1:
            job.failures_on.append((how, device))
        else:
            # It ran before, or it would not take turns now: the rest goes on without it.
            job.candidates.remove(running)
            kind = FailureKind.RUN_TIMEOUT if how == "hung" else FailureKind.LOST_DEVICE
            settled = [Settled(running, Failure(kind, f"{device} {how}: {text}"), device)]
        if job.candidates or job.is_inquiry:
            self.again(job, now)
        return settled

    def judge(self, now: float, devices: Collection[str]) -> list[Settled]:
        """Settles those under which devices ended, as far as no device could say more.

        Args:
            now: by `time.monotonic`.
            devices: names of those that there are, busy ones included.
        """
        settled = []
        for job in list(self.waiting):
            failure = self._verdict(job, now, devices)
            if failure is not None:
                settled.append(self._settle(job, failure))
        return settled

    def is_out_of_patience(self, now: float, *, any_device: bool, all_refused: bool) -> bool:
        """Whether jobs wait and there has been no device for too long; asked while no session
        goes on, see `not_idle`.

        Args:
            now: by `time.monotonic`.
            any_device: whether the tracker has devices, which are busy.
            all_refused: whether it has devices and none of them can be used.
        """
        self._idle_since = self._idle_since or now
        return now - self._idle_since >= self.patience_s(any_device=any_device) or all_refused

    def not_idle(self) -> None:
        """Says that nothing waits, or that a device does some of the work."""
        self._idle_since = None

    def patience_s(self, *, any_device: bool) -> float:
        """Seconds for which a device is waited for."""
        return self._wait_s * (BUSY_PATIENCE if any_device else 1)

    def give_up(self, *, any_device: bool) -> list[Settled]:
        """Settles those under which a device ended and for which no other came."""
        patience_s = self.patience_s(any_device=any_device)
        settled = []
        for job in [job for job in self.waiting if job.failures_on]:
            _, device = job.failures_on[-1]
            text = f"{device} died, and no other device came within {patience_s:g} s"
            settled.append(self._settle(job, Failure(FailureKind.LOST_DEVICE, text)))
        return settled

    def _verdict(self, job: Job, now: float, devices: Collection[str]) -> Failure | None:
        """Why a job need not be brought to another device, None where it has to be."""
        if not job.failures_on:
            return None
        how, device = job.failures_on[-1]
        limit_s = self._options.run_timeout_s
        if len(job.failures_on) > 1:
            names = " and ".join(name for _, name in job.failures_on)
            if all(how == "died" for how, _ in job.failures_on):
                return Failure(FailureKind.CRASH, f"it took down {names}")
            return verdict.late_measurement(limit_s, f" on {names}")
        no_other = set(devices) <= {device} or now - job.ready_at > self._wait_s
        if how == "hung" and no_other:
            return verdict.late_measurement(
                limit_s, f" on {device}, and there is no other device to try"
            )
        return None

    def _settle(self, job: Job, failure: Failure) -> Settled:
        self.waiting.remove(job)
        (pending,) = job.candidates
        return Settled(pending, failure, job.failures_on[-1][1])
