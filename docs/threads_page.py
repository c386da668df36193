"""What docs/results/threads.md says of benchmarks/results/thread_policies.json."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

FILE = Path(__file__).resolve().parent.parent / "benchmarks/results/thread_policies.json"
TITLES = (
    *("awake after a run", "on one core", "pause before yielding", "looks"),
    *("ms", "alone", "beside a process", "idle CPU ms"),
)
_FOR_EVER_US = 2**31 - 1
_NEVER_NS = 10**15


def page(table: Callable[[tuple[str, ...], list[tuple[str, ...]]], list[str]]) -> str:
    """A table for each network on two threads; `table` makes lines of titles and rows."""
    document = json.loads(FILE.read_text("utf-8"))
    models = {
        (model["network"], model["threads"], model["beside"]): model for model in document["models"]
    }
    lines = [f"{document['host']['cpu']}, {document['date'][:10]}.", ""]
    for network, threads, beside in models:
        if threads == 1 or beside != "nothing":
            continue
        alone = models[network, threads, beside]
        [disturbed] = [
            model
            for (name, count, other), model in models.items()
            if (name, count) == (network, threads) and other != beside
        ]
        lines += [
            f"### {network}, {threads} threads",
            "",
            f"TVM's virtual machine: {alone['tvm']['ms']:.3g} ms alone, "
            f"{disturbed['tvm']['ms']:.3g} ms beside a process that always computes, and "
            f"{alone['tvm']['idle_cpu_ms']:.0f} ms of CPU between two runs 300 ms apart.",
            "",
            *table(TITLES, _rows(alone, disturbed)),
            "",
        ]
    return "\n".join(lines).rstrip()


def _rows(alone: dict[str, Any], disturbed: dict[str, Any]) -> list[tuple[str, ...]]:
    beside = {_key(policy): policy for policy in disturbed["policies"]}
    return [
        (
            "for ever" if policy["spin_us"] == _FOR_EVER_US else f"{policy['spin_us']} us",
            policy["pin"],
            "never yields"
            if policy["pause_ns"] == _NEVER_NS
            else f"{policy['pause_ns'] / 1000:g} us",
            str(policy["looks"]),
            f"{policy['ms']:.3g}",
            _ratio(policy),
            _ratio(beside[_key(policy)]),
            f"{policy['idle_cpu_ms']:.2f}",
        )
        for policy in alone["policies"]
    ]


def _key(policy: dict[str, Any]) -> tuple[Any, ...]:
    return policy["spin_us"], policy["pin"], policy["pause_ns"], policy["looks"]


def _ratio(policy: dict[str, Any]) -> str:
    low, high = policy["interval"]
    return f"{policy['ratio']:.2f} ({low:.2f} to {high:.2f})"
