"""Measurers whose seconds follow from the candidate, so that a whole search can be repeated."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from types import TracebackType

from tunekit.catalogue.entries import FailureKind
from tunekit.measure.measurer import Candidate, MeasureOptions, MeasureResult


class PowerCutError(BaseException):
    """The end of a process, as far as the tuner can tell."""


class Arithmetic:
    """Gives each candidate seconds that are a function of its code, and every ninth a failure.

    Nothing about the search is left out: only what a clock would say is made the same each time.
    """

    def __init__(
        self, options: MeasureOptions, *, cut_after: int | None = None, scale: float = 1.0
    ) -> None:
        self.options = options
        self.measured: list[str] = []
        self._cut_after = cut_after
        self._scale = scale

    def start(self) -> None:
        """Nothing to get ready."""

    def measure(self, candidates: Sequence[Candidate], rounds: int = 1) -> Iterator[MeasureResult]:
        for candidate in candidates:
            if len(self.measured) == self._cut_after:
                raise PowerCutError
            digest = hashlib.sha256(candidate.module_json.encode()).digest()
            self.measured.append(digest.hex())
            number = int.from_bytes(digest[:4], "big")
            if self.fails(candidate.module_json):
                yield MeasureResult(candidate.key, None, FailureKind.BUILD_ERROR, "no", 0.01, 0.0)
                continue
            seconds = self._scale * 1e-4 * (1 + number / 2**32)
            yield MeasureResult(candidate.key, (seconds,) * rounds, None, "", 0.01, 0.02)

    @staticmethod
    def fails(module_json: str) -> bool:
        """Whether a candidate of this code fails."""
        digest = hashlib.sha256(module_json.encode()).digest()
        return int.from_bytes(digest[:4], "big") % 9 == 0

    def close(self) -> None:
        """Nothing to end."""

    def __enter__(self) -> Arithmetic:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
