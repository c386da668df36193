"""The devices that an RPC tracker has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tunekit.report.output import Result, as_json
from tunekit.report.table import Column, number, terminal

if TYPE_CHECKING:
    from tunekit.rpc.tracker import TrackerAddress, TrackerSummary


def devices_result(address: TrackerAddress, rows: list[dict[str, Any]]) -> Result:
    """The devices of a tracker by their keys, as `device_rows` has them."""
    columns: list[Column[dict[str, Any]]] = [
        Column("key", lambda row: row["key"]),
        number("devices", lambda row: len(row["devices"])),
        number("free", lambda row: row["free"]),
        number("waiting", lambda row: row["pending"]),
        Column("addresses", lambda row: ", ".join(row["devices"])),
    ]
    return Result(
        table=lambda width: terminal(columns, rows, width),
        json=lambda: as_json({"tracker": str(address), "keys": rows}),
    )


def device_rows(summary: TrackerSummary, key: str | None = None) -> list[dict[str, Any]]:
    """A row for each key that has devices, or somebody who waits for one; or only for `key`."""
    keys = {device.key for device in summary.devices}
    keys |= {waited for waited, queue in summary.queues.items() if queue.pending}
    rows = []
    for name in sorted(keys if key is None else keys & {key}):
        queue = summary.queues.get(name)
        rows.append(
            {
                "key": name,
                "devices": [device.name for device in summary.of_key(name)],
                "free": queue.free if queue else 0,
                "pending": queue.pending if queue else 0,
            }
        )
    return rows
