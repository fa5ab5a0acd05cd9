"""Records of the log as rows, and one record in full: decoded and in hex. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from ...shared.textform import body_fields
from ...shared.wire import Kind, Record, decode_messages
from ..story import event_shown
from ..words import clock_text, count_text, date_text
from .lines import Line, Tone, line, wrapped

HEX_ROW: Final = 16
MESSAGES_SHOWN: Final = 100
HEX_SHOWN: Final = 4_096


def kind_text(kind: Kind) -> str:
    return kind.name.lower().replace("_", "-")


def record_cells(record: Record) -> tuple[str, ...]:
    """Seq, time, epoch, kind, producer, what is in it: one row of the log."""
    seqs = count_text(record.seq)
    if record.count > 1:
        seqs += f" +{record.count - 1:,}"
    of = f"{record.producer}#{record.producer_seq}" if record.producer_seq else record.producer
    time = clock_text(record.time_ns)
    return (seqs, time, str(record.epoch), kind_text(record.kind), of, summary(record))


def summary(record: Record) -> str:
    """What is in a record, on one line."""
    event = event_shown(record)
    if event is not None:
        who = f" by {event.operator}" if event.operator else ""
        result = f": {event.result}" if event.result else ""
        return f"{event.what}{who}{result}  {event.reason}"
    if record.kind is Kind.TICK:
        return ""
    if record.kind is not Kind.DATA:
        return f"{len(record.payload)} B"
    bodies = decode_messages(record.payload)
    first = _body_text(bodies[0]) if bodies else ""
    return first if record.count == 1 else f"{first}  and {record.count - 1:,} more"


def _body_text(body: bytes) -> str:
    text = body_fields(body).get("body")
    if text is None:
        return f"hex {body[:64].hex(' ')}"
    return text if text.isprintable() else repr(text)[1:-1]


def record_lines(record: Record, width: int, *, as_hex: bool) -> list[Line]:
    """A record in full."""
    rows = [
        line(
            ("seq ", Tone.LABEL),
            f"{record.seq:,}..{record.last_seq:,}  {kind_text(record.kind)}  epoch {record.epoch}",
        ),
        line(("time ", Tone.LABEL), f"{date_text(record.time_ns)} ({record.time_ns} ns)"),
        line(("producer ", Tone.LABEL), f"{record.producer}  #{record.producer_seq}"),
        line(("hash ", Tone.LABEL), f"{record.hash:016x}  after {record.prev_hash:016x}"),
        line(("payload ", Tone.LABEL), f"{len(record.payload):,} bytes"),
        line(),
    ]
    if as_hex:
        return rows + list(_hex_lines(bytes(record.payload)))
    if record.kind is not Kind.DATA:
        return rows + wrapped(_control_text(record), width)
    for seq, body in enumerate(decode_messages(record.payload)[:MESSAGES_SHOWN], record.seq):
        rows += wrapped(f"{seq:,}  {_body_text(body)}", width)
    if record.count > MESSAGES_SHOWN:
        rows.append(line((f"and {record.count - MESSAGES_SHOWN:,} more", Tone.DIM)))
    return rows


def _control_text(record: Record) -> str:
    try:
        payload = msgspec.msgpack.decode(record.payload, type=dict[str, Any])
        return msgspec.json.format(msgspec.json.encode(payload), indent=0).decode()
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, TypeError):
        return bytes(record.payload[:HEX_SHOWN]).hex(" ")


def _hex_lines(data: bytes) -> Iterator[Line]:
    for offset in range(0, min(len(data), HEX_SHOWN), HEX_ROW):
        row = data[offset : offset + HEX_ROW]
        letters = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in row)
        figures = row.hex(" ").ljust(3 * HEX_ROW)
        yield line((f"{offset:06x}  ", Tone.LABEL), figures, ("  " + letters, Tone.DIM))
    if len(data) > HEX_SHOWN:
        yield line((f"and {len(data) - HEX_SHOWN:,} bytes more", Tone.DIM))
