"""How records, reports and comparisons look: as text for people, as plain data for JSON.

Decides nothing about them.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import msgspec

from ..shared.journal import Comparison, Difference, Report
from ..shared.textform import body_fields
from ..shared.wire import Kind, Record, decode_messages

SHOWN_CHARS = 200  # of a body, for people; --json shows all of it


def kind_name(kind: Kind) -> str:
    """The kind as the documentation writes it: `data`, `epoch-opened`, `tick`, ..."""
    return kind.name.lower().replace("_", "-")


def record_fields(record: Record) -> dict[str, object]:
    """A record as one JSON object; hashes in hex, since not every JSON reader takes 64 bits."""
    fields: dict[str, object] = {
        "seq": record.seq,
        "count": record.count,
        "kind": kind_name(record.kind),
        "epoch": record.epoch,
        "time_ns": record.time_ns,
        "producer": record.producer,
        "producer_seq": record.producer_seq,
        "prev_hash": f"{record.prev_hash:016x}",
        "hash": f"{record.hash:016x}",
        "payload_bytes": len(record.payload),
    }
    if record.kind is Kind.DATA:
        fields["messages"] = [body_fields(body) for body in decode_messages(record.payload)]
    else:
        fields["payload"] = _control_payload(record)
    return fields


def record_lines(record: Record) -> Iterator[str]:
    """A record for people: a line for the header, then one for each message."""
    seqs = f"{record.seq}" if record.count == 1 else f"{record.seq}..{record.last_seq}"
    of = f"{record.producer}#{record.producer_seq}" if record.producer_seq else record.producer
    yield (
        f"{seqs}  {kind_name(record.kind)}  epoch {record.epoch}  {_utc(record.time_ns)}  {of}  "
        f"hash {record.hash:016x}  prev {record.prev_hash:016x}  {len(record.payload)} B"
    )
    if record.kind is Kind.DATA:
        for seq, body in enumerate(decode_messages(record.payload), record.seq):
            yield f"    {seq}  {_body(body)}"
    else:
        yield f"    {msgspec.json.encode(_control_payload(record)).decode()}"


def _utc(time_ns: int) -> str:
    seconds, nanoseconds = divmod(time_ns, 1_000_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{nanoseconds:09d}Z"


def _body(body: bytes) -> str:
    """A body on one line: control characters escaped, so that it cannot steer the terminal."""
    text = body_fields(body).get("body")
    if text is None:
        shown = f"hex {body.hex()}"
    else:
        shown = text if text.isprintable() else repr(text)[1:-1]
    cut = f"... ({len(body)} B)" if len(shown) > SHOWN_CHARS else ""
    return shown[:SHOWN_CHARS] + cut


def _control_payload(record: Record) -> object:
    try:
        payload = msgspec.msgpack.decode(record.payload, type=dict[str, Any])
        msgspec.json.encode(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, TypeError):
        return {"hex": record.payload.hex()}
    return payload


def report_lines(report: Report) -> Iterator[str]:
    """What `verify` found, for people."""
    if report.last_seq:
        holds = (
            f"seq {report.first_seq} to {report.last_seq}, hash {report.last_hash}: "
            f"{report.messages:,} messages in {report.records:,} records, {report.segments:,} "
            f"segments, {report.checkpoints:,} checkpoints"
        )
    else:
        holds = "no records"
    damage = report.damage
    if damage is None:
        yield f"{report.directory}: clean, {holds}"
    else:
        yield (
            f"{report.directory}: DAMAGED: {damage.what} in {damage.file} at offset "
            f"{damage.offset}, where seq {damage.seq} was expected (before it: {holds})"
        )
    if report.torn is not None:
        yield (
            f"    an incomplete record at the end: {report.torn}; the node is writing it now, or "
            "was killed and cuts it at its next start"
        )


def comparison_text(found: Comparison) -> str:
    """What `diff` found, for people."""
    equal = f"{found.compared_messages:,} messages from seq {found.from_seq} on"
    if found.difference is not None:
        return f"different after {equal}: {_difference_text(found.difference)}"
    for directory, extra in (
        (found.directory_a, found.extra_messages_a),
        (found.directory_b, found.extra_messages_b),
    ):
        if extra:
            return f"{directory} is longer by {extra:,} messages; before that, equal: {equal}"
    if found.files_identical:
        return f"identical: {equal}; the files are byte-identical"
    return f"identical: {equal}; their files differ in segment size or behind the last record"


def _difference_text(one: Difference) -> str:
    a, b = ("end of file" if byte is None else f"{byte:02x}" for byte in (one.byte_a, one.byte_b))
    return (
        f"first in the record at seq {one.seq}: {a} in {one.file_a} at offset {one.offset_a}, "
        f"{b} in {one.file_b} at offset {one.offset_b}"
    )
