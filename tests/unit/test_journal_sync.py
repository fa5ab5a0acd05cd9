"""The helper thread: what is durable when, what a death at any step leaves, what a failure does."""

from __future__ import annotations

import errno
import os
import resource
import select
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event

import pytest

from interlock.shared.errors import DiskFull, LocalError
from interlock.shared.journal import Journal
from support.journal_kit import (
    SMALL,
    FastDisk,
    ScarceDisk,
    fill,
    idle,
    make_log,
    settle,
    state_at,
)

PATIENCE_S = 20.0  # how long a test waits for the helper before it fails


class Recorder(FastDisk):
    """Notes every step in order; can hold back, or fail, the syncs of data."""

    def __init__(self) -> None:
        self.steps: list[str] = []
        self.go = Event()
        self.go.set()
        self.syncing = Event()
        self.fail_data = self.fail_directory = self.fail_write = False
        self.after_sync: Callable[[], None] = lambda: None
        self.before_write: Callable[[], None] = lambda: None

    def allocate(self, path: Path, size: int) -> int:
        self.steps.append("allocate")
        return super().allocate(path, size)

    def sync_data(self, fd: int) -> None:
        self.steps.append("sync data")
        self.syncing.set()
        assert self.go.wait(PATIENCE_S)
        if self.fail_data:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        self.after_sync()

    def sync_directory(self, fd: int) -> None:
        self.steps.append("sync directory")
        if self.fail_directory:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    def write_file(self, path: Path, data: bytes) -> None:
        self.steps.append(f"write {path.name}")
        self.before_write()
        super().write_file(path, data[: 10 if self.fail_write else None])
        if self.fail_write:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def rename(self, old: Path, new: Path) -> None:
        self.steps.append(f"rename {old.name}")
        super().rename(old, new)


@contextmanager
def recorded(directory: Path, segment_bytes: int = 100_000) -> Iterator[tuple[Journal, Recorder]]:
    disk = Recorder()
    one = Journal.open(directory, segment_bytes, disk)
    idle(one)
    one.poll()
    disk.steps.clear()
    disk.syncing.clear()
    try:
        yield one, disk
    finally:
        disk.go.set()
        one.close()


def wait_readable(one: Journal) -> None:
    assert select.select([one.wakeup_fd], [], [], PATIENCE_S)[0]


# Rounds ---------------------------------------------------------------------------------------


def test_a_sync_is_told_through_the_wakeup_descriptor(tmp_path: Path) -> None:
    maker = make_log([10, 10])
    with recorded(tmp_path) as (one, _):
        one.append(maker.records, maker.last_seq)
        assert select.select([one.wakeup_fd], [], [], 0)[0] == []
        assert one.poll() == 0
        one.request_sync()
        wait_readable(one)
        assert one.poll() == one.synced_seq == maker.last_seq
        assert select.select([one.wakeup_fd], [], [], 0)[0] == []


def test_requests_made_during_a_round_are_served_by_one_more(tmp_path: Path) -> None:
    maker = make_log([10] * 20)
    with recorded(tmp_path) as (one, disk):
        disk.go.clear()
        fill(one, maker, 0, 1)
        one.request_sync()
        assert disk.syncing.wait(PATIENCE_S)
        for at in range(1, len(maker.records)):
            fill(one, maker, at, at + 1)
            one.request_sync()
        assert one.synced_seq == 0  # not before the disk has said so
        disk.go.set()
        one.sync()
        assert one.synced_seq == maker.last_seq
        assert disk.steps == ["sync data", "sync data"]


def test_a_round_covers_what_was_appended_when_it_was_asked_for(tmp_path: Path) -> None:
    maker = make_log([10] * 4)
    with recorded(tmp_path) as (one, disk):
        disk.go.clear()
        fill(one, maker, 0, 2)
        one.request_sync()
        assert disk.syncing.wait(PATIENCE_S)
        fill(one, maker, 2)
        disk.go.set()
        idle(one)
        assert one.poll() == maker.last_seqs[1]


