"""Segment files: their names, their bytes, and what lies in a stretch of one.

Decides what a segment's file is called and how records are found in it. Does not decide where a
log ends or what is damage (`scan` does), nor when a segment is full (`writer` does).

A segment `{first_seq:020d}.log` holds whole records back to back from offset 0. It is preallocated
and the rest is zeros, also after it is sealed, so that both nodes' files are equal byte by byte.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import msgspec

from ..descriptors import with_spares
from ..errors import LocalError, RemoteError, UserError
from ..limits import MAX_PAYLOAD_BYTES, MIB
from ..wire import HEADER_BYTES, MAGIC, VERSION, Record, parse_record

MAX_RECORD_BYTES: Final = HEADER_BYTES + MAX_PAYLOAD_BYTES
NEXT_SEGMENT: Final = "next.tmp"

# What one read of a walk takes: more than the largest record, so a record at its start is whole.
_WINDOW_BYTES: Final = 4 * MIB
_ZEROS: Final = bytes(MIB)
_SEGMENT_NAME: Final = re.compile(r"[0-9]{20}\.log")
_RECORD_START: Final = MAGIC + bytes([VERSION])


class Segment(msgspec.Struct, frozen=True):
    """One segment file: the seq of its first record, and its size, used or not."""

    first_seq: int
    path: Path
    size: int


def segment_path(directory: Path, first_seq: int) -> Path:
    return directory / f"{first_seq:020d}.log"


def list_segments(directory: Path) -> list[Segment]:
    """The segments of a directory, oldest first. Raises UserError if it cannot be listed."""
    try:
        found = [path for path in directory.iterdir() if _SEGMENT_NAME.fullmatch(path.name)]
    except OSError as error:
        raise UserError(
            f"cannot list {directory}: {error.strerror}; expected a node's data directory"
        ) from None
    segments = []
    for path in sorted(found):
        with suppress(FileNotFoundError):  # a running node may prune meanwhile
            segments.append(Segment(int(path.stem), path, path.stat().st_size))
    return segments


def open_file(path: Path, flags: int = os.O_RDONLY) -> int:
    """A descriptor of `path`. Raises LocalError if it cannot be opened."""
    try:
        return with_spares(lambda: os.open(path, flags | os.O_CLOEXEC))
    except OSError as error:
        raise LocalError(f"cannot open {path}: {error.strerror}") from error


@contextmanager
def opened(path: Path, flags: int = os.O_RDONLY) -> Iterator[int]:
    """As `open_file`; closed at the end."""
    fd = open_file(path, flags)
    try:
        yield fd
    finally:
        os.close(fd)


def read_at(fd: int, size: int, offset: int, path: Path) -> bytes:
    """Up to `size` bytes at `offset`. Raises LocalError naming `path` if the disk fails."""
    try:
        return os.pread(fd, size, offset)
    except OSError as error:
        raise LocalError(f"cannot read {path} at offset {offset}: {error.strerror}") from error


class RecordWalk:
    """Iterates the valid records of a segment from `offset` on.

    During an iteration `offset` is that of the record at hand; afterwards it is where the first
    bytes are that are no record, and `problem` says why they are none (None: the file ends there).
    """

    def __init__(self, fd: int, path: Path, offset: int) -> None:
        self.offset = offset
        self.problem: RemoteError | None = None
        self._fd = fd
        self._path = path

    def __iter__(self) -> Iterator[Record]:
        while block := read_at(self._fd, _WINDOW_BYTES, self.offset, self._path):
            view = memoryview(block)
            at = 0
            while True:
                try:
                    record = parse_record(view, at)
                except RemoteError as error:
                    # At the start of a block the record would have been whole. Anywhere else it
                    # may only have been cut by the block's end, or by a writer still at it.
                    if at == 0:
                        self.problem = error
                        return
                    break
                yield record
                size = len(record.raw)
                at += size
                self.offset += size
                if at == len(block):
                    break


def data_end(fd: int, path: Path, start: int) -> int:
    """The offset after the last byte from `start` on that is not zero; `start` if all are zeros."""
    end = offset = start
    while block := read_at(fd, len(_ZEROS), offset, path):
        if block != _ZEROS[: len(block)]:
            end = offset + len(block.rstrip(b"\0"))
        offset += len(block)
    return end


def find_record(fd: int, path: Path, start: int, end: int, min_seq: int) -> tuple[int, int] | None:
    """Offset and seq of the first valid record between `start` and `end` whose seq is at least
    `min_seq`, at any offset; None if there is none.

    A message may hold the bytes of a record. Then a torn record looks like damage, and the node
    stops although it could have gone on: wrong on the safe side.
    """
    for base in range(start, end, _WINDOW_BYTES):
        block = read_at(fd, _WINDOW_BYTES + MAX_RECORD_BYTES, base, path)
        view = memoryview(block)
        at = block.find(_RECORD_START)
        while 0 <= at < _WINDOW_BYTES:
            try:
                record = parse_record(view, at)
            except RemoteError:
                pass
            else:
                if record.seq >= min_seq:
                    return base + at, record.seq
            at = block.find(_RECORD_START, at + 1)
    return None
