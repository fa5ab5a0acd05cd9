"""A damaged journal is made whole from the peer's: to the same bytes, or not touched at all."""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interlock.shared.errors import DiskFull, Reason, RemoteError, UserError
from interlock.shared.journal import Journal, QuarantineStore, RepairReport, repair, verify
from interlock.shared.journal.checkpoint import encode_checkpoint, list_checkpoints
from interlock.shared.wire import Position
from support.journal_kit import (
    SMALL,
    FastDisk,
    LogMaker,
    change,
    five_segments,
    make_log,
    pruned,
    segment_bytes_of,
    state_at,
    stored,
)
from support.tree_disk import Tree, TreeDisk, tree_of, write_tree

NOW_NS = 1_795_579_506_000_000_000


class Peer:
    """Holds a log from its record `first` on, and gives it in chunks of two records."""

    def __init__(self, maker: LogMaker, first: int = 0) -> None:
        positions = [state_at(maker, count).position for count in range(len(maker.records) + 1)]
        self.records = maker.records
        self.index = {position: at for at, position in enumerate(positions) if at >= first}
        self.asked: list[int] = []

    def fetch(self, after: Position) -> bytes:
        self.asked.append(after.seq)
        at = self.index.get(after)
        if at is None:
            raise RemoteError(Reason.DIFFERENT_HISTORY, f"another record at seq {after.seq}")
        return b"".join(self.records[at : at + 2])


def repaired(directory: Path, peer: Peer, disk: FastDisk | None = None) -> RepairReport:
    steps: list[tuple[int, int]] = []
    report = repair(
        directory,
        SMALL,
        peer.fetch,
        lambda done, total: steps.append((done, total)),
        NOW_NS,
        disk or FastDisk(),
    )
    assert steps == sorted(steps)
    assert all(done <= total for done, total in steps)
    return report


def check_whole(directory: Path, maker: LogMaker, expected: dict[str, bytes]) -> None:
    """The journal is the peer's, byte for byte, and opens."""
    assert segment_bytes_of(directory) == expected
    assert verify(directory).damage is None
    assert not (directory / "repair.tmp").exists()
    one = Journal.open(directory, SMALL, FastDisk())
    one.close()
    assert one.state.dump() == maker.state.dump()


def segment(directory: Path, first_seq: int) -> Path:
    return directory / f"{first_seq:020d}.log"


# What can be damaged --------------------------------------------------------------------------


def flip_middle(directory: Path) -> None:
    change(segment(directory, 7), 400, b"\xff")


def flip_first_record(directory: Path) -> None:
    change(segment(directory, 1), 0, b"\xff")


def flip_two_segments(directory: Path) -> None:
    change(segment(directory, 4), 900, b"\xff")
    change(segment(directory, 10), 10, b"\xff")


def lose_segment(directory: Path) -> None:
    segment(directory, 7).unlink()


def lose_two_segments(directory: Path) -> None:
    segment(directory, 4).unlink()
    segment(directory, 7).unlink()


def lose_first_segments_and_checkpoints(directory: Path) -> None:
    segment(directory, 1).unlink()
    segment(directory, 4).unlink()
    for path in list_checkpoints(directory):
        path.unlink()


def truncate(directory: Path) -> None:
    os.truncate(segment(directory, 4), 350)


def empty(directory: Path) -> None:
    os.truncate(segment(directory, 4), 0)


def grow(directory: Path) -> None:
    with segment(directory, 4).open("ab") as file:
        file.write(b"more")


def grow_and_flip(directory: Path) -> None:
    os.truncate(segment(directory, 4), SMALL + 400)
    flip_middle(directory)


def dirty_zeros(directory: Path) -> None:
    change(segment(directory, 4), 980, b"dirt")


def overwrite_segment(directory: Path) -> None:
    segment(directory, 7).write_bytes(random.Random(1).randbytes(SMALL))


def lose_newest_segments(directory: Path) -> None:
    segment(directory, 10).unlink()
    segment(directory, 13).unlink()


def damage_newest_segment(directory: Path) -> None:
    change(segment(directory, 13), 5, b"\xff")


def bad_checkpoint(directory: Path) -> None:
    change(list_checkpoints(directory)[0], 20, b"\xff")


def bad_checkpoints_and_segment(directory: Path) -> None:
    for path in list_checkpoints(directory):
        change(path, 20, b"\xff")
    flip_middle(directory)