def test_nothing_new_asks_for_nothing(tmp_path: Path) -> None:
    maker = make_log([10])
    with recorded(tmp_path) as (one, disk):
        one.request_sync()
        one.sync()
        one.append(maker.records, maker.last_seq)
        one.sync()
        one.request_sync()
        one.sync()
        idle(one)
        assert disk.steps == ["sync data"]


def test_a_roll_syncs_both_segments_and_the_directory_before_it_counts(tmp_path: Path) -> None:
    """History: segment 2 is synced, not its name; power fails; next.tmp is thrown away."""
    maker = make_log([230] * 4)
    with recorded(tmp_path, SMALL) as (one, disk):
        fill(one, maker, 0, 3)
        one.sync()
        disk.steps.clear()
        disk.go.clear()
        one.append(maker.records[3:], maker.last_seq)
        one.request_sync()
        assert disk.syncing.wait(PATIENCE_S)
        assert one.synced_seq < maker.last_seq
        disk.go.set()
        one.sync()
        before = disk.steps.index("sync directory")
        assert disk.steps[0] == "rename next.tmp"
        assert disk.steps[1:before].count("sync data") >= 2


def test_the_next_segment_is_asked_for_as_soon_as_one_is_taken(tmp_path: Path) -> None:
    maker = make_log([230] * 4)
    with recorded(tmp_path, SMALL) as (one, disk):
        assert one.room_bytes == SMALL
        one.append(maker.records, maker.last_seq)
        wait_readable(one)
        idle(one)
        assert "allocate" in disk.steps
        assert one.room_bytes == SMALL


# Checkpoints ----------------------------------------------------------------------------------


def test_a_checkpoint_is_visible_only_after_its_records_are_synced(tmp_path: Path) -> None:
    maker = make_log([230] * 4)
    with recorded(tmp_path, SMALL) as (one, disk):
        synced: list[int] = []
        disk.before_write = lambda: synced.append(one.synced_seq)
        disk.go.clear()
        one.append(maker.records[:4], maker.last_seqs[3])
        assert disk.syncing.wait(PATIENCE_S)  # in the round that the roll asked for
        fill(one, maker, 4)
        assert not one.checkpoint_due
        disk.go.set()
        idle(one)
        assert synced == [maker.last_seq]
        steps = [step for step in disk.steps if step != "allocate"]
        write = steps.index("write checkpoint.tmp")
        assert "sync data" in steps[:write]
        assert "sync directory" in steps[:write]
        assert steps[write:] == ["write checkpoint.tmp", "rename checkpoint.tmp", "sync directory"]


def test_a_checkpoint_asks_for_its_own_sync(tmp_path: Path) -> None:
    """The round that the roll asked for was done long before the last records were appended."""
    maker = make_log([230] * 5)
    with recorded(tmp_path, SMALL) as (one, disk):
        one.append(maker.records[:4], maker.last_seqs[3])
        idle(one)
        disk.steps.clear()
        one.append(maker.records[4:], maker.last_seq)
        one.checkpoint(maker.state)
        idle(one)
        assert disk.steps[:2] == ["sync data", "write checkpoint.tmp"]


def test_a_checkpoint_is_written_though_a_sync_always_waits(tmp_path: Path) -> None:
    """History: rounds went first; under load one was always due, and no checkpoint ever was."""
    maker = make_log([230] * 4)
    with recorded(tmp_path, SMALL) as (one, disk):
        left = 50

        def ask_again() -> None:
            nonlocal left
            left -= 1
            if left > 0:
                one._sync.request(one.last_seq, one._fd)

        disk.after_sync = ask_again
        disk.go.clear()  # the first round waits until the checkpoint is asked for
        one.append(maker.records, maker.last_seq)
        assert disk.syncing.wait(PATIENCE_S)
        one.checkpoint(maker.state)
        disk.go.set()
        idle(one)
        written = disk.steps.index("write checkpoint.tmp")
        assert disk.steps[:written].count("sync data") < 10


def test_a_failed_sync_leaves_no_checkpoint(tmp_path: Path) -> None:
    maker = make_log([230] * 4)
    with recorded(tmp_path, SMALL) as (one, disk):
        disk.fail_data = True
        one.append(maker.records, maker.last_seq)
        one.checkpoint(maker.state)
        with pytest.raises(LocalError):
            one.sync()
        assert not list(tmp_path.glob("*.ckpt"))


