"""The helper thread: everything slow or blocking that the journal does to the disk.

Decides the order of it, which is what crash safety rests on. Does not decide when any of it is due
(`writer` does). There are three kinds of work: rounds of fdatasync, for which acknowledgements
wait; the next segment, for which intake may wait; and jobs (checkpoints, indexes, deletions) in
the order in which they were asked for. Whichever kind was served longest ago goes first. (Were
rounds always first: under load there is always one, so no checkpoint is ever written, nothing is
pruned, and what waits to be written fills the memory.)

- A round covers what was appended before it was asked for: first the data of the segments, then,
  if a segment was taken into use, the directory, and only then `synced_seq` moves. (Were the
  directory left out: segment 2 is synced, seq 500 is acknowledged as synced, the power fails, and
  segment 2 is still called next.tmp, which recovery throws away.)
- A checkpoint is written once a round has covered its seq. (Were it visible before: the power
  fails, the checkpoint says seq 500, the records end at 480, and the node believes it.)
- A failed sync is final. The kernel may have dropped the pages and called them clean; a second
  fdatasync would succeed without writing anything (PostgreSQL's fsyncgate, 2018).
- No space for the next segment or for a checkpoint is not final: it is told, and tried again when
  asked.
"""

from __future__ import annotations

import errno
import os
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from threading import Condition, Thread

import msgspec

from ..errors import DiskFull, LocalError
from .checkpoint import CHECKPOINT_TEMPORARY, KEPT_CHECKPOINTS, checkpoint_path, list_checkpoints
from .disk import Disk
from .segment import NEXT_SEGMENT, open_file

INDEX_TEMPORARY = "index.tmp"
NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class PreparedSegment(msgspec.Struct, frozen=True):
    """A segment file of `size` zero bytes under its temporary name, open for writing."""

    fd: int
    size: int


class KeptCheckpoint(msgspec.Struct, frozen=True):
    """A durable checkpoint: the seq that it covers, and the segment that it needs."""

    seq: int
    segment: int


def _do(jobs: list[Callable[[], None]]) -> None:
    for job in jobs:
        job()


