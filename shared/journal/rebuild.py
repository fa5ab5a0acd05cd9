"""Segment files written anew from stretches of records.

Decides where a segment ends, as the writer does: at the record that does not fit any more. So a
rebuilt file is the one that was damaged, byte for byte.
"""

from __future__ import annotations

import filecmp
import os
from collections.abc import Iterator
from pathlib import Path

from .disk import Disk
from .salvage import Stretch, records_of
from .segment import segment_path


def build_segments(
    directory: Path,
    parts: list[Stretch],
    next_bytes: int | None,
    sizes: tuple[int, int],
    disk: Disk,
) -> list[Path]:
    """Writes the records of `parts` as segments into `directory`, durable; their paths.

    `next_bytes`: the size of the record that begins the segment after them, None at the log's end.
    `sizes`: that of a segment by the configuration, and that of the file that is replaced (0: there
    is none), which counts if it alone makes the next segment begin where it does. It may have been
    made under another configuration, or have been cut short.
    """
    lengths = [len(record.raw) for part in parts for record in records_of(part)]
    total = sum(lengths)
    fits = (
        size
        for size in sizes
        if total <= size and (next_bytes is None or total + next_bytes > size)
    )
    size = next(fits, sizes[0])
    records = (record for part in parts for record in records_of(part))
    paths = []
    for count in lay_out(lengths, size):
        first = next(records)
        path = segment_path(directory, first.seq)
        rest = (bytes(next(records).raw) for _ in range(count - 1))
        _write(path, size, bytes(first.raw), rest, disk)
        paths.append(path)
    return paths


def lay_out(lengths: list[int], size: int) -> list[int]:
    """How many of the records, of these lengths, go into each segment of `size` bytes."""
    counts: list[int] = []
    left = 0
    for length in lengths:
        if not counts or length > left:
            counts.append(0)
            left = size
        counts[-1] += 1
        left -= length
    return counts


def _write(path: Path, size: int, first: bytes, rest: Iterator[bytes], disk: Disk) -> None:
    with os.fdopen(disk.allocate(path, size), "r+b") as out:
        out.write(first)
        for data in rest:
            out.write(data)
        out.flush()
        disk.sync_data(out.fileno())


def same_bytes(a: Path, b: Path) -> bool:
    """Whether two files are equal; false if one does not exist or cannot be read."""
    try:
        return filecmp.cmp(a, b, shallow=False)
    except OSError:
        return False
