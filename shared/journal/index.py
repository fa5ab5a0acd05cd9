"""The sparse index of a segment: seq to offset, about every 16 KiB.

Decides where a seek starts to walk. It is only a short cut: a missing, stale or broken index file
is rebuilt by walking the headers, so it is written without fsync and carries its own checksum.
"""

from __future__ import annotations

import struct
from array import array
from bisect import bisect_right
from pathlib import Path
from typing import Final

from xxhash import xxh3_64_intdigest

from ..limits import INDEX_EVERY_BYTES

_HEAD: Final = struct.Struct("<4sIQ")  # magic, entries, checksum of what follows
_MAGIC: Final = b"ILX1"


class SparseIndex:
    """Starts of records as (seq, offset), rising; the first is always (first_seq, 0)."""

    __slots__ = ("due_at", "offsets", "seqs")

    def __init__(self, first_seq: int) -> None:
        self.seqs = array("Q", [first_seq])
        self.offsets = array("Q", [0])
        self.due_at = INDEX_EVERY_BYTES

    def add(self, seq: int, offset: int) -> None:
        """Takes note of a record's start. Call it for records at or beyond `due_at` only."""
        self.seqs.append(seq)
        self.offsets.append(offset)
        self.due_at = offset + INDEX_EVERY_BYTES

    def before_seq(self, seq: int) -> tuple[int, int]:
        """Offset and seq of the last entry whose record starts at or before `seq`."""
        at = bisect_right(self.seqs, seq) - 1
        return self.offsets[at], self.seqs[at]

    def before_both(self, offset: int, seq: int) -> tuple[int, int]:
        """Offset and seq of the last entry that is at or before both."""
        at = min(bisect_right(self.offsets, offset), bisect_right(self.seqs, seq)) - 1
        return self.offsets[at], self.seqs[at]

    def encode(self) -> bytes:
        """The index file's bytes: all seqs, then all offsets."""
        body = self.seqs.tobytes() + self.offsets.tobytes()
        return _HEAD.pack(_MAGIC, len(self.seqs), xxh3_64_intdigest(body)) + body


def index_path(segment: Path) -> Path:
    return segment.with_suffix(".idx")


def load_index(path: Path, first_seq: int) -> SparseIndex | None:
    """The index in a file, or None if there is none that can be used."""
    try:
        data = path.read_bytes()
        magic, entries, checksum = _HEAD.unpack_from(data)
    except (OSError, struct.error):
        return None
    body = data[_HEAD.size :]
    if magic != _MAGIC or len(body) != 16 * entries or xxh3_64_intdigest(body) != checksum:
        return None
    index = SparseIndex(first_seq)
    if not entries or body[:8] != index.seqs.tobytes():
        return None
    index.seqs = array("Q", body[: 8 * entries])
    index.offsets = array("Q", body[8 * entries :])
    return index
