"""From a seq to its place: how `Journal.read` and `Journal.hash_at` find records.

Decides where to look, with cursors for those who read on, and sparse indexes for those who jump.
Trusts the bytes (recovery and every receiver check them) but not blindly: a header that is none
where one must be is damage.
"""

from __future__ import annotations

import os
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from ..errors import JournalDamage, LocalError
from ..limits import INDEX_EVERY_BYTES
from ..wire import HEADER, HEADER_BYTES, MAGIC
from .index import SparseIndex, index_path, load_index
from .segment import Segment, open_file, read_at

# Readers that go on where they stopped: the link's catch-up and some consumers' replays.
_MAX_CURSORS: Final = 64
# Sealed segments kept open with their indexes (64 KiB each for segments of 64 MiB).
_MAX_OPEN: Final = 8
# One read of a walk over headers: the distance of two index entries, and a header.
_WALK_BYTES: Final = INDEX_EVERY_BYTES + HEADER_BYTES


# The active segment has no last seq: callers ask for what is appended only.
NO_END: Final = 2**64


class Head(NamedTuple):
    """What a lookup needs of a record's header."""

    offset: int
    end: int
    seq: int
    last_seq: int
    prev_hash: int
    hash: int


def walk_heads(fd: int, path: Path, offset: int, seq: int, last_seq: int) -> Iterator[Head]:
    """The headers from `offset`, where the record with `seq` starts, up to the record that ends at
    `last_seq`. Raises JournalDamage where there is none."""
    base, block = offset, b""
    while seq <= last_seq:
        at = offset - base
        if at + HEADER_BYTES > len(block):
            base, at, block = offset, 0, read_at(fd, _WALK_BYTES, offset, path)
            if len(block) < HEADER_BYTES:
                raise JournalDamage(str(path), offset, seq, "the file ends")
        header = HEADER.unpack_from(block, at)
        if header[0] != MAGIC or header[6] != seq or not header[5]:
            raise JournalDamage(str(path), offset, seq, "no header of the expected record")
        end = offset + HEADER_BYTES + header[4]
        seq += header[5]
        yield Head(offset, end, header[6], seq - 1, header[10], header[11])
        offset = end


class _Open(NamedTuple):
    """A segment that can be read: its descriptor, its index and its last seq."""

    segment: Segment
    fd: int
    sparse: SparseIndex
    last_seq: int


class Lookup:
    """The places of all records of a journal, which tells it of new and deleted segments."""

    def __init__(self, segments: list[Segment], fd: int, index: SparseIndex) -> None:
        self.segments = segments
        self._starts = [segment.first_seq for segment in segments]
        self._active_fd = fd
        self._active_index = index
        self._open: OrderedDict[int, _Open] = OrderedDict()
        self._cursors: OrderedDict[int, tuple[int, int]] = OrderedDict()

    def rolled(self, segment: Segment, fd: int, index: SparseIndex) -> None:
        """`segment` is the active one now."""
        self.segments.append(segment)
        self._starts.append(segment.first_seq)
        self._active_fd = fd
        self._active_index = index

    def pruned(self, count: int) -> None:
        """The oldest `count` segments are gone."""
        for start in self._starts[:count]:
            if (one := self._open.pop(start, None)) is not None:
                os.close(one.fd)
        del self.segments[:count], self._starts[:count]

    def close(self) -> None:
        for one in self._open.values():
            os.close(one.fd)
        self._open.clear()

    def read(self, from_seq: int, max_bytes: int, up_to_seq: int) -> bytes:
        """As `Journal.read`, for a `from_seq` and an `up_to_seq` that are in the log."""
        one = self._segment_of(from_seq)
        first = self._covering(one, from_seq)
        up_to_seq = min(up_to_seq, one.last_seq)
        if first.last_seq > up_to_seq:
            return b""
        # Everything before this index entry fits for certain; only what follows must be walked.
        limit = first.offset + max(max_bytes, first.end - first.offset)
        jump = one.sparse.before_both(limit, up_to_seq + 1)
        end, next_seq = max(jump, (first.end, first.last_seq + 1))
        for head in walk_heads(one.fd, one.segment.path, end, next_seq, up_to_seq):
            if head.last_seq > up_to_seq or head.end > limit:
                break
            end, next_seq = head.end, head.last_seq + 1
        self._remember(next_seq, one.segment.first_seq, end)
        return read_at(one.fd, end - first.offset, first.offset, one.segment.path)

    def hash_at(self, seq: int) -> int | None:
        """The hash of the record that ends at `seq`, first_seq - 1 or more; None if none does."""
        if seq == self._starts[0] - 1:
            return self._covering(self._segment_of(seq + 1), seq + 1).prev_hash
        head = self._covering(self._segment_of(seq), seq)
        return head.hash if head.last_seq == seq else None

    def _covering(self, one: _Open, seq: int) -> Head:
        cursor = self._cursors.get(seq)
        if cursor is not None and cursor[0] == one.segment.first_seq:
            offset, start_seq = cursor[1], seq
        else:
            offset, start_seq = one.sparse.before_seq(seq)
        for head in walk_heads(one.fd, one.segment.path, offset, start_seq, one.last_seq):
            if head.last_seq >= seq:
                return head
        raise LocalError(f"seq {seq} is not in {one.segment.path}, where it must be")

    def _remember(self, next_seq: int, segment: int, offset: int) -> None:
        self._cursors[next_seq] = segment, offset
        if len(self._cursors) > _MAX_CURSORS:
            self._cursors.popitem(last=False)

    def _segment_of(self, seq: int) -> _Open:
        at = bisect_right(self._starts, seq) - 1
        segment = self.segments[at]
        if at == len(self.segments) - 1:
            return _Open(segment, self._active_fd, self._active_index, NO_END)
        one = self._open.get(segment.first_seq)
        if one is not None:
            self._open.move_to_end(segment.first_seq)
            return one
        last_seq = self._starts[at + 1] - 1
        fd = open_file(segment.path)
        index = load_index(index_path(segment.path), segment.first_seq)
        if index is None:
            index = SparseIndex(segment.first_seq)
            for head in walk_heads(fd, segment.path, 0, segment.first_seq, last_seq):
                if head.offset >= index.due_at:
                    index.add(head.seq, head.offset)
        one = self._open[segment.first_seq] = _Open(segment, fd, index, last_seq)
        if len(self._open) > _MAX_OPEN:
            os.close(self._open.popitem(last=False)[1].fd)
        return one
