"""`tunekit devices`: the machines that an RPC tracker can measure on."""

from __future__ import annotations

from typing import Annotated

import typer

from tunekit.cli.style import Verbose, WholeForm
from tunekit.report.output import Format


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
    form: WholeForm = Format.table,
    verbose: Verbose = False,
) -> None:
    """List the devices that an RPC tracker has.

    By key and address. Free devices wait for work, the others are measuring for somebody. Exit
    code 1 if no tracker answers, or --rpc-key is given and it has none of that key.
    """
    from tunekit.errors import DeviceError
    from tunekit.report.devices import device_rows, devices_result
    from tunekit.report.output import write
    from tunekit.rpc.tracker import (
        DEFAULT_PORT,
        parse_tracker,
        server_command,
        tracker_in_environment,
        tracker_summary,
    )

    address = parse_tracker(rpc_tracker or tracker_in_environment() or f"127.0.0.1:{DEFAULT_PORT}")
    summary = tracker_summary(address)
    rows = device_rows(summary, rpc_key)
    if rows or form is not Format.table:
        write(devices_result(address, rows), form)
    elif not rpc_key:
        typer.echo(f"the tracker at {address} has no devices")
    if rpc_key and not summary.of_key(rpc_key):
        others = sorted({device.key for device in summary.devices})
        raise DeviceError(
            f"the tracker at {address} has no device of key {rpc_key!r}"
            + (f"; it has {', '.join(others)}" if others else ""),
            hint=f"on the device, run: {server_command(address, rpc_key)}",
        )
