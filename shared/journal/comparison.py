"""`diff`: are two journals the same, and if not, where is the first byte that differs?

Decides nothing about which one is right, and checks no hashes: it compares bytes, so it also works
on a damaged journal. Pruning may have taken different beginnings; what both hold is compared.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec

from ..errors import JournalDamage, RemoteError, UserError
from ..limits import MIB
from ..wire import parse_record
from .lookup import NO_END, walk_heads
from .reader import JournalReader
from .segment import Segment, list_segments, opened, read_at


class Difference(msgspec.Struct, frozen=True):
    """The first byte that differs, in the record that begins with `seq`, by place on each side.

    A value is null where that side's file has ended.
    """

    seq: int
    file_a: str
    offset_a: int
    byte_a: int | None
    file_b: str
    offset_b: int
    byte_b: int | None


class Comparison(msgspec.Struct):
    """What `diff` found. `identical`: the same records, and none more on either side.

    files_identical: besides, the segment files that hold them are equal, zero tails included.
    compared_messages: equal ones, from `from_seq` on. extra_messages_a/_b: whole records that only
    that side holds, behind the last equal one.
    """

    directory_a: str
    directory_b: str
    identical: bool = False
    files_identical: bool = False
    from_seq: int = 0
    compared_messages: int = 0
    extra_messages_a: int = 0
    extra_messages_b: int = 0
    difference: Difference | None = None


class _Raw(NamedTuple):
    """A record, whole by its header; or the place where no header of the expected one is."""

    seq: int
    messages: int  # 0 at such a place: the stream ends there
    path: Path
    offset: int
    data: bytes


def diff(directory_a: Path, directory_b: Path) -> Comparison:
    """Compares the journals of two stopped or running nodes.

    Raises UserError if one is no journal or they have no seq in common, LocalError if a disk fails.
    """
    firsts = [JournalReader(directory).first_seq for directory in (directory_a, directory_b)]
    start = max(firsts)
    found = Comparison(str(directory_a), str(directory_b), from_seq=start)
    stream_a, stream_b = _stream(directory_a, start), _stream(directory_b, start)
    for a, b in zip(stream_a, stream_b, strict=False):
        if a.messages and b.messages and a.data == b.data:
            found.compared_messages += a.messages
            continue
        found.difference = _difference(a, b)
        if found.difference is None:
            found.extra_messages_a = _messages(a, stream_a)
            found.extra_messages_b = _messages(b, stream_b)
        break
    if found.difference is not None:
        return found
    if not found.compared_messages and min(firsts) != start:
        raise UserError(
            f"{directory_a} (from seq {firsts[0]}) and {directory_b} (from seq {firsts[1]}) "
            "have no record in common: one begins beyond the other's end"
        )
    found.identical = not found.extra_messages_a + found.extra_messages_b
    found.files_identical = found.identical and _same_files(directory_a, directory_b, start)
    return found


def _stream(directory: Path, start: int) -> Iterator[_Raw]:
    """The records from the one that covers `start`, then the place where they end."""
    segments = list_segments(directory)
    begin = max(i for i, one in enumerate(segments) if one.first_seq <= start)
    last = segments[-1]
    for at, segment in enumerate(segments[begin:], begin):
        end_seq = NO_END if segment is last else segments[at + 1].first_seq - 1
        with opened(segment.path) as fd:
            offset, seq = 0, segment.first_seq
            try:
                for head in walk_heads(fd, segment.path, 0, seq, end_seq):
                    offset, seq = head.end, head.last_seq + 1
                    if head.last_seq >= start:
                        size = head.end - head.offset
                        data = read_at(fd, size, head.offset, segment.path)
                        yield _Raw(head.seq, seq - head.seq, segment.path, head.offset, data)
            except JournalDamage:
                # No header here: the end of the log, or damage that a comparison will show.
                yield _Raw(seq, 0, segment.path, offset, b"")
                return


def _difference(a: _Raw, b: _Raw) -> Difference | None:
    """The first byte that differs; None if one side has just ended, with zeros from there on."""
    size = max(len(a.data), len(b.data))
    bytes_a, bytes_b = _bytes_at(a, size), _bytes_at(b, size)
    for there, messages in ((bytes_a, a.messages), (bytes_b, b.messages)):
        if not messages and not any(there):
            return None
    at = next((i for i in range(size) if bytes_a[i : i + 1] != bytes_b[i : i + 1]), None)
    if at is None:
        return None
    return Difference(
        a.seq,
        str(a.path),
        a.offset + at,
        bytes_a[at] if at < len(bytes_a) else None,
        str(b.path),
        b.offset + at,
        bytes_b[at] if at < len(bytes_b) else None,
    )


def _bytes_at(raw: _Raw, size: int) -> bytes:
    with opened(raw.path) as fd:
        return read_at(fd, size, raw.offset, raw.path)


def _messages(first: _Raw, rest: Iterator[_Raw]) -> int:
    """Messages of whole records: a torn last one does not make a log longer."""
    messages = 0
    raw: _Raw | None = first
    while raw is not None and raw.messages:
        try:
            parse_record(memoryview(raw.data), 0)
        except RemoteError:
            break
        messages += raw.messages
        raw = next(rest, None)
    return messages


def _same_files(directory_a: Path, directory_b: Path, start: int) -> bool:
    files_a, files_b = (_holding(directory, start) for directory in (directory_a, directory_b))
    if [one.path.name for one in files_a] != [one.path.name for one in files_b]:
        return False
    return all(_same_bytes(a, b) for a, b in zip(files_a, files_b, strict=True))


def _holding(directory: Path, start: int) -> list[Segment]:
    """The segments with records from `start` on."""
    segments = list_segments(directory)
    begin = max(i for i, one in enumerate(segments) if one.first_seq <= start)
    return segments[begin:]


def _same_bytes(a: Segment, b: Segment) -> bool:
    if a.size != b.size:
        return False
    with opened(a.path) as fd_a, opened(b.path) as fd_b:
        for offset in range(0, a.size, MIB):
            if read_at(fd_a, MIB, offset, a.path) != read_at(fd_b, MIB, offset, b.path):
                return False
    return True
