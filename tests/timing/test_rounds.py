"""Runners take turns, and what one of them does cannot hurt the others."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import psutil
import pytest

from tunekit.timing.rounds import Entry, Outcome, RoundSettings, run_rounds

if TYPE_CHECKING:
    from tests.timing.conftest import Array, RunToys


def order_of(outcomes: dict[str, Outcome]) -> list[list[str]]:
    turns = sorted(
        (turn.round, turn.position, name)
        for name, outcome in outcomes.items()
        for turn in outcome.turns
    )
    return [[name for number, _, name in turns if number == round_] for round_ in range(5)]


def test_everyone_has_one_turn_a_round_in_an_order_that_its_seed_decides(run_toys: RunToys) -> None:
    names = ("Doubles", "DoublesAgain", "Chatty")
    first, same, other = (order_of(run_toys(*names, rounds=5, seed=seed)) for seed in (1, 1, 2))
    for order in (first, other):
        assert all(sorted(names) == ["again", "chatty", "doubles"] for names in order)
        assert len({tuple(names) for names in order}) > 1
    assert first == same != other


def test_a_turn_lasts_as_long_as_asked_and_every_run_is_kept(run_toys: RunToys) -> None:
    turns = run_toys("Naps", rounds=2, turn_s=0.05)["naps"].turns
    assert len(turns) == 2
    for turn in turns:
        # Runs of a millisecond, of which no fewer than 2000 end a turn before its time.
        assert turn.wall_s >= 0.05
        assert 0 < sum(turn.seconds) <= turn.wall_s


def test_a_turn_of_a_tiny_model_ends_after_two_thousand_runs(run_toys: RunToys) -> None:
    turns = run_toys("Doubles", rounds=2, turn_s=60)["doubles"].turns
    assert [len(turn.seconds) for turn in turns] == [2000, 2000]


def test_a_slow_runtime_has_three_turns_of_one_run_spread_over_the_rounds(
    run_toys: RunToys,
) -> None:
    outcomes = run_toys("Slow", "Doubles", rounds=9, turn_s=0.2)
    assert [turn.round for turn in outcomes["slow"].turns] == [0, 4, 8]
    assert all(len(turn.seconds) == 1 for turn in outcomes["slow"].turns)
    assert len(outcomes["doubles"].turns) == 9


def test_outputs_come_back_from_before_and_after_the_rounds(
    run_toys: RunToys, inputs: dict[str, Array]
) -> None:
    outcome = run_toys("Doubles")["doubles"]
    assert len(outcome.outputs) == 2
    for outputs in outcome.outputs:
        np.testing.assert_array_equal(outputs[0], inputs["x"] * 2)
    assert outcome.peak_rss_bytes >= outcome.rss_bytes > 2**20


def test_what_a_library_prints_is_not_taken_for_a_reply(
    run_toys: RunToys, inputs: dict[str, Array]
) -> None:
    outcome = run_toys("Chatty")["chatty"]
    assert outcome.reason is None
    np.testing.assert_array_equal(outcome.outputs[0][0], inputs["x"] * 2)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("Raises", "RuntimeError: no kernel for this operator (while loading)"),
        ("SegfaultsAtOnce", "SIGSEGV (segmentation fault) (while loading)"),
        (
            "Exits",
            "exit status 7 (in its first run)",
        ),
        (
            "IllegalInstruction",
            "SIGILL (illegal instruction: compiled for a CPU that this one is not) "
            "(in its first run)",
        ),
    ],
)
def test_a_runtime_that_fails_says_how_and_the_others_finish(
    run_toys: RunToys, name: str, reason: str
) -> None:
    outcomes = list(run_toys(name, "Doubles", rounds=2).values())
    assert outcomes[0].reason == reason
    assert outcomes[0].turns == []
    assert outcomes[1].reason is None
    assert len(outcomes[1].turns) == 2


def test_a_crash_in_the_middle_keeps_the_turns_before_it_and_its_last_words(
    run_toys: RunToys,
) -> None:
    outcomes = run_toys("Segfaults", "Doubles", rounds=6, turn_s=0, warm_up_s=0)
    crashed = outcomes["segfaults"]
    assert crashed.reason.startswith("SIGSEGV (segmentation fault)")
    assert 'after printing "about to follow a pointer"' in crashed.reason
    assert "(in round" in crashed.reason
    assert "string_at" in crashed.detail  # the stack of where it happened
    assert 0 < len(crashed.turns) < 6
    assert len(outcomes["doubles"].turns) == 6


def test_a_runtime_that_hangs_is_ended_and_the_others_finish(run_toys: RunToys) -> None:
    # The limit holds for the others too, and a busy host may stop for a second or two.
    outcomes = run_toys("Hangs", "Doubles", rounds=2, run_timeout_s=4.0)
    assert outcomes["hangs"].reason == "timeout: no answer within 4 s (in its first run)"
    assert outcomes["hangs"].hung
    assert "in infer" in outcomes["hangs"].detail
    assert len(outcomes["doubles"].turns) == 2


@pytest.fixture(scope="module")
def beside_one_that_spins(run_toys: RunToys) -> dict[str, Outcome]:
    return run_toys("Spins", "Doubles", rounds=1, turn_s=0.3, idle_s=0.5)


def test_one_that_never_rests_is_noticed(beside_one_that_spins: dict[str, Outcome]) -> None:
    (spins,) = beside_one_that_spins["spins"].turns
    (doubles,) = beside_one_that_spins["doubles"].turns
    assert not spins.at_rest
    assert doubles.at_rest
    assert doubles.waiting_cpu_s > 0


def test_what_it_takes_to_begin_and_to_idle_is_told(
    beside_one_that_spins: dict[str, Outcome],
) -> None:
    outcomes = beside_one_that_spins
    for outcome in outcomes.values():
        for seconds in (outcome.import_s, outcome.load_s, outcome.first_run_s):
            assert seconds is not None
            assert seconds > 0
        assert outcome.idle_cpu_s is not None
    assert outcomes["spins"].idle_cpu_s


def test_no_child_outlives_the_rounds(run_toys: RunToys) -> None:
    before = psutil.Process().children()
    run_toys("Doubles", "Raises", rounds=1)
    assert psutil.Process().children() == before


def test_an_interruption_leaves_no_child_behind(tmp_path: Path, inputs: dict[str, Array]) -> None:
    before = psutil.Process().children()

    def interrupt(line: str) -> None:
        if line.startswith("round 2"):
            assert len(psutil.Process().children()) == len(before) + 2
            raise KeyboardInterrupt

    entries = [Entry(name, "toy_runtimes:Doubles", {}) for name in ("one", "two")]
    with pytest.raises(KeyboardInterrupt):
        run_rounds(
            entries,
            inputs,
            RoundSettings(rounds=3, threads=1, turn_s=0.01, warm_up_s=0.01, idle_s=0.0),
            folder=tmp_path,
            say=interrupt,
        )
    assert psutil.Process().children() == before


def test_input_names_may_be_anything_a_model_calls_them(tmp_path: Path) -> None:
    inputs = {"file": np.ones(2, np.float32), "a/b.1": np.zeros(3, np.int64)}
    result = run_rounds(
        [Entry("doubles", "toy_runtimes:Doubles", {})],
        inputs,
        RoundSettings(rounds=1, threads=1, turn_s=0.01, warm_up_s=0.01, idle_s=0.0),
        folder=tmp_path,
        say=lambda line: None,
    )
    outputs = result.outcomes[0].outputs[0]
    assert [array.dtype for array in outputs] == [np.float32, np.int64]