def test_a_checkpoint_waits_for_the_rest_of_the_turn(tmp_path: Path) -> None:
    """The core is ahead of its journal while groups of one turn are still to be appended."""
    maker = make_log([230] * 6)
    with recorded(tmp_path, SMALL) as (one, _):
        fill(one, maker, 0, 3)
        assert not one.checkpoint_due
        one.append(maker.records[3:5], maker.last_seqs[4])
        assert one.checkpoint_due
        one.checkpoint(maker.state)
        assert one.checkpoint_due
        one.append(maker.records[5:], maker.last_seq)
        one.checkpoint(maker.state)
        assert not one.checkpoint_due
        with pytest.raises(LocalError, match="a checkpoint of seq 3 for a journal that ends at 7"):
            one.checkpoint(state_at(maker, 3))
    assert [path.name for path in tmp_path.glob("*.ckpt")] == [f"{7:020d}.ckpt"]


def test_a_checkpoint_that_finds_no_space_is_owed_and_stops_nobody(tmp_path: Path) -> None:
    maker = make_log([230] * 5)
    with recorded(tmp_path, SMALL) as (one, disk):
        disk.fail_write = True
        fill(one, maker, 0, 4)
        idle(one)
        assert one.poll() <= one.last_seq
        assert not one.checkpoint_due
        assert not (tmp_path / "checkpoint.tmp").exists()
        one.prepare()
        assert one.checkpoint_due
        disk.fail_write = False
        fill(one, maker, 4)
        idle(one)
        one.prepare()
        assert not one.checkpoint_due
    assert [path.name for path in tmp_path.glob("*.ckpt")] == [f"{5:020d}.ckpt"]


# Failures -------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["fail_data", "fail_directory"])
def test_a_failed_sync_is_final(tmp_path: Path, what: str) -> None:
    """fsyncgate: the second fdatasync would succeed, and the page would still be lost."""
    maker = make_log([230] * 6)
    with recorded(tmp_path, SMALL) as (one, disk):
        setattr(disk, what, True)
        fill(one, maker, 0, 3)
        one.append(maker.records[3:5], maker.last_seqs[4])  # rolls, so the directory is synced too
        one.request_sync()
        with pytest.raises(LocalError, match="Input/output error"):
            one.sync()
        wait_readable(one)
        setattr(disk, what, False)
        steps = len(disk.steps)
        for _ in range(2):
            with pytest.raises(LocalError, match="Input/output error"):
                one.poll()
            with pytest.raises(LocalError, match="Input/output error"):
                one.append(maker.records[5:], maker.last_seq)
            with pytest.raises(LocalError, match="Input/output error"):
                one.sync()
        assert one.synced_seq < maker.last_seqs[4]
        assert disk.steps[steps:] == []


