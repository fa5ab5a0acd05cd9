"""Opening a directory that a node has left behind, however it ended.

Decides from where to read (the newest checkpoint that can be trusted) and repairs the one thing
that may be repaired locally, the torn tail. Where the log ends is decided by `scan`.

What each kind of death can leave, and what becomes of it:
- Killed while a segment was prepared: `next.tmp`, perhaps short. It never held a record (it is
  renamed before the first is written): removed, and made anew.
- Killed after the rename and before the first record: an empty last segment. It is removed and the
  one before is active again. It must be: the record that needed the roll is gone, the next one may
  be smaller and fit into the old segment, and the peer, which never rolled, puts it there.
- Killed within a write: a prefix of the group, so at most one torn record, at the end. Cut.
- Killed between roll and checkpoint, or while the checkpoint was written: the older checkpoint
  serves, and two segments are read instead of one.
- A power cut besides takes back what was not synced, in any order: file data and names. A name that
  is lost (a segment still called next.tmp) takes its records with it; `synced_seq` never covered
  them, as a round syncs the directory before it counts. If later bytes survived and earlier ones
  did not, valid records stand behind a hole: that is told as damage and not cut, because from here
  it cannot be told from a disk that lost acknowledged records.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from ..errors import DiskFull, JournalDamage, LocalError, RemoteError
from ..limits import MIB
from ..log import LogState
from ..wire import parse_record
from .checkpoint import (
    CHECKPOINT_TEMPORARY,
    Checkpoint,
    list_checkpoints,
    load_checkpoint,
)
from .disk import Disk
from .index import SparseIndex, index_path
from .scan import LogScan, TornTail
from .segment import (
    MAX_RECORD_BYTES,
    NEXT_SEGMENT,
    Segment,
    list_segments,
    opened,
    read_at,
    segment_path,
)
from .sync import INDEX_TEMPORARY, NO_SPACE, KeptCheckpoint


class Recovered(msgspec.Struct):
    """A directory ready to be appended to. The last of `segments` is the active one; the log ends
    at its `offset`, and `last_offset` is where the last record starts (0 if there is none)."""

    state: LogState
    segments: list[Segment]
    index: SparseIndex
    offset: int
    last_offset: int
    torn: TornTail | None
    checkpoints: list[KeptCheckpoint]


def recover(directory: Path, segment_bytes: int, disk: Disk) -> Recovered:
    """Makes a directory ready; a new one gets its first segment of `segment_bytes`.

    Raises JournalDamage, naming file, offset and seq; DiskFull if there is no space for the first
    segment; LocalError if the disk fails. Nothing is changed before the log was found whole.
    """
    try:
        for name in (NEXT_SEGMENT, CHECKPOINT_TEMPORARY, INDEX_TEMPORARY):
            disk.unlink(directory / name)
        segments = list_segments(directory)
        loaded = map(load_checkpoint, list_checkpoints(directory))
        checkpoints = [checkpoint for checkpoint in loaded if checkpoint]
        if not segments and not checkpoints:
            segments = [_create_first(directory, segment_bytes, disk)]
        recovered = _read(directory, segments, checkpoints, disk)
        if not recovered.segments[-1].size:  # an emptied file is a segment again
            emptied = recovered.segments.pop()
            recovered.segments.append(msgspec.structs.replace(emptied, size=segment_bytes))
        _settle(directory, recovered, segments, disk)
    except OSError as error:
        kind = DiskFull if error.errno in NO_SPACE else LocalError
        raise kind(
            f"cannot open the journal {directory} (segments of {segment_bytes} bytes): "
            f"{error.strerror}"
        ) from error
    return recovered


def _create_first(directory: Path, segment_bytes: int, disk: Disk) -> Segment:
    """The first segment, allocated under the temporary name like every other one.

    Its name is made durable by `_settle`.
    """
    temporary = directory / NEXT_SEGMENT
    path = segment_path(directory, 1)
    os.close(disk.allocate(temporary, segment_bytes))
    disk.rename(temporary, path)
    return Segment(1, path, segment_bytes)


def _read(
    directory: Path, segments: list[Segment], checkpoints: list[Checkpoint], disk: Disk
) -> Recovered:
    state, segments_after, offset, last_offset = starting_point(
        directory, segments, checkpoints, disk
    )
    index = SparseIndex(segments_after[0].first_seq)
    scan = LogScan(segments_after, offset, state.last_seq + 1, state.apply)
    for segment, start, record in scan:
        if segment.first_seq == record.seq:
            index = SparseIndex(record.seq)
        elif start >= index.due_at:
            index.add(record.seq, start)
        last_offset = start
    kept = [one for one in segments if one.first_seq <= scan.segment.first_seq]
    return Recovered(
        state,
        kept,
        index,
        scan.offset,
        last_offset,
        scan.torn,
        [KeptCheckpoint(one.dump.position.seq, one.segment) for one in checkpoints],
    )


def starting_point(
    directory: Path, segments: list[Segment], checkpoints: list[Checkpoint], disk: Disk
) -> tuple[LogState, list[Segment], int, int]:
    """The state to start from, the segments to read, where in the first, and the record before.

    `checkpoints` are newest first; only the newest is used. Raises JournalDamage or LocalError.
    """
    if not checkpoints:
        first = segments[0]
        if first.first_seq != 1:
            raise LocalError(
                f"the log in {directory} begins at seq {first.first_seq} and no valid checkpoint "
                "says what came before it; repair this journal from the peer's copy"
            )
        for segment in segments:
            _make_true(segment.path, disk)
        return LogState(), segments, 0, 0
    checkpoint = checkpoints[0]
    path = segment_path(directory, checkpoint.segment)
    position = checkpoint.dump.position
    after = [one for one in segments if one.first_seq >= checkpoint.segment]
    if not after or after[0].first_seq != checkpoint.segment:
        raise JournalDamage(str(path), 0, checkpoint.segment, "the segment is missing")
    for segment in after:
        _make_true(segment.path, disk)
    with opened(path) as fd:
        view = memoryview(read_at(fd, MAX_RECORD_BYTES, checkpoint.offset, path))
    try:
        record = parse_record(view, 0)
    except RemoteError as error:
        raise JournalDamage(str(path), checkpoint.offset, position.seq, str(error)) from error
    if record.position != position:
        raise JournalDamage(
            str(path), checkpoint.offset, position.seq, "not the record that the checkpoint covers"
        )
    offset = checkpoint.offset + len(record.raw)
    return LogState.load(checkpoint.dump), after, offset, checkpoint.offset


def _make_true(path: Path, disk: Disk) -> None:
    """Makes what will be read the same as what the disk holds.

    The process before may have died of a failed fdatasync. Its pages are then in the cache, clean,
    and not on the disk: read from there, they would be believed, and lost at the next power cut.
    So dirty pages are written, clean ones dropped, and the records read from the disk.
    """
    with opened(path, os.O_RDWR) as fd:
        disk.sync_data(fd)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)


def _settle(directory: Path, recovered: Recovered, segments: list[Segment], disk: Disk) -> None:
    """Removes what is no part of the log, durably, before anything is appended.

    Spare segments go first, the newest first, and the torn bytes last: a crash in between leaves
    a torn tail again. Stale torn bytes must not stay: behind the records that overwrite their
    beginning, what is left of them could be taken for a record.
    """
    active = recovered.segments[-1]
    for segment in reversed(segments[len(recovered.segments) :]):
        disk.unlink(segment.path)
    # The index of a segment that is active again says where it ended before.
    for path in directory.glob("*.idx"):
        if path >= index_path(active.path) or not path.with_suffix(".log").exists():
            disk.unlink(path)
    with opened(active.path, os.O_RDWR) as fd:
        torn = recovered.torn
        if torn and torn.file == str(active.path):
            _fill_zeros(fd, torn.offset, torn.offset + torn.bytes)
        # A copy restored by an operator may have holes instead of blocks.
        os.posix_fallocate(fd, 0, active.size)
        disk.sync_data(fd)
    with opened(directory, os.O_DIRECTORY) as fd:
        disk.sync_directory(fd)


def _fill_zeros(fd: int, start: int, end: int) -> None:
    while start < end:
        start += os.pwrite(fd, bytes(min(MIB, end - start)), start)
