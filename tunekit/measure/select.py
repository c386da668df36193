"""Which measurer measures a recipe's candidates: this machine's, or one on other machines."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from tunekit.machine.host import detect_host
from tunekit.machine.linker import linker
from tunekit.measure.local.measurer import LocalMeasurer
from tunekit.measure.measurer import MeasureOptions, Measurer
from tunekit.measure.remote.measurer import RpcMeasurer
from tunekit.measure.remote.protocol import Linking, Remote
from tunekit.rpc.tracker import parse_tracker, server_command, tracker_summary

if TYPE_CHECKING:
    from collections.abc import Callable

    from tunekit.machine.target import ResolvedTarget
    from tunekit.recipe import Tuning
    from tunekit.recipe.schema import Rpc


def make_measurer(
    tuning: Tuning, target: ResolvedTarget, options: MeasureOptions, *, cc: str | None = None
) -> Measurer:
    """The measurer that the recipe's `tuning` asks for.

    Args:
        tuning: says where to measure.
        target: what candidates are built for.
        options: how to measure; for other machines the limits of building become this one's.
        cc: the recipe's compiler that links for other machines.
    """
    if tuning.rpc is None:
        return LocalMeasurer(options)
    here = detect_host()
    return RpcMeasurer(
        dataclasses.replace(
            options,
            jobs=tuning.measure.jobs or here.cores,
            memory_bytes=options.memory_bytes or here.memory_bytes // 2,
        ),
        Remote(
            tracker=str(parse_tracker(tuning.rpc.tracker)),
            key=tuning.rpc.key,
            wait_s=tuning.rpc.wait_s,
            linking=Linking(linker(cc, target)),
        ),
    )


def require_tracker(rpc: Rpc, say: Callable[[str], None]) -> None:
    """Asks the tracker before time is spent on anything else, and says what it has.

    Raises:
        DeviceError: it does not answer.
        UsageError: its address is none.
    """
    address = parse_tracker(rpc.tracker)
    devices = tracker_summary(address).of_key(rpc.key)
    if devices:
        names = ", ".join(device.name for device in devices)
        say(f"measuring on devices of key {rpc.key} at {address}: {names}")
        return
    say(
        f"the tracker at {address} has no device of key {rpc.key} yet; "
        f"on one, run: {server_command(address, rpc.key)}"
    )


def describe_device(measurer: Measurer, say: Callable[[str], None]) -> None:
    """Has a remote device run something small and says who it is; nothing for this machine.

    Raises:
        DeviceError: there is no device that can run the target's code.
    """
    if not isinstance(measurer, RpcMeasurer):
        return
    device = measurer.describe()
    facts = dict(device.facts)
    threads = facts.pop("threads", None)
    texts = [str(fact) for fact in facts.values()]
    if threads is not None:
        texts.append(f"{threads} thread{'' if threads == 1 else 's'}")
    say(f"device {device.name}: {', '.join(texts) or 'it runs the target, and says no more'}")