def test_a_failure_that_only_close_meets_is_told_by_it(tmp_path: Path) -> None:
    maker = make_log([10])
    disk = Recorder()
    one = Journal.open(tmp_path, SMALL, disk)
    one.append(maker.records, maker.last_seq)
    disk.fail_data = True
    with pytest.raises(LocalError, match="Input/output error"):
        one.close()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_bug_in_the_helper_stops_the_node(tmp_path: Path) -> None:
    maker = make_log([10])
    with recorded(tmp_path) as (one, _):
        one._sync._submit(lambda: print(1 // 0))
        wait_readable(one)
        with pytest.raises(LocalError, match="ZeroDivisionError"):
            one.poll()
        with pytest.raises(LocalError, match="ZeroDivisionError"):
            one.append(maker.records, maker.last_seq)


def test_a_failed_write_is_final(tmp_path: Path) -> None:
    """A file size limit stands in for a disk that fails under a preallocated segment."""
    maker = make_log([10, 500, 10])
    with recorded(tmp_path) as (one, _):
        fill(one, maker, 0, 2)
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (300, hard))
        try:
            with pytest.raises(LocalError, match=r"cannot write \d+ bytes to .*001.log.*errno 27"):
                fill(one, maker, 2, 3)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        with pytest.raises(LocalError, match="cannot write"):
            one.append(maker.records[2:3], maker.last_seqs[2])
    # The first 300 bytes went through: a torn tail, which the next start cuts.
    one = Journal.open(tmp_path, SMALL, FastDisk())
    assert one.last_seq == 2
    assert one.torn is not None
    one.close()


# A full disk ----------------------------------------------------------------------------------


def test_no_space_for_the_next_segment_is_met_before_a_seq_is_given(tmp_path: Path) -> None:
    maker = make_log([230] * 6)
    disk = ScarceDisk(2)
    one = Journal.open(tmp_path, SMALL, disk)
    fill(one, maker, 0, 5)  # both segments in use
    settle(one)
    room = one.room_bytes
    assert room < SMALL
    assert len(maker.records[5]) < room
    fill(one, maker, 5, 6)
    room = one.room_bytes
    with pytest.raises(DiskFull, match="No space left on device"):
        one.append(maker.records[6:], maker.last_seq)
    assert one.room_bytes == room
    assert one.last_seq == 6
    disk.space = 1
    one.prepare()
    wait_readable(one)
    settle(one)
    assert one.room_bytes == SMALL
    one.append(maker.records[6:], maker.last_seq)
    one.close()


def test_a_full_disk_in_the_middle_of_a_huge_group_is_final(tmp_path: Path) -> None:
    """Some of it is written: appending it once more would write it twice."""
    maker = make_log([230] * 12)
    disk = ScarceDisk(3)
    one = Journal.open(tmp_path, SMALL, disk)
    with pytest.raises(LocalError, match="No space left on device"):
        one.append(maker.records, maker.last_seq)
    disk.space = 10
    one.prepare()
    settle(one)
    with pytest.raises(LocalError, match="No space left on device"):
        one.append(maker.records, maker.last_seq)
    one.close()
    again = Journal.open(tmp_path, SMALL, FastDisk())
    assert again.state.dump() == state_at(maker, again.last_seq).dump()
    assert again.last_seq == 6
    again.close()


def test_a_sync_needs_no_descriptor(tmp_path: Path) -> None:
    """History: a flood of connections takes the last one, and the next sync stops the node."""
    maker = make_log([230] * 8)
    one = Journal.open(tmp_path, SMALL)
    settle(one)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        one.append(maker.records[:4], maker.last_seqs[3])
        one.checkpoint(state_at(maker, 4))
        one.sync()
        idle(one)
        assert one.room_bytes < SMALL
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert one.poll() == 4
    one.prepare()
    settle(one)
    assert one.checkpoint_due
    fill(one, maker, 4)
    one.close()
    assert len(list(tmp_path.glob("*.ckpt"))) == 2


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own with room for two segments of 64 KiB and little more."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a file system")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=160k", "tmpfs", str(tmp_path)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip(f"cannot mount a tmpfs here: {mounted.stderr.decode().strip()}")
    yield tmp_path
    subprocess.run(["umount", "-l", str(tmp_path)], check=True)


def test_a_really_full_disk(full_disk: Path) -> None:
    """The real system calls: refused at preallocation, nothing half-made left, resumed later."""
    maker = make_log([30_000] * 6)
    one = Journal.open(full_disk, 65_536)
    settle(one)
    assert one.room_bytes == 65_536
    one.append(maker.records[:3], maker.last_seqs[2])
    one.append(maker.records[3:5], maker.last_seqs[4])
    settle(one)
    assert one.segments == 2
    assert one.room_bytes < len(maker.records[5])
    assert not (full_disk / "next.tmp").exists()
    with pytest.raises(DiskFull, match="cannot make the next segment of 65536 bytes"):
        one.append(maker.records[5:6], maker.last_seqs[5])
    one.prepare()
    settle(one)
    assert one.room_bytes < 65_536
    subprocess.run(["mount", "-o", "remount,size=1m", str(full_disk)], check=True)
    one.prepare()
    settle(one)
    one.append(maker.records[5:], maker.last_seq)
    one.close()
    again = Journal.open(full_disk, 65_536)
    assert again.state.dump() == maker.state.dump()
    again.close()
