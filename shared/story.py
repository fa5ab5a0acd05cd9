"""What records tell of the pair's history: epochs, and what operators did. Pure.

Reigns and operations are records of the log, so both nodes tell the same story; and the command
line and the console tell it in the same words.
"""

from __future__ import annotations

import msgspec

from .epochs import decode_epoch_closed, decode_epoch_opened
from .operations import Receipt, decode_receipt
from .wire import Kind, Record
from .wording import request_text

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
    """What a record tells; None: nothing. Raises RemoteError if its payload cannot be read."""
    if record.kind not in TOLD:
        return None
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
