"""Opening what a dead node left: the cases with a name, and what checkpoints are good for."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from interlock.shared.errors import DiskFull, JournalDamage, LocalError
from interlock.shared.journal import Journal
from interlock.shared.journal.recovery import recover
from interlock.shared.journal.segment import RecordWalk
from support.journal_kit import (
    SMALL,
    FastDisk,
    LogMaker,
    PowerDisk,
    ScarceDisk,
    fill,
    five_segments,
    make_log,
    segment_bytes_of,
    state_at,
    stored,
    write_directory,
)

# Named cases ----------------------------------------------------------------------------------


@pytest.fixture
def node(tmp_path: Path) -> Path:
    """The directory of a closed journal of five segments, with checkpoints."""
    return stored(tmp_path / "node", five_segments())


def test_a_record_of_another_history_is_damage(tmp_path: Path) -> None:
    """Valid by its own hash, but it does not follow: never cut, whoever wrote it."""
    ours, theirs = make_log([10, 20, 30]), make_log([10, 21, 30])
    data = b"".join([*ours.records[:3], theirs.records[3]])
    directory = write_directory(tmp_path / "n", {f"{1:020d}.log": data.ljust(SMALL, b"\0")})
    with pytest.raises(
        JournalDamage, match=r"does not continue the log .*another history"
    ) as caught:
        recover(directory, SMALL, FastDisk())
    assert caught.value.seq == 4
    assert caught.value.offset == sum(map(len, ours.records[:3]))


@pytest.mark.parametrize("missing", [7, 10, 13])
def test_a_missing_segment_is_named(node: Path, missing: int) -> None:
    (node / f"{missing:020d}.log").unlink()
    for checkpoint in node.glob("*.ckpt"):
        if missing < 13:
            checkpoint.unlink()
    with pytest.raises(JournalDamage, match=f"missing.*{missing:020d}.log") as caught:
        recover(node, SMALL, FastDisk())
    assert caught.value.seq == missing


def test_all_segments_missing_but_a_checkpoint_left(node: Path) -> None:
    for segment in node.glob("*.log"):
        segment.unlink()
    with pytest.raises(JournalDamage, match="the segment is missing"):
        recover(node, SMALL, FastDisk())
    assert not list(node.glob("*.log"))


def test_an_emptied_last_segment_gives_the_one_before_back(node: Path) -> None:
    """Killed between the rename and the first record: the next record decides anew where it goes.

    History: A is killed with 13.log renamed and empty. Restarted, it writes a tick, which still
    fits into 10.log; B, which never rolled, puts it there. Had A kept 13.log, its files would
    differ from B's for ever.
    """
    maker = five_segments()
    files = segment_bytes_of(node)
    files[f"{13:020d}.log"] = bytes(SMALL)
    directory = write_directory(node.parent / "killed", files)
    (directory / f"{10:020d}.idx").write_bytes((node / f"{10:020d}.idx").read_bytes())
    one = Journal.open(directory, SMALL, FastDisk())
    assert one.last_seq == 12
    assert one.segments == 4
    assert list(directory.glob("*.idx")) == []  # it says where segment 10 ended
    peer = LogMaker()
    for _ in range(11):
        peer.data("pq"[(peer.last_seq - 1) % 2], [bytes([65 + (peer.last_seq - 1) % 26]) * 230])
    assert peer.records == maker.records[:12]
    peer.tick()
    fill(one, peer, 12)
    one.close()
    assert f"{13:020d}.log" not in segment_bytes_of(directory)
    assert segment_bytes_of(directory)[f"{10:020d}.log"].rstrip(b"\0").endswith(peer.records[-1])


def test_the_torn_bytes_are_zeros_afterwards(tmp_path: Path) -> None:
    """Left in place, they could pass for a record once a shorter one overwrites their start."""
    maker = make_log([100, 200])
    torn = maker.records[-1][:-1]
    data = b"".join(maker.records[:-1]) + torn
    directory = write_directory(tmp_path / "n", {f"{1:020d}.log": data.ljust(SMALL, b"\0")})
    one = Journal.open(directory, SMALL, FastDisk())
    assert one.torn is not None
    assert (one.torn.offset, one.torn.bytes, one.torn.seq) == (len(data) - len(torn), len(torn), 3)
    assert "where seq 3 was expected" in str(one.torn)
    one.close()
    left = b"".join(maker.records[:-1])
    assert segment_bytes_of(directory) == {f"{1:020d}.log": left.ljust(SMALL, b"\0")}


def test_garbage_where_a_segment_was_to_begin_is_torn(tmp_path: Path) -> None:
    """The first write into a new segment died; after a power cut, even the wrong one is there."""
    whole = segment_bytes_of(stored(tmp_path / "whole", five_segments(), checkpoints=False))
    first, second = sorted(whole)[:2]
    for name in (second, f"{9:020d}.log"):
        directory = tmp_path / f"node {name}"
        half = whole[second][:80].ljust(SMALL, b"\0")
        write_directory(directory, {first: whole[first], name: half})
        recovered = recover(directory, SMALL, FastDisk())
        assert recovered.torn is not None
        assert (Path(recovered.torn.file).name, recovered.torn.offset) == (name, 0)
        assert recovered.torn.seq == 4
        assert segment_bytes_of(directory) == {first: whole[first]}


def test_a_log_of_more_than_one_window(tmp_path: Path) -> None:
    """Records that lie across the border of what one read of a walk takes."""
    maker = make_log([300_000] * 30)
    one = Journal.open(tmp_path, 16_000_000, FastDisk())
    one.append(maker.records[:-1], maker.last_seqs[-2])
    os.pwrite(one._fd, maker.records[-1][:-1], one._offset)
    walk = RecordWalk(one._fd, tmp_path, 0)
    assert [record.seq for record in walk] == list(range(1, maker.last_seq))
    assert (walk.offset, str(walk.problem)) == (
        sum(map(len, maker.records[:-1])),
        "the bytes of the record at seq 31 do not match its hash",
    )
    one.close()
    again = Journal.open(tmp_path, 16_000_000, FastDisk())
    assert again.state.dump() == state_at(maker, len(maker.records) - 1).dump()
    assert again.torn is not None
    assert again.torn.bytes == len(maker.records[-1]) - 1
    again.close()


def test_what_was_never_finished_is_removed(node: Path) -> None:
    names = {path.name for path in node.iterdir()}
    for name in ("next.tmp", "checkpoint.tmp", "index.tmp", f"{99:020d}.idx"):
        (node / name).write_bytes(b"half")
    recover(node, SMALL, FastDisk())
    assert {path.name for path in node.iterdir()} == names


def test_what_is_recovered_is_on_the_disk(tmp_path: Path) -> None:
    """History: killed with unsynced records; restarted, and at once without power.

    The node had told its peer that it holds them, synced.
    """
    maker = five_segments()
    directory = stored(tmp_path / "node", maker, checkpoints=False)
    written_files = segment_bytes_of(directory)
    disk = PowerDisk(directory, lambda step: None)
    for path in directory.iterdir():  # what the kill left in the page cache only
        disk.names[path.name] = path.stat().st_ino
        disk.data[path.stat().st_ino] = bytes(SMALL)
    del disk.names[max(disk.names)]
    one = Journal.open(directory, SMALL, disk)
    assert one.synced_seq == maker.last_seq
    cut = write_directory(tmp_path / "cut", disk.images()["nothing more"])
    one.close()
    assert segment_bytes_of(cut) == written_files


def test_a_hole_after_a_power_cut_is_told_as_damage(tmp_path: Path) -> None:
    """Pages may reach the disk in any order. It cannot be told from a disk that lost records."""
    maker = make_log([100, 100, 100, 100])
    data = bytearray(b"".join(maker.records).ljust(SMALL, b"\0"))
    start = sum(map(len, maker.records[:2]))
    data[start : start + len(maker.records[2])] = bytes(len(maker.records[2]))
    directory = write_directory(tmp_path / "n", {f"{1:020d}.log": bytes(data)})
    with pytest.raises(JournalDamage, match=f"offset {start}, where seq 3 was expected"):
        recover(directory, SMALL, FastDisk())
    assert segment_bytes_of(directory) == {f"{1:020d}.log": bytes(data)}


def test_no_space_for_the_first_segment_is_told(tmp_path: Path) -> None:
    with pytest.raises(DiskFull, match=r"cannot open the journal .*No space left on device"):
        Journal.open(tmp_path, SMALL, ScarceDisk(0))
    assert list(tmp_path.iterdir()) == []


# Checkpoints ----------------------------------------------------------------------------------


def test_a_restart_costs_a_checkpoint_and_one_segment(
    node: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counted in bytes of segments read, and proven by history that is not even readable."""
    for segment in sorted(node.glob("*.log"))[:-1]:
        segment.write_bytes(b"not looked at")
    read: list[int] = []
    pread = os.pread

    def counting(fd: int, size: int, offset: int) -> bytes:
        data = pread(fd, size, offset)
        read.append(len(data))
        return data

    monkeypatch.setattr(os, "pread", counting)
    recovered = recover(node, SMALL, FastDisk())
    assert recovered.state.dump() == five_segments().state.dump()
    # The checkpoint's record, the walk (twice over a block that was cut), the zeros behind it.
    assert sum(read) < 5 * SMALL


