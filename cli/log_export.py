"""`interlock log export`: a journal as a file that other programs read, one row per message.

Decides the rows and the two formats. A file appears under its name only when it is whole.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from enum import Enum
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from ..shared.errors import UserError
from ..shared.journal import JournalReader
from ..shared.textform import body_fields
from ..shared.wire import Kind, decode_messages
from .log_text import kind_name

# Rows of one Parquet row group: what is held in memory at once.
_ROWS_PER_GROUP = 65_536


class Format(Enum):
    """What `export` can write."""

    JSONL = "jsonl"
    PARQUET = "parquet"


class Row(msgspec.Struct, frozen=True, gc=False):
    """One message. A control record is one message; its `producer` is the leader, its
    `producer_seq` 0 and its `body` the MessagePack payload."""

    seq: int
    epoch: int
    time_ns: int
    producer: str
    producer_seq: int
    kind: str
    body: bytes


def rows(reader: JournalReader, from_seq: int | None, control: bool) -> Iterator[Row]:
    """The messages from `from_seq` on, checked on the way. Raises as `JournalReader.records`."""
    for record in reader.records(from_seq):
        if record.kind is Kind.DATA:
            bodies = decode_messages(record.payload)
        elif control:
            bodies = [bytes(record.payload)]
        else:
            continue
        kind = kind_name(record.kind)
        for index, body in enumerate(bodies):
            seq = record.seq + index
            if from_seq is None or seq >= from_seq:
                number = record.producer_seq and record.producer_seq + index
                yield Row(seq, record.epoch, record.time_ns, record.producer, number, kind, body)


def write(messages: Iterable[Row], format_: Format, output: Path) -> int:
    """Writes all rows to `output` (`-`: standard output); how many.

    Raises UserError if that file or format cannot be written.
    """
    if format_ is Format.PARQUET and str(output) == "-":
        raise UserError("a Parquet file cannot go to standard output; name a file with --output")
    writer = _write_jsonl if format_ is Format.JSONL else _parquet_writer()
    if str(output) == "-":
        return writer(messages, sys.stdout.buffer)
    part = output.with_name(output.name + ".part")
    try:
        with part.open("wb") as out:
            try:
                written = writer(messages, out)
            except BaseException:
                part.unlink()
                raise
        part.replace(output)
    except OSError as error:
        raise UserError(f"cannot write {output}: {error.strerror}") from None
    return written


def _write_jsonl(messages: Iterable[Row], out: BinaryIO) -> int:
    encode = msgspec.json.Encoder().encode
    written = 0
    for row in messages:
        fields = {name: getattr(row, name) for name in Row.__struct_fields__[:-1]}
        out.write(encode(fields | body_fields(row.body)) + b"\n")
        written += 1
    out.flush()
    return written


def _parquet_writer() -> Any:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise UserError(
            "--format parquet needs the package pyarrow, which is not installed; "
            "install it with: pip install 'interlock[parquet]', or use --format jsonl"
        ) from None

    schema = pyarrow.schema(
        [
            ("seq", pyarrow.uint64()),
            ("epoch", pyarrow.uint32()),
            ("time_ns", pyarrow.uint64()),
            ("producer", pyarrow.string()),
            ("producer_seq", pyarrow.uint64()),
            ("kind", pyarrow.string()),
            ("body", pyarrow.binary()),
        ]
    )

    def write_parquet(messages: Iterable[Row], out: BinaryIO) -> int:
        written = 0
        source = iter(messages)
        with parquet.ParquetWriter(out, schema) as file:
            while group := list(islice(source, _ROWS_PER_GROUP)):
                columns = [[getattr(row, name) for row in group] for name in schema.names]
                arrays = [
                    pyarrow.array(column, field.type)
                    for column, field in zip(columns, schema, strict=True)
                ]
                file.write_table(pyarrow.Table.from_arrays(arrays, schema=schema))
                written += len(group)
        return written

    return write_parquet