DAMAGES: dict[Callable[[Path], None], list[int]] = {  # and the segments that are rebuilt
    flip_middle: [7],
    flip_first_record: [1],
    flip_two_segments: [4, 10],
    lose_segment: [7],
    lose_two_segments: [4, 7],
    lose_first_segments_and_checkpoints: [1, 4],
    truncate: [4],
    empty: [4],
    grow: [4],
    grow_and_flip: [4, 7],
    dirty_zeros: [4],
    overwrite_segment: [7],
    lose_newest_segments: [10, 13],
    damage_newest_segment: [13],
    bad_checkpoint: [],
    bad_checkpoints_and_segment: [7],
}


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_damage_is_repaired_to_the_same_bytes(
    tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    maker = five_segments()
    directory = stored(tmp_path / "n", maker)
    expected = segment_bytes_of(directory)
    damage(directory)
    damaged = tree_of(directory)
    report = repaired(directory, Peer(maker))
    assert report.damage
    assert report.rebuilt == [f"{seq:020d}.log" for seq in DAMAGES[damage]]
    assert (report.first_seq, report.last_seq) == (1, 15)
    check_whole(directory, maker, expected)
    # What was replaced is kept as it was; what was good is the same file as before.
    originals = {name: damaged[name] for name in report.removed + report.rebuilt if name in damaged}
    kept = directory / "quarantine" / report.set_aside if report.set_aside else None
    assert (tree_of(kept) if kept else {}) == originals
    listed = [entry.name for entry in QuarantineStore(directory).entries()]
    assert listed == ([report.set_aside] if originals else [])
    assert repaired(directory, Peer(maker)).damage == ""


def test_only_what_is_damaged_is_fetched(tmp_path: Path) -> None:
    maker = five_segments()
    directory = stored(tmp_path / "n", maker)
    flip_middle(directory)  # the second of the records 7 to 9
    peer = Peer(maker)
    report = repaired(directory, peer)
    assert peer.asked == [7]
    assert (report.fetched_records, report.fetched_messages) == (1, 1)
    assert report.fetched_bytes == len(maker.records[7])


def test_a_good_journal_is_left_alone(tmp_path: Path) -> None:
    directory = stored(tmp_path / "n", five_segments())
    before = tree_of(directory)
    peer = Peer(five_segments())
    report = repaired(directory, peer)
    assert (report.damage, report.first_seq, report.last_seq) == ("", 1, 15)
    assert peer.asked == []
    assert tree_of(directory) == before


def test_all_that_the_peer_holds_is_taken_where_the_end_was_lost(tmp_path: Path) -> None:
    """The last segment is gone, and with it records that may have been acknowledged: nobody here
    can say how many."""
    maker = make_log([230] * 20)
    directory = stored(tmp_path / "n", five_segments())
    lose_newest_segments(directory)
    report = repaired(directory, Peer(maker))
    assert report.last_seq == maker.last_seq
    check_whole(directory, maker, segment_bytes_of(stored(tmp_path / "whole", maker)))


def test_a_torn_tail_is_not_filled_and_not_damage(tmp_path: Path) -> None:
    maker = five_segments()
    directory = stored(tmp_path / "n", maker)
    change(segment(directory, 13), 950, b"torn")
    flip_middle(directory)
    repaired(directory, Peer(make_log([230] * 20)))
    report = verify(directory)
    assert (report.ok, report.last_seq) == (True, 15)


@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_any_damage_ends_whole_or_untouched(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Bytes overwritten, files cut, lost or grown, several at once: after a repair the journal is
    the peer's up to where it ends; or a person is told, and nothing was changed."""
    sizes = data.draw(
        st.lists(st.sampled_from([0, 10, 150, 230, 400, 924]), min_size=5, max_size=25)
    )
    maker = make_log(sizes)
    root = tmp_path_factory.mktemp("any")
    directory = stored(root / "n", maker)
    for _ in range(data.draw(st.integers(1, 3))):
        files = sorted(path for path in directory.iterdir() if path.suffix in (".log", ".ckpt"))
        damage_one(data, data.draw(st.sampled_from(files)))
        if not any(path.stat().st_size for path in directory.glob("*.log")):
            return
    before = tree_of(directory)
    try:
        report = repaired(directory, Peer(maker))
    except UserError:
        assert tree_of(directory) == before
        return
    checked = verify(directory)
    assert checked.damage is None
    one = Journal.open(directory, SMALL, FastDisk())
    one.close()
    if report.last_seq == maker.last_seq and report.first_seq == 1:
        # A file that was made longer may keep its size, as one of another configuration does.
        found = b"".join(data.rstrip(b"\0") for data in segment_bytes_of(directory).values())
        assert found == b"".join(maker.records)


def damage_one(data: st.DataObject, path: Path) -> None:
    size = path.stat().st_size
    how = data.draw(st.sampled_from(["overwrite", "truncate", "lose", "grow"]))
    at = data.draw(st.integers(0, max(0, size - 1)))
    if how == "overwrite":
        change(path, at, data.draw(st.binary(min_size=1, max_size=40))[: size - at])
    elif how == "truncate":
        os.truncate(path, at)
    elif how == "lose":
        path.unlink()
    else:
        os.truncate(path, size + 100)


# A pruned log ---------------------------------------------------------------------------------


@pytest.mark.parametrize("offset", [100, 330, 900])
def test_a_pruned_log_is_repaired_from_its_first_record_on(tmp_path: Path, offset: int) -> None:
    """The damaged first record still says in its header what it continued."""
    maker = five_segments()
    directory = pruned(tmp_path / "n")
    expected = segment_bytes_of(directory)
    change(segment(directory, 7), offset, b"\xff\xff")
    repaired(directory, Peer(maker))
    check_whole(directory, maker, expected)


def test_a_pruned_log_without_its_checkpoints_is_filled_from_the_beginning(tmp_path: Path) -> None:
    maker = five_segments()
    directory = pruned(tmp_path / "n")
    for path in list_checkpoints(directory):
        path.unlink()
    report = repaired(directory, Peer(maker))
    assert report.first_seq == 1
    check_whole(directory, maker, segment_bytes_of(stored(tmp_path / "whole", maker)))


@pytest.mark.parametrize("case", ["header", "not retained by the peer either"])
def test_a_pruned_log_whose_past_is_unknown_is_not_repaired(tmp_path: Path, case: str) -> None:
    directory = pruned(tmp_path / "n")
    if case == "header":
        change(segment(directory, 7), 0, bytes(72))
    else:
        for path in list_checkpoints(directory):
            path.unlink()
    before = tree_of(directory)
    with pytest.raises(UserError, match=r"nothing was changed; .*reinstate --reseed"):
        repaired(directory, Peer(five_segments(), first=6))
    assert tree_of(directory) == before


# A peer that does not fit ---------------------------------------------------------------------


def another_log(same: int) -> LogMaker:
    """As `five_segments`, but other messages after `same` records."""
    maker = LogMaker(state_at(five_segments(), same))
    maker.records = five_segments().records[:same]
    maker.last_seqs = five_segments().last_seqs[:same]
    while len(maker.records) < 15:
        maker.data("p", [b"other" * 46])
    return maker


@pytest.mark.parametrize(
    ("damage", "peer"),
    [
        (flip_middle, Peer(another_log(3))),  # parted before the damage
        (flip_middle, Peer(another_log(7))),  # parted within
        (flip_middle, Peer(make_log([230] * 6))),  # ends before
        (lose_newest_segments, Peer(another_log(9))),  # parted at the lost end
        (lose_newest_segments, Peer(make_log([230] * 10))),  # lacks what was lost
        (lose_first_segments_and_checkpoints, Peer(another_log(2))),
    ],
)
def test_a_history_that_does_not_fit_changes_nothing(
    tmp_path: Path, damage: Callable[[Path], None], peer: Peer
) -> None:
    directory = stored(tmp_path / "n", five_segments())
    damage(directory)
    before = tree_of(directory)
    with pytest.raises(UserError, match=r"nothing was changed; .*reinstate --reseed"):
        repaired(directory, peer)
    assert tree_of(directory) == before


def test_a_peer_that_has_gone_on_after_the_same_past_fits(tmp_path: Path) -> None:
    """What lies beyond the damage is not its business: that is for reinstating to compare."""
    directory = stored(tmp_path / "n", five_segments())
    flip_middle(directory)
    assert repaired(directory, Peer(another_log(12))).last_seq == 15
    assert verify(directory).ok


@pytest.mark.parametrize("answer", [b"nonsense", five_segments().records[3]])
def test_an_answer_that_is_none_changes_nothing(tmp_path: Path, answer: bytes) -> None:
    directory = stored(tmp_path / "n", five_segments())
    flip_middle(directory)
    before = tree_of(directory)
    with pytest.raises(UserError, match="nothing was changed"):
        repair(directory, SMALL, lambda after: answer, lambda done, total: None, NOW_NS)
    assert tree_of(directory) == before


# What looks like a record ---------------------------------------------------------------------


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("which", [1, 25])
def test_a_record_within_a_damaged_message_is_not_taken_for_one_of_the_log(
    tmp_path: Path, which: int, last: bool
) -> None:
    """A message that carries a record, as of a mirror: its header is hit, and the search for the
    next good record finds the one inside."""
    maker = LogMaker()
    maker.data("p", [b"x" * 20])
    maker.data("p", [make_log([10] * 30).records[which], b"more"])
    if not last:
        maker.data("p", [b"y" * 100])
        maker.data("p", [b"z" * 900])
    directory = stored(tmp_path / "n", maker)
    expected = segment_bytes_of(directory)
    change(segment(directory, 1), sum(map(len, maker.records[:2])), b"\xff")
    if last and which == 1:
        assert verify(directory).torn is not None  # too low a seq to be one that follows
        return
    assert repaired(directory, Peer(maker)).fetched_records == 1
    check_whole(directory, maker, expected)


@pytest.mark.parametrize("last", [False, True])
def test_a_copy_of_a_lost_record_within_a_later_one_loses_nothing(
    tmp_path: Path, last: bool
) -> None:
    """Both are hit, the record and the one that carries it. Its copy continues the log, and those
    that stand between must not be passed over for that."""
    maker = LogMaker()
    copied = maker.data("p", [b"x" * 20])
    maker.data("p", [b"y" * 100])
    maker.data("p", [b"z" * 100])
    maker.data("p", [copied, b"more"])
    if not last:
        maker.tick()
    directory = stored(tmp_path / "n", maker)
    expected = segment_bytes_of(directory)
    for count in (1, 2, 4):
        change(segment(directory, 1), sum(map(len, maker.records[:count])), b"\xff")
    report = repaired(directory, Peer(maker))
    if last:  # then the one that carries it is a torn tail
        assert report.last_seq == 4
        return
    check_whole(directory, maker, expected)


def test_a_checkpoint_that_own_records_prove_wrong_goes(tmp_path: Path) -> None:
    maker = five_segments()
    directory = stored(tmp_path / "n", maker)
    newest = list_checkpoints(directory)[0]
    newest.write_bytes(encode_checkpoint(13, 40, state_at(maker, 13).dump()))
    expected = segment_bytes_of(directory)
    report = repaired(directory, Peer(maker))
    assert report.removed == [newest.name]
    check_whole(directory, maker, expected)


# Sizes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("segment_bytes", [700, 5_000])
def test_a_segment_of_another_configuration_keeps_its_size(
    tmp_path: Path, segment_bytes: int
) -> None:
    directory = stored(tmp_path / "n", five_segments())
    expected = segment_bytes_of(directory)
    for first_seq in (4, 7):
        segment(directory, first_seq).write_bytes(bytes([255] * SMALL))
    peer = Peer(five_segments())
    repair(directory, segment_bytes, peer.fetch, lambda done, total: None, NOW_NS, FastDisk())
    assert segment_bytes_of(directory) == expected


# Disks ----------------------------------------------------------------------------------------


def test_a_segment_that_the_disk_cannot_read_is_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    maker = five_segments()
    directory = stored(tmp_path / "n", maker)
    expected = segment_bytes_of(directory)
    bad = segment(directory, 7).stat().st_ino
    pread = os.pread

    def failing(fd: int, size: int, offset: int) -> bytes:
        if os.fstat(fd).st_ino == bad:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return pread(fd, size, offset)

    monkeypatch.setattr(os, "pread", failing)
    report = repaired(directory, Peer(maker))
    assert report.rebuilt == [segment(directory, 7).name]
    assert report.fetched_records == 3
    check_whole(directory, maker, expected)


def test_a_full_disk_changes_nothing(tmp_path: Path) -> None:
    class FullDisk(FastDisk):
        def allocate(self, path: Path, size: int) -> int:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    directory = stored(tmp_path / "n", five_segments())
    flip_middle(directory)
    before = tree_of(directory)
    with pytest.raises(DiskFull, match="cannot repair the journal"):
        repaired(directory, Peer(five_segments()), FullDisk())
    assert tree_of(directory) == before


def test_a_death_at_any_step_leaves_something_to_repair_again(tmp_path: Path) -> None:
    maker = five_segments()
    directory = stored(tmp_path / "n", maker)
    expected = segment_bytes_of(directory)
    flip_two_segments(directory)
    bad_checkpoint(directory)
    originals = tree_of(directory)
    photos: list[tuple[str, Tree]] = []

    def photograph(step: str) -> None:
        photos.extend((f"{death} before {step}", image) for death, image in disk.images().items())

    disk = TreeDisk(directory, photograph)
    repair(directory, SMALL, Peer(maker).fetch, lambda done, total: None, NOW_NS, disk)
    photograph("return")
    disk.close()
    for number, (death, image) in enumerate(photos):
        one = write_tree(tmp_path / f"{number}", image)
        # As they were: in their place, or else in the quarantine.
        for first_seq in (4, 10):
            name = segment(one, first_seq).name
            copies = [path.read_bytes() for path in (one / "quarantine").glob(f"*/{name}")]
            assert originals[name] in (image[name], *copies), death
        if death.endswith("return"):
            assert verify(one).damage is None, death
        repaired(one, Peer(maker))
        check_whole(one, maker, expected)
