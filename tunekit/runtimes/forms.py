"""Which of several forms of one model is fastest, where a runtime leaves that to its user."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunekit.runtimes.process import RunnerFailed, RunnerProcess

if TYPE_CHECKING:
    from tunekit.runtimes.runtime import Preparation

_ROUNDS = 5
_TURN_S = 0.3
_WARM_UP_S = 0.5
_MOST_RUNS = 500


@dataclass(frozen=True)
class Choice:
    """The fastest form of those that are right, or of all where none is; None where none runs.

    Attributes:
        name: the form.
        said: of each form the milliseconds of its quickest run, or why it has none. What else a
            machine does makes runs slower and none quicker, and few have to do here.
    """

    name: str | None
    said: dict[str, str]


@dataclass
class _Form:
    name: str
    process: RunnerProcess
    limit_s: float
    seconds: list[float] = field(default_factory=list)
    fault: str | None = None
    failed: bool = False

    def ask(self, do: str, **arguments: Any) -> Any:
        """The reply, or None of a form that has failed."""
        if self.failed:
            return None
        try:
            return self.process.ask(do, timeout_s=self.limit_s, **arguments)
        except RunnerFailed as failure:
            self.fault, self.failed = failure.reason, True
            self.process.kill()
            return None


def fastest_form(
    class_path: str,
    plans: Mapping[str, Mapping[str, Any]],
    preparation: Preparation,
    inputs: Path,
    folder: Path,
) -> Choice:
    """Has the forms take turns, each in a process of its own, and compares their outputs.

    Args:
        class_path: `package.module:Class` of the runner.
        plans: what it loads, by the name of the form.
        preparation: with the threads, the limit of a step, and the right outputs where they are
            known.
        inputs: file of the inputs.
        folder: takes logs and outputs.
    """
    with ExitStack() as children:
        forms = []
        for number, (name, plan) in enumerate(plans.items()):
            process = children.enter_context(
                RunnerProcess(
                    class_path, threads=preparation.threads, log=folder / f"form-{number}.log"
                )
            )
            form = _Form(name, process, preparation.limit_s)
            forms.append(form)
            form.ask(
                "load",
                plan=dict(plan),
                inputs=str(inputs),
                names=list(preparation.inputs),
                threads=preparation.threads,
            )
            form.ask("run", seconds=_WARM_UP_S, least=3, most=_MOST_RUNS, untimed=0)
            _check(form, preparation, folder / f"form-{number}.npz")
        for _ in range(_ROUNDS):
            for form in forms:
                reply = form.ask("run", seconds=_TURN_S, least=1, most=_MOST_RUNS, untimed=1)
                if reply:
                    form.seconds += reply["seconds"]
        for number, form in enumerate(forms):
            # What was right at first may be wrong after many runs.
            if form.fault is None:
                _check(form, preparation, folder / f"form-{number}.npz")
    ran = [form for form in forms if form.seconds and not form.failed]
    right = [form for form in ran if form.fault is None]
    best = min(right or ran, key=lambda form: min(form.seconds), default=None)
    return Choice(best.name if best else None, {form.name: _said(form) for form in forms})


def _check(form: _Form, preparation: Preparation, file: Path) -> None:
    """Notes what is wrong with a form's outputs."""
    import numpy as np

    reply = form.ask("outputs", to=str(file))
    if not reply or not preparation.reference:
        return
    with np.load(file) as archive:
        outputs = [archive[f"arr_{index}"] for index in range(reply["count"])]
    found = preparation.source.compare(preparation.reference, outputs)
    if not found.within(preparation.tolerance):
        form.fault = (
            f"wrong outputs: {found.reason or f'relative error {found.relative_error:.2g}'}"
        )


def _said(form: _Form) -> str:
    if form.failed or not form.seconds:
        return str(form.fault)
    took = f"{1e3 * min(form.seconds):.3g} ms"
    return took if form.fault is None else f"{took}, {form.fault}"
