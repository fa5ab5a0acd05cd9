"""Cutting a log back, and setting a whole journal aside: what a node does before it rejoins.

Decides in which order the disk is changed, so that no death loses a record and each leaves a
journal that opens. Does not decide where to cut or whether that is allowed (`rejoin` does). Both
functions are for a directory that is locked and whose journal is closed.

The order of a cut, each step durable before the next:
1. What lies beyond goes into the quarantine.
2. The segment that is cut is written anew, under the temporary name of a next segment, which
   recovery sweeps away. That it has its space is known before anything is removed.
3. Checkpoints beyond the cut go. (Were segments removed first: a kill, and the newest checkpoint
   names a record that is gone, which recovery calls damage.)
4. Segments beyond go, the newest first: what remains is always a log that just ends earlier.
5. The new segment takes the place of the old one. It is not overwritten in place: of zeros written
   over several records a power cut may keep the first and lose the last, and valid records behind
   a hole are damage.

A second run after a death finds what is left of the tail at the beginning of the entry that the
first one made, and keeps it no second time.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import msgspec

from ..commands import QuarantineEntry
from ..errors import LocalError, UserError
from ..limits import MIB
from ..wire import GENESIS, Position
from .checkpoint import list_checkpoints, load_checkpoint
from .disk import Disk
from .quarantine import QuarantineStore, disk_errors, sync_names
from .recovery import recover, starting_point
from .scan import LogScan
from .segment import NEXT_SEGMENT, Segment, data_end, list_segments, opened, read_at


class _Cut(msgspec.Struct, frozen=True):
    """Where the log is to end: at `offset` of `segment`; `later` are the segments after it."""

    after: Position
    segment: Segment
    offset: int
    later: list[Segment]


def cut_after(
    directory: Path,
    segment_bytes: int,
    after: Position,
    why: str,
    now_ns: int,
    disk: Disk | None = None,
) -> QuarantineEntry | None:
    """Ends the log at `after` (GENESIS: cuts everything); the records beyond go into quarantine.

    Returns their entry, or None if nothing was beyond. Afterwards the segments are those of a
    journal that never went further. Can be run again after any death. Raises UserError if the log
    does not hold `after` or could not be opened without what is cut, JournalDamage, DiskFull or
    LocalError if the quarantine cannot be written; nothing is then cut.
    """
    disk = disk or Disk()
    with disk_errors(f"cannot cut the journal {directory} after seq {after.seq}"):
        cut = _find(directory, after, disk)
        if cut is None:
            return None
        store = QuarantineStore(directory, disk)
        entry = store.holding(after, lambda: _tail(cut)) or store.keep(
            _tail(cut), after, why, now_ns
        )
        _remove(directory, cut, disk)
    # The proof: the journal opens, and ends where it should. Stale indexes go with that.
    ends = recover(directory, segment_bytes, disk).state.position
    if ends != after:
        raise LocalError(f"the journal {directory} ends at seq {ends.seq} after a cut at {after}")
    return entry


def _find(directory: Path, after: Position, disk: Disk) -> _Cut | None:
    """Where to cut; None if nothing is beyond. Reads as a restart will that has only what remains,
    so that what is cut is known to be whole, and what remains to open."""
    segments = list_segments(directory)
    if not segments and after == GENESIS:
        return None
    loaded = map(load_checkpoint, list_checkpoints(directory))
    remaining = [one for one in loaded if one and one.dump.position.seq <= after.seq]
    if segments and segments[0].first_seq != 1 and not remaining:
        raise UserError(
            f"the log in {directory} begins at seq {segments[0].first_seq} and cannot be cut after "
            f"seq {after.seq}: no checkpoint before that is left; nothing was changed; set all of "
            "it aside and stream the leader's log with: interlock reinstate --reseed"
        )
    place = None
    ends = GENESIS
    if segments:
        state, rest, offset, _ = starting_point(directory, segments, remaining, disk)
        if state.position == after:
            place = (rest[0], offset)
        for segment, start, record in LogScan(rest, offset, state.last_seq + 1, state.apply):
            if record.position == after:
                place = (segment, start + len(record.raw))
        ends = state.position
    if place is None:
        raise UserError(
            f"the log in {directory}, which ends at seq {ends.seq}, holds no record that ends at "
            f"seq {after.seq} with hash {after.hash:016x}; nothing was changed; compare the nodes' "
            "logs, or use: interlock reinstate --reseed"
        )
    if ends == after:
        return None
    later = [one for one in segments if one.first_seq > place[0].first_seq]
    return _Cut(after, place[0], place[1], later)


def _tail(cut: _Cut) -> Iterator[bytes]:
    """The records beyond the cut, one by one."""
    scan = LogScan([cut.segment, *cut.later], cut.offset, cut.after.seq + 1, lambda record: None)
    for _, _, record in scan:
        yield bytes(record.raw)


def _remove(directory: Path, cut: _Cut, disk: Disk) -> None:
    with opened(cut.segment.path) as fd:
        shortened = data_end(fd, cut.segment.path, cut.offset) > cut.offset
    if shortened:
        _write_prefix(directory / NEXT_SEGMENT, cut, disk)
    for path in list_checkpoints(directory):
        if int(path.stem) > cut.after.seq:
            disk.unlink(path)
    sync_names(directory, disk)
    for segment in reversed(cut.later):
        disk.unlink(segment.path)
        sync_names(directory, disk)
    if shortened:
        disk.rename(directory / NEXT_SEGMENT, cut.segment.path)
        sync_names(directory, disk)


def _write_prefix(path: Path, cut: _Cut, disk: Disk) -> None:
    """A copy of the segment up to the cut, and zeros to its full size; durable by itself."""
    fd = disk.allocate(path, cut.segment.size)
    try:
        with opened(cut.segment.path) as source:
            for offset in range(0, cut.offset, MIB):
                data = read_at(source, min(MIB, cut.offset - offset), offset, cut.segment.path)
                while data:
                    written = os.pwrite(fd, data, offset)
                    data, offset = data[written:], offset + written
        disk.sync_data(fd)
    finally:
        os.close(fd)


def set_aside(directory: Path, why: str, now_ns: int, disk: Disk | None = None) -> str | None:
    """Moves all files of a journal, damaged or not, into the quarantine; the name of their entry.

    None if there was nothing. Nothing is read. Killed midway, what is left is a log that ends
    earlier, and a second run sets that aside under another name. Raises LocalError or DiskFull.
    """
    # Checkpoints before segments, the newest first, for the reasons that a cut has.
    files = [
        path
        for pattern in ("*.ckpt", "*.idx", "*.log")
        for path in sorted(directory.glob(pattern), reverse=True)
    ]
    if not files:
        return None
    return QuarantineStore(directory, disk).set_aside(files, why, now_ns).name
