"""The journal of a running node: append, sync, read, roll, checkpoint, prune.

Decides when a segment is full and what the helper thread is asked for. Does not decide what a
record may be (`wire`, `log`), when to sync or to checkpoint, or what a full disk means for
producers (the node does).

The roll rule: a record that does not fit into what is left of the segment starts the next one. It
depends on the records and the segment size alone, never on how they were grouped or timed, so both
nodes' files are equal byte by byte.

The next segment is made ahead, as `next.tmp`, and renamed when it is taken into use, without
waiting for the disk: until the next round of fdatasync counts it, nothing in it is called synced.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Final

from ..errors import DiskFull, LocalError, Reason, RemoteError
from ..log import LogState
from ..wire import HEADER
from .checkpoint import encode_checkpoint
from .disk import Disk
from .index import SparseIndex, index_path
from .lookup import Lookup
from .recovery import Recovered, recover
from .scan import TornTail
from .segment import NEXT_SEGMENT, Segment, open_file, segment_path
from .sync import KeptCheckpoint, SyncThread

_MAX_BUFFERS: Final = os.sysconf("SC_IOV_MAX")


def _seq_of(record: bytes | memoryview) -> int:
    seq: int = HEADER.unpack_from(record)[6]
    return seq


def _hash_of(record: bytes | memoryview) -> int:
    own: int = HEADER.unpack_from(record)[11]
    return own


class Journal:
    """A directory of segments, open for appending. For one thread; one journal per directory.

    state: the log as recovered. The caller takes it and carries it on; the journal does not.
    torn: what was cut off at the end when the journal was opened, for the operator.
    last_seq: the last message appended.
    wakeup_fd: readable when `poll` has something to tell; for a poller.
    checkpoint_due: a segment was taken into use, and no checkpoint was asked for since.
    """

    @classmethod
    def open(cls, directory: Path, segment_bytes: int, disk: Disk | None = None) -> Journal:
        """Creates or recovers the journal in `directory`, which must exist and be locked.

        What is recovered is on the disk when this returns. Raises JournalDamage (file, offset,
        seq), DiskFull (no space for the first segment), LocalError.
        """
        disk = disk or Disk()
        return cls(directory, segment_bytes, recover(directory, segment_bytes, disk), disk)

    def __init__(
        self, directory: Path, segment_bytes: int, recovered: Recovered, disk: Disk
    ) -> None:
        """Use `open`."""
        self.state: LogState = recovered.state
        self.torn: TornTail | None = recovered.torn
        self.last_seq = self.state.last_seq
        self._directory = directory
        self._segment_bytes = segment_bytes
        self._disk = disk
        self._last_hash = self.state.position.hash
        self._last_record: bytes | memoryview | None = None  # the last one appended
        self._active = recovered.segments[-1]
        self._fd = open_file(self._active.path, os.O_RDWR)
        self._size = self._active.size
        self._offset = recovered.offset
        self._last_offset = recovered.last_offset
        self._index = recovered.index
        self._lookup = Lookup(recovered.segments, self._fd, self._index)
        self._asked_seq = self.last_seq
        self._failure: str | None = None
        newest = recovered.checkpoints[0].segment if recovered.checkpoints else 1
        # Killed between a roll and its checkpoint: it is still owed.
        self.checkpoint_due = newest != self._active.first_seq
        self._sync = SyncThread(
            directory, segment_bytes, disk, self.last_seq, recovered.checkpoints
        )
        self.wakeup_fd = self._sync.wakeup_fd
        self._sync.prepare()

    # What it holds ---------------------------------------------------------------------------

    @property
    def first_seq(self) -> int:
        """The first retained seq; 1 for an empty log."""
        return self._lookup.segments[0].first_seq

    @property
    def synced_seq(self) -> int:
        """The last message that is certainly on the disk."""
        return self._sync.synced_seq

    @property
    def room_bytes(self) -> int:
        """A group of records of at most this many bytes is appended without lack of space.

        With the next segment prepared that is all of it: in the worst case the first record does
        not fit into what is left of this one, and the whole group goes into the next.
        """
        left = self._size - self._offset
        prepared = self._sync.prepared
        return left if prepared is None else max(left, prepared.size)

    @property
    def segments(self) -> int:
        """How many segments are retained, the active one included."""
        return len(self._lookup.segments)

    def disk_free_bytes(self) -> int:
        """What the file system has left for this user. Raises LocalError if it does not say."""
        try:
            status = os.statvfs(self._directory)
        except OSError as error:
            raise LocalError(f"cannot inspect {self._directory}: {error.strerror}") from error
        return status.f_bavail * status.f_frsize

    # Writing ---------------------------------------------------------------------------------

    def append(self, records: Sequence[bytes | memoryview], last_seq: int) -> None:
        """Writes whole records, one per element, in log order; `last_seq` is their last message.

        They are with the operating system when this returns, not on the disk. The caller has
        checked that they continue the log. A group above `room_bytes` may have to wait for a
        segment. Raises DiskFull if there is none; nothing is then written, and it can be tried
        again after `prepare`. Raises LocalError if the disk fails, or is full half-way through a
        group larger than a segment: final.
        """
        if self._failure or self._sync.failure:
            raise LocalError(self._failure or self._sync.failure)
        size = sum(map(len, records))
        begun = False
        while size > self._size - self._offset:
            fitting = self._fitting(records)
            try:
                self._roll(records[:fitting], records[fitting])
            except DiskFull as error:
                if not begun:
                    raise
                raise self._failed(str(error)) from error
            begun = True
            records = records[fitting:]
            size = sum(map(len, records))
        self._write(records, size)
        self.last_seq = last_seq

    def _fitting(self, records: Sequence[bytes | memoryview]) -> int:
        """How many of `records`, not all of which fit, fit into the active segment."""
        left = self._size - self._offset
        for index, record in enumerate(records):
            left -= len(record)
            if left < 0:
                return index
        raise LocalError("a group of records that fits was taken for one that does not")

    def _roll(self, fitting: Sequence[bytes | memoryview], opening: bytes | memoryview) -> None:
        """Writes `fitting`, seals the segment, and takes the next one into use for `opening`.

        The next segment is taken first: without one, nothing of the group is written.
        """
        if len(opening) > self._segment_bytes:
            raise LocalError(
                f"a record of {len(opening)} bytes at seq {_seq_of(opening)}; "
                f"a segment holds {self._segment_bytes}"
            )
        prepared = self._sync.take_prepared()
        self._write(fitting, sum(map(len, fitting)))
        first_seq = _seq_of(opening)
        segment = Segment(first_seq, segment_path(self._directory, first_seq), prepared.size)
        try:
            self._disk.rename(self._directory / NEXT_SEGMENT, segment.path)
        except OSError as error:
            os.close(prepared.fd)
            raise self._failed(f"cannot take {segment.path} into use: {error.strerror}") from error
        self._sync.sealed(self._fd)
        self._sync.save_index(index_path(self._active.path), self._index.encode())
        self._active, self._fd, self._size = segment, prepared.fd, prepared.size
        self._offset = 0
        self._index = SparseIndex(segment.first_seq)
        self._lookup.rolled(segment, self._fd, self._index)
        self.checkpoint_due = True
        self._sync.prepare()
        # Nobody may ever ask for a sync: the sealed descriptor must not stay open for that.
        self._sync.request(first_seq - 1, self._fd)

    def _write(self, records: Sequence[bytes | memoryview], size: int) -> None:
        if not records:
            return
        offset = self._offset
        last_offset = offset + size - len(records[-1])
        if last_offset >= self._index.due_at:
            self._index_group(records)
        last = records[-1]
        if len(records) > _MAX_BUFFERS:
            records = [b"".join(records)]
        try:
            written = os.pwritev(self._fd, records, offset)
            if written < size:
                # A signal or a file system near its end; the next write tells the reason.
                rest = memoryview(b"".join(records))[written:]
                while rest:
                    rest = rest[os.pwrite(self._fd, rest, offset + size - len(rest)) :]
        except OSError as error:
            raise self._failed(
                f"cannot write {size} bytes to {self._active.path} at offset {offset}: "
                f"{error.strerror} (errno {error.errno})"
            ) from error
        self._last_record = last
        self._offset = offset + size
        self._last_offset = last_offset

    def _index_group(self, records: Sequence[bytes | memoryview]) -> None:
        offset = self._offset
        for record in records:
            if offset >= self._index.due_at:
                self._index.add(_seq_of(record), offset)
            offset += len(record)

    def _failed(self, text: str) -> LocalError:
        """What was written is unknown now: nothing may be appended behind it."""
        self._failure = text
        return LocalError(text)

    # Durability ------------------------------------------------------------------------------

    def request_sync(self) -> None:
        """Asks the helper thread to sync what is appended so far; `poll` tells when it is done.

        Requests that wait for the disk are served together.
        """
        if self._asked_seq != self.last_seq:
            self._asked_seq = self.last_seq
            self._sync.request(self.last_seq, self._fd)

    def poll(self) -> int:
        """Drains `wakeup_fd` and returns `synced_seq`.

        Raises LocalError if the disk failed under the helper. That is final: never retried.
        """
        with suppress(BlockingIOError):
            os.eventfd_read(self.wakeup_fd)
        if self._sync.failure:
            raise LocalError(self._sync.failure)
        return self._sync.synced_seq

    def sync(self) -> None:
        """Returns when all that was appended is on the disk, names of files included.

        Raises LocalError if the disk failed.
        """
        self.request_sync()
        self._sync.wait_synced(self.last_seq)
        if self._sync.failure:
            raise LocalError(self._sync.failure)

    def prepare(self) -> None:
        """Tries again what failed for lack of space: the next segment, a checkpoint.

        Call it about once a second; it does nothing while nothing failed.
        """
        self._sync.prepare()
        if self._sync.checkpoint_error is not None:
            self.checkpoint_due = True

    def checkpoint(self, state: LogState) -> None:
        """Saves `state`, which must be that of the log at `last_seq`, once its records are synced.

        It is encoded now and written by the helper thread. A core may be ahead of its journal
        within a turn, while several groups wait to be appended; then nothing is saved, and it stays
        due. Raises LocalError for a state that is behind.
        """
        if state.last_seq > self.last_seq:
            return
        if state.last_seq < self.last_seq or not self.last_seq:
            raise LocalError(
                f"a checkpoint of seq {state.last_seq} for a journal that ends at {self.last_seq}"
            )
        data = encode_checkpoint(self._active.first_seq, self._last_offset, state.dump())
        self._sync.request(self.last_seq, self._fd)
        self._sync.save_checkpoint(data, KeptCheckpoint(self.last_seq, self._active.first_seq))
        self._asked_seq = self.last_seq
        self.checkpoint_due = False

    def close(self) -> None:
        """Syncs, ends the helper thread and closes all files. Raises LocalError if the disk failed
        and that was not told before."""
        told = self._failure or self._sync.failure
        if not told:
            self.request_sync()
        self._sync.close()
        self._lookup.close()
        os.close(self._fd)
        if self._sync.failure and not told:
            raise LocalError(self._sync.failure)

    # Reading ---------------------------------------------------------------------------------

    def read(self, from_seq: int, max_bytes: int, up_to_seq: int) -> bytes:
        """Whole records in log order: the first covers `from_seq`, none ends beyond `up_to_seq`.

        About `max_bytes` at most, but at least one record if there is one; a chunk also ends where
        a segment ends. Empty if there is nothing (yet). What is not synced is read too.
        Raises RemoteError(NOT_RETAINED) for a seq before `first_seq`.
        """
        if from_seq < self.first_seq:
            raise RemoteError(
                Reason.NOT_RETAINED,
                f"seq {from_seq} is not retained any more; the log begins at {self.first_seq}",
            )
        if from_seq > min(up_to_seq, self.last_seq):
            return b""
        return self._lookup.read(from_seq, max_bytes, min(up_to_seq, self.last_seq))

    def hash_at(self, seq: int) -> int | None:
        """The hash of the record that ends at `seq`; 0 for seq 0; None if no known one does."""
        if seq == 0:
            return 0
        if seq == self.last_seq:
            return self._last_hash if self._last_record is None else _hash_of(self._last_record)
        if not self.first_seq - 1 <= seq < self.last_seq:
            return None
        return self._lookup.hash_at(seq)

    # Retention -------------------------------------------------------------------------------

    def prune(self, retain_bytes: int, below_seq: int) -> int:
        """Deletes the oldest sealed segments that nobody needs; how many.

        `retain_bytes` 0 keeps everything; otherwise what is left holds at least so many bytes. Only
        segments that end below `below_seq` go, and none that one of the two newest checkpoints
        needs: both, since the newest may turn out to be unreadable.
        """
        kept = self._sync.checkpoints
        if not retain_bytes or not kept:
            return 0
        needed = min(one.segment for one in kept)
        segments = self._lookup.segments
        left = self._offset + sum(one.size for one in segments[:-1])
        gone: list[Segment] = []
        for segment, following in pairwise(segments):
            left -= segment.size
            ends = following.first_seq - 1
            if left < retain_bytes or ends >= below_seq or following.first_seq > needed:
                break
            gone.append(segment)
        self._lookup.pruned(len(gone))
        self._sync.delete([p for one in gone for p in (one.path, index_path(one.path))])
        return len(gone)
