"""Reads the rows of a file as messages: plain, .gz or .xz, or stdin.

Decides what a row is in each format. The body of a message is the row's own bytes, never a
re-formatted copy, so that what comes out of the log can be compared with what went in.
"""

from __future__ import annotations

import csv
import gzip
import lzma
import sys
from collections.abc import Iterable, Iterator
from enum import Enum
from pathlib import Path
from typing import BinaryIO, cast

import msgspec

from ..shared.errors import UserError


class Format(Enum):
    """What a row is."""

    CSV = "csv"  # a record of a CSV file, as it stands there; the header line is no message
    JSONL = "jsonl"  # a line that is one JSON value; empty lines are skipped
    LINES = "lines"  # any line


def read_rows(path: Path, form: Format) -> Iterator[bytes]:
    """The rows of `path` ("-": stdin) as message bodies, without line ends.

    Raises UserError naming the file, and the line where one cannot be read.
    """
    try:
        with _open(path) as source:
            if form is Format.LINES:
                yield from map(_without_end, source)
            elif form is Format.JSONL:
                yield from _json_rows(path, map(_without_end, source))
            else:
                yield from _csv_rows(path, source)
    except (OSError, EOFError, lzma.LZMAError) as error:
        what = getattr(error, "strerror", None) or error
        raise UserError(f"cannot read {path}: {what}") from None


def _open(path: Path) -> BinaryIO:
    if str(path) == "-":
        return sys.stdin.buffer
    if path.suffix == ".gz":
        return cast(BinaryIO, gzip.open(path, "rb"))
    if path.suffix == ".xz":
        return cast(BinaryIO, lzma.open(path, "rb"))
    return path.open("rb")


def _without_end(line: bytes) -> bytes:
    return line.removesuffix(b"\n").removesuffix(b"\r")


def _json_rows(path: Path, lines: Iterable[bytes]) -> Iterator[bytes]:
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            msgspec.json.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise UserError(f"{path}, line {number}: not JSON: {error}") from None
        yield line


def _csv_rows(path: Path, lines: Iterable[bytes]) -> Iterator[bytes]:
    """A quoted field may hold line ends, so the csv module says where a record ends.

    `lines` with their ends: those within a field belong to the message.
    """
    taken: list[bytes] = []

    def texts() -> Iterator[str]:
        for line in lines:
            taken.append(line)
            yield line.decode("utf-8")

    reader = csv.reader(texts(), strict=True)
    columns = 0
    try:
        for fields in reader:
            row, taken[:] = _without_end(b"".join(taken)), []
            if not fields:
                continue
            if not columns:
                columns = len(fields)
                continue
            if len(fields) != columns:
                raise UserError(
                    f"{path}, line {reader.line_num}: {len(fields)} fields; "
                    f"the header line has {columns}"
                )
            yield row
    except csv.Error as error:
        raise UserError(f"{path}, line {reader.line_num}: not CSV: {error}") from None
    except UnicodeDecodeError as error:  # of a line that the reader has not got
        raise UserError(f"{path}, line {reader.line_num + 1}: not CSV: {error}") from None
