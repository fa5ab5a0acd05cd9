"""The pair's history from its log: epochs, and what operators did. Pure.

Decides which records are history, how they are told, filtered and exported. Reigns and operations
are records of the log, so both nodes tell the same story.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable

import msgspec

from ..shared.epochs import decode_epoch_closed, decode_epoch_opened
from ..shared.errors import RemoteError
from ..shared.operations import Receipt, decode_receipt
from ..shared.wire import Kind, Record
from .words import date_text, request_text

TOLD = frozenset({Kind.EPOCH_OPENED, Kind.EPOCH_CLOSED, Kind.OPERATION})


class Event(msgspec.Struct, frozen=True):
    """One line of the history. `operation` is the token of the operation that it belongs to."""

    time_ns: int
    seq: int
    epoch: int
    what: str
    node: str
    operator: str
    reason: str
    result: str
    pause_ms: float
    text: str
    operation: str
    receipt: Receipt | None = None


def event_of(record: Record) -> Event | None:
    """What a record tells of the history; None: nothing. One that cannot be read is told as that:
    the screen is not to fall over a record of a newer version."""
    if record.kind not in TOLD:
        return None
    try:
        return _event(record)
    except RemoteError as error:
        kind = record.kind.name.lower().replace("_", "-")
        return Event(
            record.time_ns, record.seq, record.epoch, kind, "", "", "", "", 0.0, error.text, ""
        )


def _event(record: Record) -> Event:
    where = (record.time_ns, record.seq, record.epoch)
    if record.kind is Kind.EPOCH_OPENED:
        opened = decode_epoch_opened(record)
        what = f"epoch {opened.number} opened, {opened.mode.value}"
        text = "loss accepted" if opened.accepted_loss else ""
        who = (opened.leader, opened.operator, opened.reason)
        return Event(*where, what, *who, "", 0.0, text, opened.operation)
    if record.kind is Kind.EPOCH_CLOSED:
        closed = decode_epoch_closed(record)
        towards = "handed over to" if closed.handover else "closed, next may be"
        what = f"epoch {closed.number} {towards} {closed.successor}"
        who = (closed.leader, closed.operator, closed.reason)
        return Event(*where, what, *who, "", 0.0, "", closed.operation)
    receipt = decode_receipt(record)
    return Event(
        *where,
        request_text(receipt.request),
        receipt.request.node,
        " + ".join([receipt.operator, *receipt.approvers]),
        receipt.reason,
        receipt.result.value.upper(),
        receipt.pause_ms,
        receipt.text,
        receipt.id,
        receipt,
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
