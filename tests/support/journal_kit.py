"""What the journal's tests share: logs to write, and disks that do not behave."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from threading import Event

import msgspec

from interlock.shared.epochs import EpochOpened, Mode
from interlock.shared.journal import Disk, Journal
from interlock.shared.log import LogState
from interlock.shared.wire import Kind, encode_messages, encode_record, pack_name, parse_record

SMALL = 1_000  # bytes of a segment: a handful of records


class LogMaker:
    """Writes a valid log record by record; `state` is what it amounts to."""

    def __init__(self, state: LogState | None = None) -> None:
        """Goes on from `state`, of which it keeps no records; or begins a log with epoch 1."""
        self.state = state or LogState()
        self.leader = "a"
        self.records: list[bytes] = []
        self.last_seqs: list[int] = []
        if not self.last_seq:
            self.open_epoch(1)

    @property
    def last_seq(self) -> int:
        return self.state.last_seq

    def open_epoch(self, number: int) -> bytes:
        seq = self.last_seq + 1
        opened = EpochOpened(number, self.leader, Mode.GATED, seq, "", "test")
        payload = msgspec.msgpack.encode(opened)
        return self._add(Kind.EPOCH_OPENED, number, self.leader, 0, 1, payload)

    def data(self, producer: str, messages: Sequence[bytes]) -> bytes:
        entry = self.state.producers.get(producer)
        number = entry.last_producer_seq + 1 if entry else 1
        payload = encode_messages(messages)
        return self._add(
            Kind.DATA, self.state.chain.epoch, producer, number, len(messages), payload
        )

    def tick(self) -> bytes:
        return self._add(Kind.TICK, self.state.chain.epoch, self.leader, 0, 1, b"\x80")

    def _add(
        self, kind: Kind, epoch: int, producer: str, number: int, count: int, payload: bytes
    ) -> bytes:
        chain = self.state.chain
        record, _ = encode_record(
            kind,
            epoch,
            chain.last_seq + 1,
            chain.time_ns + 1,
            pack_name(producer),
            number,
            count,
            payload,
            chain.hash,
        )
        self.state.apply(parse_record(memoryview(record), 0))
        self.records.append(record)
        self.last_seqs.append(self.last_seq)
        return record


def make_log(sizes: Iterable[int], producers: str = "pq") -> LogMaker:
    """A log whose data records have one message of each of these sizes; size 0 is a tick."""
    maker = LogMaker()
    for index, size in enumerate(sizes):
        if size == 0:
            maker.tick()
        else:
            maker.data(producers[index % len(producers)], [bytes([65 + index % 26]) * size])
    return maker


def state_at(maker: LogMaker, records: int) -> LogState:
    """The state of the log after its first `records` records."""
    state = LogState()
    for record in maker.records[:records]:
        state.apply(parse_record(memoryview(record), 0))
    return state


def fill(journal: Journal, maker: LogMaker, start: int = 0, stop: int | None = None) -> None:
    """Appends records one by one, and checkpoints whenever one is due, as a node does."""
    state = state_at(maker, start)
    stop = len(maker.records) if stop is None else stop
    for record, last_seq in zip(
        maker.records[start:stop], maker.last_seqs[start:stop], strict=True
    ):
        journal.append([record], last_seq)
        state.apply(parse_record(memoryview(record), 0))
        if journal.checkpoint_due:
            journal.checkpoint(state)


def five_segments() -> LogMaker:
    """Records at seqs 1 to 15; with SMALL segments, those begin at 1, 4, 7, 10 and 13."""
    return make_log([230] * 14)


def stored(
    directory: Path, maker: LogMaker, segment_bytes: int = SMALL, *, checkpoints: bool = True
) -> Path:
    """A new directory with the journal of a stopped node that holds `maker`'s log."""
    directory.mkdir()
    one = Journal.open(directory, segment_bytes, FastDisk())
    if checkpoints:
        fill(one, maker)
    else:
        one.append(maker.records, maker.last_seq)
    one.close()
    return directory


def pruned(directory: Path) -> Path:
    """The directory of `five_segments`, without the first two."""
    stored(directory, five_segments())
    for seq in (1, 4):
        for suffix in ("log", "idx"):
            (directory / f"{seq:020d}.{suffix}").unlink()
    return directory


