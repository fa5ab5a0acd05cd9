"""What is still good in a damaged journal: stretches of records, each continuing the one before.

Decides what counts as good by itself: a record whose bytes match its hash, wherever it stands.
Whether a stretch belongs to the log shows when it is put together (`repair`): a message may hold
the bytes of a record, which then looks like a stretch of its own, and continues nothing.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path

import msgspec

from ..errors import LocalError
from ..wire import Position, Record
from .segment import RecordWalk, Segment, data_end, find_record, opened


class Stretch(msgspec.Struct):
    """Whole records back to back in a file, from `offset` to `end`; the first continues `before`,
    the last ends at `last`."""

    path: Path
    offset: int
    end: int
    before: Position
    last: Position


class Salvaged(msgspec.Struct, frozen=True):
    """What was found in a segment file. `intact`: nothing but its records from the beginning, and
    zeros after them, or zeros only."""

    segment: Segment
    stretches: list[Stretch]
    intact: bool


def salvage(segment: Segment) -> Salvaged:
    """The good stretches of a segment file, in the order of their places.

    A file that the disk cannot read holds none from there on. Raises LocalError if it cannot be
    opened.
    """
    stretches: list[Stretch] = []
    end = -1
    try:
        with opened(segment.path) as fd:
            end = data_end(fd, segment.path, 0)
            offset: int | None = 0
            while offset is not None and offset < end:
                walk = RecordWalk(fd, segment.path, offset)
                for record in walk:
                    _take(stretches, segment.path, walk.offset, record)
                found = find_record(fd, segment.path, walk.offset, end, segment.first_seq)
                offset = found[0] if found else None
    except LocalError as error:
        if not isinstance(error.__cause__, OSError) or error.__cause__.errno != errno.EIO:
            raise
    return Salvaged(segment, stretches, _is_intact(segment, stretches, end))


def _take(stretches: list[Stretch], path: Path, offset: int, record: Record) -> None:
    """Puts a record to the stretch that it continues, or begins a new one with it."""
    before = Position(record.seq - 1, record.prev_hash)
    end = offset + len(record.raw)
    if stretches and stretches[-1].end == offset and stretches[-1].last == before:
        stretches[-1].end, stretches[-1].last = end, record.position
    else:
        stretches.append(Stretch(path, offset, end, before, record.position))


def _is_intact(segment: Segment, stretches: list[Stretch], end: int) -> bool:
    if not stretches:
        return end == 0
    first = stretches[0]
    begins = first.offset == 0 and first.before.seq + 1 == segment.first_seq
    return len(stretches) == 1 and begins and first.end == end


def records_of(stretch: Stretch) -> Iterator[Record]:
    """The records of a stretch; their bytes are views."""
    with opened(stretch.path) as fd:
        walk = RecordWalk(fd, stretch.path, stretch.offset)
        for record in walk:
            if walk.offset >= stretch.end:
                return
            yield record