@pytest.mark.parametrize(
    "harm",
    [
        lambda path: path.unlink(),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes()[:-1]),
        lambda path: path.write_bytes(b"\0" + path.read_bytes()[1:]),
        lambda path: path.write_bytes(path.read_bytes() + b"\0"),
    ],
)
@pytest.mark.parametrize("lost", [1, 2])
def test_an_unreadable_checkpoint_is_replaced_by_an_older_one_or_the_history(
    node: Path, harm: Callable[[Path], object], lost: int
) -> None:
    for checkpoint in sorted(node.glob("*.ckpt"), reverse=True)[:lost]:
        harm(checkpoint)
    one = Journal.open(node, SMALL, FastDisk())
    assert one.state.dump() == five_segments().state.dump()
    assert one.checkpoint_due
    one.checkpoint(one.state)
    one.close()
    assert not Journal.open(node, SMALL, FastDisk()).checkpoint_due


def test_a_pruned_log_without_a_checkpoint_cannot_be_opened(node: Path) -> None:
    for path in [*node.glob("*.ckpt"), node / f"{1:020d}.log"]:
        path.unlink()
    with pytest.raises(LocalError, match="begins at seq 4 and no valid checkpoint"):
        recover(node, SMALL, FastDisk())


def test_a_checkpoint_of_another_log_is_damage(node: Path) -> None:
    other = stored(node.parent / "other", make_log([231] * 14))
    for path in other.glob("*.ckpt"):
        shutil.copy(path, node)
    with pytest.raises(JournalDamage, match="not the record that the checkpoint covers"):
        recover(node, SMALL, FastDisk())


def test_records_lost_beneath_a_checkpoint_are_damage(node: Path) -> None:
    segment = max(node.glob("*.log"))
    segment.write_bytes(bytes(SMALL))
    with pytest.raises(JournalDamage, match="no record starts here"):
        recover(node, SMALL, FastDisk())
