"""The pair's history as the console shows it. Pure.

Decides how it is filtered and exported, and what is told of a record that cannot be read. Which
records are history, and in which words, is `shared.story`.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable

import msgspec

from ..shared.errors import RemoteError
from ..shared.story import Event, event_of
from ..shared.wire import Record
from .words import date_text


def event_shown(record: Record) -> Event | None:
    """What a record tells of the history; None: nothing. One that cannot be read is told as that:
    the screen is not to fall over a record of a newer version."""
    try:
        return event_of(record)
    except RemoteError as error:
        kind = record.kind.name.lower().replace("_", "-")
        return Event(
            record.time_ns, record.seq, record.epoch, kind, "", "", "", "", 0.0, error.text, ""
        )


def matching(events: Iterable[Event], text: str) -> list[Event]:
    """The events in which every word of `text` occurs, in any field; case does not count."""
    words = text.casefold().split()
    return [event for event in events if all(word in _haystack(event) for word in words)]


def _haystack(event: Event) -> str:
    fields = (
        date_text(event.time_ns),
        str(event.seq),
        f"epoch {event.epoch}",
        event.what,
        event.node,
        event.operator,
        event.reason,
        event.result,
        event.text,
        event.operation,
    )
    return "\n".join(fields).casefold()


def to_json(events: Iterable[Event]) -> bytes:
    """One JSON object per line, with the whole receipts."""
    encoder = msgspec.json.Encoder()
    return b"".join(encoder.encode(event) + b"\n" for event in events)


COLUMNS = (
    "time",
    "seq",
    "epoch",
    "what",
    "node",
    "operator",
    "reason",
    "result",
    "pause_ms",
    "text",
    "operation",
)


def to_csv(events: Iterable[Event]) -> bytes:
    """For a spreadsheet. A cell that would begin a formula there is quoted with an apostrophe."""
    out = io.StringIO(newline="")
    table = csv.writer(out, lineterminator="\n")
    table.writerow(COLUMNS)
    for event in events:
        cells = [date_text(event.time_ns), *(getattr(event, name) for name in COLUMNS[1:])]
        table.writerow([_harmless(cell) for cell in cells])
    return out.getvalue().encode()


def _harmless(cell: object) -> object:
    if isinstance(cell, str) and cell.startswith(("=", "+", "-", "@", "\t", "\r")):
        return "'" + cell
    return cell
