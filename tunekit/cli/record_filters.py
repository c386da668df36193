"""Which records a person means: the options that say so, and the filter that they come to."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tunekit.errors import UsageError

if TYPE_CHECKING:
    from tunekit.catalogue.queries.filters import RecordFilter

Model = Annotated[
    str | None, typer.Option(help="Of models or recipes with this in their name (*, ? allowed).")
]
Operator = Annotated[
    str | None,
    typer.Option(help="Of operators with this in their name (*, ? allowed), or of this hash."),
]
TargetFilter = Annotated[
    str | None, typer.Option("--target", help='For targets with these words, like "znver3".')
]
Host = Annotated[
    str | None,
    typer.Option(help='Measured on hosts with this fingerprint or CPU name, or on "this" one.'),
]
Session = Annotated[str | None, typer.Option(help="Of this session; the start of its id will do.")]
Since = Annotated[
    str | None, typer.Option(metavar="DATE", help="Measured then or later: 2026-11-22, 12h or 7d.")
]
Until = Annotated[str | None, typer.Option(metavar="DATE", help="Measured before then.")]


def record_filter(
    model: str | None,
    operator: str | None,
    target: str | None,
    host: str | None,
    session: str | None,
    since: str | None,
    until: str | None,
    *,
    ids: list[int] | None = None,
    **more: Any,
) -> RecordFilter:
    """What the options mean; `ids` and `more` are further fields of the filter.

    Raises:
        UsageError: a date is none.
    """
    from tunekit.catalogue.queries.filters import RecordFilter

    if host == "this":
        from tunekit.machine.host import detect_host

        host = detect_host().fingerprint
    return RecordFilter(
        model=model,
        operator=operator,
        target=target,
        host=host,
        session=session,
        since=_moment("--since", since),
        until=_moment("--until", until),
        ids=tuple(ids) if ids else None,
        **more,
    )


def _moment(flag: str, text: str | None) -> datetime | None:
    """A moment as typed: ISO date or date and time (of this machine's zone), or an age."""
    if text is None:
        return None
    now = datetime.now().astimezone()
    units = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
    if text[-1:] in units and text[:-1].isdigit():
        try:
            return now - timedelta(**{units[text[-1]]: int(text[:-1])})
        except OverflowError:
            return datetime.min.replace(tzinfo=now.tzinfo)
    try:
        moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        raise UsageError(
            f"{flag} {text!r} is not a date",
            hint="like 2026-11-22, 2026-11-22T14:30, or an age: 30m, 12h, 7d, 2w",
        ) from None
    return moment if moment.tzinfo else moment.astimezone()