class SyncThread:
    """Owned by one journal; its methods are for the journal's thread."""

    def __init__(
        self,
        directory: Path,
        segment_bytes: int,
        disk: Disk,
        synced_seq: int,
        checkpoints: list[KeptCheckpoint],
    ) -> None:
        self.wakeup_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self.synced_seq = synced_seq
        self.checkpoints = checkpoints  # durable ones, newest first; replaced, never changed
        self.failure: str | None = None
        self.prepared: PreparedSegment | None = None
        self.prepare_error: OSError | None = None
        self.checkpoint_error: OSError | None = None
        self._directory = directory
        # Kept open: with no descriptor left, a sync must still be possible, or the node stops.
        self._directory_fd = open_file(directory, os.O_DIRECTORY)
        self._segment_bytes = segment_bytes
        self._disk = disk
        self._changed = Condition()
        self._round: tuple[int, int] | None = None  # seq to reach, descriptor of its segment
        self._sealed: list[int] = []
        self._directory_dirty = False
        self._preparing = False
        self._jobs: deque[tuple[int, Callable[[], None]]] = deque()  # the seq to be synced first
        self._kinds = [self._next_round, self._next_segment, self._next_jobs]
        self._closing = False
        self._thread = Thread(target=self._run, name="journal-sync", daemon=True)
        self._thread.start()

    def request(self, seq: int, active: int) -> None:
        """Asks for a round that covers all up to `seq`, the last of which is in file `active`."""
        with self._changed:
            self._round = seq, active
            self._changed.notify_all()

    def sealed(self, fd: int) -> None:
        """A segment was sealed, and another one renamed into use: the next round covers both.

        The descriptor is closed once it is synced.
        """
        with self._changed:
            self._sealed.append(fd)
            self._directory_dirty = True

    def wait_synced(self, seq: int) -> None:
        """Returns when `synced_seq` has reached `seq` or the helper has failed."""
        with self._changed:
            self._changed.wait_for(lambda: self.synced_seq >= seq or self.failure is not None)

    def prepare(self) -> None:
        """Asks for the next segment, unless there is one or one is being made."""
        with self._changed:
            if self.prepared is None and not self._preparing:
                self._preparing = True
                self._changed.notify_all()

    def take_prepared(self) -> PreparedSegment:
        """The next segment, waited for if it is being made; the caller renames it at once.

        Raises DiskFull if there was no space for it, LocalError if it failed for another reason.
        """
        with self._changed:
            self._changed.wait_for(lambda: not self._preparing or self.failure is not None)
            prepared, self.prepared = self.prepared, None
            if prepared is not None:
                return prepared
            error = self.prepare_error
        if error is None:
            raise LocalError(self.failure or "no next segment was asked for")
        text = f"cannot make the next segment of {self._segment_bytes} bytes in {self._directory}"
        raise (DiskFull if error.errno in NO_SPACE else LocalError)(f"{text}: {error.strerror}")

    def save_checkpoint(self, data: bytes, kept: KeptCheckpoint) -> None:
        """Writes a checkpoint once its seq is synced; the caller has asked for that."""
        self._submit(lambda: self._write_checkpoint(data, kept), kept.seq)

    def save_index(self, path: Path, data: bytes) -> None:
        self._submit(lambda: self._write_index(path, data))

    def delete(self, paths: list[Path]) -> None:
        """Deletes files in this order, each durably before the next.

        In order, so that no crash leaves a hole: what remains is always one stretch of the log.
        """
        self._submit(lambda: self._delete(paths))

    def close(self) -> None:
        """Does what was asked for so far, ends the thread and closes the descriptors it owns."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join()
        for fd in self._sealed:
            os.close(fd)
        if self.prepared is not None:
            os.close(self.prepared.fd)
            self._disk.unlink(self._directory / NEXT_SEGMENT)
        os.close(self._directory_fd)
        os.close(self.wakeup_fd)

    def _submit(self, job: Callable[[], None], after_seq: int = 0) -> None:
        with self._changed:
            self._jobs.append((after_seq, job))
            self._changed.notify_all()

    # What runs in the thread -----------------------------------------------------------------

    def _run(self) -> None:
        try:
            while (work := self._next_work()) is not None:
                work()
        except OSError as error:
            what = error.filename or self._directory
            self._fail(f"the disk failed under the journal ({what}): {error.strerror}")
        except BaseException as error:
            self._fail(f"the journal's helper thread failed: {error!r}")
            raise

    def _next_work(self) -> Callable[[], None] | None:
        with self._changed:
            while True:
                for kind in self._kinds:
                    work = kind()
                    if work is not None:
                        self._kinds.remove(kind)
                        self._kinds.append(kind)
                        return work
                if self._closing:
                    return None
                self._changed.wait()

    def _next_round(self) -> Callable[[], None] | None:
        if self._round is None:
            return None
        seq, active = self._round
        sealed, directory = self._sealed, self._directory_dirty
        self._round, self._sealed, self._directory_dirty = None, [], False
        return lambda: self._sync(seq, active, sealed, directory)

    def _next_segment(self) -> Callable[[], None] | None:
        return self._prepare if self._preparing else None

    def _next_jobs(self) -> Callable[[], None] | None:
        """All that may be done now: a roll asks for several, so one at a time could fall behind."""
        ready: list[Callable[[], None]] = []
        while self._jobs and self._jobs[0][0] <= self.synced_seq:
            ready.append(self._jobs.popleft()[1])
        return partial(_do, ready) if ready else None

    def _sync(self, seq: int, active: int, sealed: list[int], directory: bool) -> None:
        try:
            for fd in sealed:
                self._disk.sync_data(fd)
            # One of the sealed, if a segment was sealed after this round was asked for.
            if active not in sealed:
                self._disk.sync_data(active)
            if directory:
                self._disk.sync_directory(self._directory_fd)
        finally:
            for fd in sealed:
                os.close(fd)
        with self._changed:
            self.synced_seq = seq
            self._changed.notify_all()
        self._wake()

    def _prepare(self) -> None:
        prepared = None
        error = None
        try:
            fd = self._disk.allocate(self._directory / NEXT_SEGMENT, self._segment_bytes)
            prepared = PreparedSegment(fd, self._segment_bytes)
        except OSError as caught:
            error = caught
        with self._changed:
            self.prepared, self.prepare_error = prepared, error
            self._preparing = False
            self._changed.notify_all()
        self._wake()

    def _write_checkpoint(self, data: bytes, kept: KeptCheckpoint) -> None:
        path = checkpoint_path(self._directory, kept.seq)
        temporary = self._directory / CHECKPOINT_TEMPORARY
        try:
            self._disk.write_file(temporary, data)
        except OSError as error:
            # A full disk must not stop the node here: the older checkpoint still serves.
            self.checkpoint_error = error
            self._disk.unlink(temporary)
            return
        self._disk.rename(temporary, path)
        self._disk.sync_directory(self._directory_fd)
        self.checkpoint_error = None
        self.checkpoints = [kept, *self.checkpoints][:KEPT_CHECKPOINTS]
        names = {checkpoint_path(self._directory, one.seq) for one in self.checkpoints}
        with suppress(OSError):  # older ones only take space
            for other in list_checkpoints(self._directory):
                if other not in names:
                    self._disk.unlink(other)

    def _write_index(self, path: Path, data: bytes) -> None:
        temporary = self._directory / INDEX_TEMPORARY
        try:
            temporary.write_bytes(data)
            self._disk.rename(temporary, path)
        except OSError:
            temporary.unlink(missing_ok=True)  # no loss: readers rebuild it from the segment

    def _delete(self, paths: list[Path]) -> None:
        for path in paths:
            self._disk.unlink(path)
            self._disk.sync_directory(self._directory_fd)

    def _fail(self, text: str) -> None:
        with self._changed:
            self.failure = text
            self._changed.notify_all()
        self._wake()

    def _wake(self) -> None:
        os.eventfd_write(self.wakeup_fd, 1)