def change(path: Path, offset: int, data: bytes) -> None:
    """Overwrites a part of a file."""
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)


def segment_bytes_of(directory: Path) -> dict[str, bytes]:
    """The segment files of a directory: name to contents."""
    return {path.name: path.read_bytes() for path in sorted(directory.glob("*.log"))}


def directory_bytes(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(directory.iterdir())}


def write_directory(directory: Path, files: dict[str, bytes]) -> Path:
    directory.mkdir()
    for name, data in files.items():
        (directory / name).write_bytes(data)
    return directory


class FastDisk(Disk):
    """Does not wait for the disk: for tests in which nothing is cut off from power."""

    def allocate(self, path: Path, size: int) -> int:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
        os.posix_fallocate(fd, 0, size)
        return fd

    def sync_data(self, fd: int) -> None:
        pass

    def sync_directory(self, fd: int) -> None:
        pass

    def write_file(self, path: Path, data: bytes) -> None:
        path.write_bytes(data)


class ScarceDisk(FastDisk):
    """Has space for `space` more segments."""

    def __init__(self, space: int) -> None:
        self.space = space

    def allocate(self, path: Path, size: int) -> int:
        if self.space <= 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        self.space -= 1
        return super().allocate(path, size)


def settle(journal: Journal) -> None:
    """Waits until the helper has made the next segment or found no space for it."""
    helper = journal._sync
    with helper._changed:
        helper._changed.wait_for(lambda: not helper._preparing)


def idle(journal: Journal) -> None:
    """Waits until the helper has done all that it was asked for."""
    helper = journal._sync
    for _ in range(2):  # between two jobs, each other kind of work had its turn
        done = Event()
        helper._submit(done.set)
        while not done.wait(0.05):
            if helper.failure:
                return


class PowerDisk(Disk):
    """Knows what a power cut would leave, and calls `before_step` before each step.

    `names` and `data` are what is durable: which names the directory has, for which files, and
    their contents. A file's data becomes durable by its fsync, a name by that of the directory.
    """

    def __init__(self, directory: Path, before_step: Callable[[str], None]) -> None:
        self.directory = directory
        self.before_step = before_step
        self.names: dict[str, int] = {}
        self.data: dict[int, bytes] = {}

    def allocate(self, path: Path, size: int) -> int:
        self.before_step("allocate")
        fd = super().allocate(path, size)
        self._data_is_durable(fd)
        return fd

    def sync_data(self, fd: int) -> None:
        self.before_step("sync data")
        self._data_is_durable(fd)

    def _data_is_durable(self, fd: int) -> None:
        status = os.fstat(fd)
        self.data[status.st_ino] = os.pread(fd, status.st_size, 0)

    def sync_directory(self, fd: int) -> None:
        self.before_step("sync directory")
        self.names = {path.name: path.stat().st_ino for path in self.directory.iterdir()}

    def write_file(self, path: Path, data: bytes) -> None:
        self.before_step("write file")
        path.write_bytes(data)
        self.data[path.stat().st_ino] = data

    def rename(self, old: Path, new: Path) -> None:
        self.before_step("rename")
        super().rename(old, new)

    def unlink(self, path: Path) -> None:
        self.before_step("unlink")
        super().unlink(path)

    def images(self) -> dict[str, dict[str, bytes]]:
        """What the directory may hold after a death at this moment: name to contents.

        Killed: all that was written. Power cut: of names and data each, all or what is durable.
        """
        now = {path.name: path.stat().st_ino for path in self.directory.iterdir()}
        written = {path.stat().st_ino: path.read_bytes() for path in self.directory.iterdir()}
        return {
            "killed": _image(now, written, written),
            "nothing more": _image(self.names, self.data, {}),
            "names only": _image(now, self.data, {}),
            "data only": _image(self.names, self.data, written),
        }


def _image(
    names: dict[str, int], data: dict[int, bytes], newer: dict[int, bytes]
) -> dict[str, bytes]:
    return {name: newer.get(inode, data.get(inode, b"")) for name, inode in names.items()}
