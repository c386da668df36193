"""`tunekit devices`: the machines that an RPC tracker can measure on."""

from __future__ import annotations

import json
from enum import Enum
from typing import TYPE_CHECKING, Annotated

import typer

from tunekit.cli.style import Verbose

if TYPE_CHECKING:
    from tunekit.rpc.tracker import TrackerAddress, TrackerSummary


class DevicesFormat(str, Enum):
    """How the devices are written."""

    table = "table"
    json = "json"


def devices(
    rpc_tracker: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT",
            help="The tracker. Default: TVM_TRACKER_HOST and TVM_TRACKER_PORT, or this machine's.",
            show_default=False,
        ),
    ] = None,
    rpc_key: Annotated[
        str | None,
        typer.Option(metavar="KEY", help="Only devices of this key.", show_default=False),
    ] = None,
    form: Annotated[
        DevicesFormat, typer.Option("--format", "-f", help="How to write them.")
    ] = DevicesFormat.table,
    verbose: Verbose = False,
) -> None:
    """List the devices that an RPC tracker has, by key and address.

    Free devices wait for work, the others are measuring for somebody. Exit code 1 if no tracker
    answers, or --rpc-key is given and it has none of that key.
    """
    from tunekit.errors import DeviceError
    from tunekit.rpc.tracker import (
        DEFAULT_PORT,
        parse_tracker,
        server_command,
        tracker_in_environment,
        tracker_summary,
    )

    address = parse_tracker(rpc_tracker or tracker_in_environment() or f"127.0.0.1:{DEFAULT_PORT}")
    summary = tracker_summary(address)
    if form is DevicesFormat.json:
        typer.echo(json.dumps(_as_json(address, summary, rpc_key), indent=2))
    else:
        for line in _table(address, summary, rpc_key):
            typer.echo(line)
    if rpc_key and not summary.of_key(rpc_key):
        others = sorted({device.key for device in summary.devices})
        raise DeviceError(
            f"the tracker at {address} has no device of key {rpc_key!r}"
            + (f"; it has {', '.join(others)}" if others else ""),
            hint=f"on the device, run: {server_command(address, rpc_key)}",
        )


def _keys(summary: TrackerSummary, wanted: str | None) -> list[str]:
    """Keys that have devices or somebody who waits for one."""
    found = {device.key for device in summary.devices}
    found |= {key for key, queue in summary.queues.items() if queue.pending}
    return sorted(key for key in found if wanted is None or key == wanted)


def _as_json(
    address: TrackerAddress, summary: TrackerSummary, wanted: str | None
) -> dict[str, object]:
    keys = []
    for key in _keys(summary, wanted):
        queue = summary.queues.get(key)
        keys.append(
            {
                "key": key,
                "devices": [device.name for device in summary.of_key(key)],
                "free": queue.free if queue else 0,
                "pending": queue.pending if queue else 0,
            }
        )
    return {"tracker": str(address), "keys": keys}


def _table(address: TrackerAddress, summary: TrackerSummary, wanted: str | None) -> list[str]:
    keys = _keys(summary, wanted)
    if not keys:
        return [f"the tracker at {address} has no devices"] if wanted is None else []
    width = max(len("key"), *(len(key) for key in keys))
    lines = [f"{'key':<{width}}  devices  free  waiting  addresses"]
    for key in keys:
        queue = summary.queues.get(key)
        names = [device.name for device in summary.of_key(key)]
        lines.append(
            f"{key:<{width}}  {len(names):>7}  {queue.free if queue else 0:>4}  "
            f"{queue.pending if queue else 0:>7}  {', '.join(names)}".rstrip()
        )
    return lines
