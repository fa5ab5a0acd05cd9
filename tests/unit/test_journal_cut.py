"""Cutting a log back: the same files as a journal that never went further, whatever happens."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interlock.shared.errors import DiskFull, JournalDamage, UserError
from interlock.shared.journal import Journal, QuarantineStore, cut_after, set_aside, verify
from interlock.shared.journal.checkpoint import list_checkpoints
from interlock.shared.journal.recovery import recover
from interlock.shared.wire import GENESIS, Position, parse_records
from support.journal_kit import (
    SMALL,
    FastDisk,
    LogMaker,
    change,
    fill,
    five_segments,
    make_log,
    pruned,
    segment_bytes_of,
    state_at,
    stored,
)
from support.tree_disk import Tree, TreeDisk, tree_of, write_tree

NOW_NS = 1_795_579_506_000_000_000


def position_of(maker: LogMaker, records: int) -> Position:
    return state_at(maker, records).position


def cut(directory: Path, after: Position) -> bytes | None:
    """The bytes that went into quarantine; None if none did."""
    entry = cut_after(directory, SMALL, after, "test", NOW_NS, FastDisk())
    if entry is None:
        return None
    assert (entry.after, entry.first_seq) == (after, after.seq + 1)
    return QuarantineStore(directory).read(entry.name, 0, 2**30)


def twin(directory: Path, maker: LogMaker, records: int) -> dict[str, bytes]:
    """The segments of a journal that was given only the prefix."""
    directory.mkdir()
    one = Journal.open(directory, SMALL, FastDisk())
    fill(one, maker, 0, records)
    one.close()
    return segment_bytes_of(directory)


# Against a twin -------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.sampled_from([0, 10, 150, 230, 400, 600, 924]), min_size=1, max_size=25),
    checkpoints=st.booleans(),
    data=st.data(),
)
def test_a_cut_journal_is_one_that_never_went_further(
    tmp_path_factory: pytest.TempPathFactory,
    sizes: list[int],
    checkpoints: bool,
    data: st.DataObject,
) -> None:
    maker = make_log(sizes)
    root = tmp_path_factory.mktemp("cut")
    directory = stored(root / "n", maker, checkpoints=checkpoints)
    keep = data.draw(st.integers(0, len(maker.records)))
    rest = b"".join(maker.records[keep:])
    assert cut(directory, position_of(maker, keep)) == (rest or None)
    assert segment_bytes_of(directory) == twin(root / "twin", maker, keep)
    assert verify(directory).damage is None
    assert not [path for path in directory.iterdir() if path.suffix == ".tmp"]
    one = Journal.open(directory, SMALL, FastDisk())
    assert one.state.dump() == state_at(maker, keep).dump()
    fill(one, maker, keep)
    one.close()
    assert segment_bytes_of(directory) == twin(root / "whole", maker, len(maker.records))


def test_a_checkpoint_at_or_before_the_cut_stays_and_one_beyond_goes(tmp_path: Path) -> None:
    directory = stored(tmp_path / "n", five_segments())
    assert [int(path.stem) for path in list_checkpoints(directory)] == [13, 10]
    cut(directory, position_of(five_segments(), 12))
    assert [int(path.stem) for path in list_checkpoints(directory)] == [10]
    cut(directory, position_of(five_segments(), 10))
    assert [int(path.stem) for path in list_checkpoints(directory)] == [10]


def test_the_index_of_a_segment_that_is_active_again_goes(tmp_path: Path) -> None:
    directory = stored(tmp_path / "n", five_segments())
    cut(directory, position_of(five_segments(), 6))
    assert [int(path.stem) for path in directory.glob("*.idx")] == [1]


def test_nothing_beyond_means_nothing_done(tmp_path: Path) -> None:
    maker = five_segments()
    directory = stored(tmp_path / "n", maker)
    before = tree_of(directory)
    assert cut(directory, maker.state.position) is None
    assert tree_of(directory) == before
    (tmp_path / "empty").mkdir()
    assert cut(tmp_path / "empty", GENESIS) is None


def test_a_torn_tail_is_cut_and_not_kept(tmp_path: Path) -> None:
    maker = five_segments()
    directory = stored(tmp_path / "n", maker)
    change(directory / f"{13:020d}.log", 3 * len(maker.records[-1]), b"torn")
    assert cut(directory, position_of(maker, 12)) == b"".join(maker.records[12:])
    assert segment_bytes_of(directory) == twin(tmp_path / "twin", maker, 12)


def test_a_pruned_log_is_cut_where_a_checkpoint_remains(tmp_path: Path) -> None:
    maker = five_segments()
    directory = pruned(tmp_path / "n")
    assert cut(directory, position_of(maker, 11)) == b"".join(maker.records[11:])
    assert recover(directory, SMALL, FastDisk()).state.dump() == state_at(maker, 11).dump()


# Refusals -------------------------------------------------------------------------------------


@pytest.mark.parametrize("records", [0, 6, 7, 9])
def test_a_pruned_log_that_could_not_be_opened_is_not_cut(tmp_path: Path, records: int) -> None:
    directory = pruned(tmp_path / "n")
    before = tree_of(directory)
    with pytest.raises(UserError, match=r"no checkpoint before that is left.*reinstate --reseed"):
        cut(directory, position_of(five_segments(), records))
    assert tree_of(directory) == before


@pytest.mark.parametrize(
    "after",
    [
        Position(9, 1),
        Position(99, 1),
        Position(0, 1),
        Position(5, position_of(make_log([230] * 3 + [229]), 5).hash),
    ],
)
def test_a_place_that_is_not_in_the_log_is_refused(tmp_path: Path, after: Position) -> None:
    directory = stored(tmp_path / "n", five_segments())
    before = tree_of(directory)
    with pytest.raises(UserError, match=f"holds no record that ends at seq {after.seq} with hash"):
        cut(directory, after)
    assert tree_of(directory) == before


def test_the_middle_of_a_record_is_no_place_to_cut(tmp_path: Path) -> None:
    maker = LogMaker()
    maker.data("p", [b"1", b"2", b"3"])
    directory = stored(tmp_path / "n", maker)
    with pytest.raises(UserError, match="holds no record that ends at seq 3"):
        cut(directory, Position(3, maker.state.position.hash))


def test_a_damaged_tail_is_not_cut(tmp_path: Path) -> None:
    """Cutting would quarantine only a part of it, and delete the rest."""
    directory = stored(tmp_path / "n", five_segments())
    change(directory / f"{10:020d}.log", 100, b"bad")
    before = tree_of(directory)
    with pytest.raises(JournalDamage):
        cut(directory, position_of(five_segments(), 6))
    assert tree_of(directory) == before


class FullDisk(FastDisk):
    def allocate(self, path: Path, size: int) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))


def test_without_space_for_the_new_segment_nothing_is_cut(tmp_path: Path) -> None:
    directory = stored(tmp_path / "n", five_segments())
    before = segment_bytes_of(directory)
    with pytest.raises(DiskFull, match="cannot cut the journal"):
        cut_after(directory, SMALL, position_of(five_segments(), 8), "", NOW_NS, FullDisk())
    assert segment_bytes_of(directory) == before
    assert len(list_checkpoints(directory)) == 2


# Deaths ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("keep", [0, 4, 6, 11, 13])
def test_a_death_at_any_step_of_a_cut_loses_nothing(tmp_path: Path, keep: int) -> None:
    """Photographs before each file operation, as kills and power cuts would leave the directory.

    Each opens as a valid log that ends at the cut or later; whether it was opened or not, a second
    cut ends in the same files; and every record that was cut is in the quarantine, once.
    """
    maker = five_segments()
    after = position_of(maker, keep)
    directory = stored(tmp_path / "n", maker)
    photos: list[tuple[str, str, Tree]] = []

    def photograph(step: str) -> None:
        photos.extend((death, step, image) for death, image in disk.images().items())

    disk = TreeDisk(directory, photograph)
    cut_after(directory, SMALL, after, "test", NOW_NS, disk)
    photograph("end")
    disk.close()
    expected = twin(tmp_path / "twin", maker, keep)
    steps = {step for _, step, _ in photos}
    assert steps >= {"sync data", "sync directory", "write file", "rename"}
    assert ("allocate" in steps) == (keep != 6)  # the end of a segment
    assert ("unlink" in steps) == (keep != 13)  # in the newest segment
    ends = set()
    unique = {frozenset(image.items()): (death, step) for death, step, image in photos}
    for number, (items, (death, step)) in enumerate(unique.items()):
        for opened in (False, True):
            one = write_tree(tmp_path / f"{number}{opened}", dict(items))
            if opened:
                ends.add(check_opens(one, maker, after.seq, f"{death} before {step}"))
            cut_after(one, SMALL, after, "again", NOW_NS + 10**9, FastDisk())
            assert segment_bytes_of(one) == expected, f"{death} before {step}"
            assert verify(one).damage is None
            check_kept(one, maker, keep, f"{death} before {step}")
    assert {after.seq, maker.last_seq} <= ends


def check_opens(directory: Path, maker: LogMaker, at_least: int, death: str) -> int:
    try:
        one = Journal.open(directory, SMALL, FastDisk())
    except JournalDamage as damage:
        pytest.fail(f"{death}: {damage}")
    one.close()
    last_seq = one.state.last_seq
    assert last_seq >= at_least, death
    records = maker.last_seqs.index(last_seq) + 1 if last_seq else 0
    assert one.state.dump() == state_at(maker, records).dump(), death
    return last_seq


def check_kept(directory: Path, maker: LogMaker, keep: int, death: str) -> None:
    store = QuarantineStore(directory)
    entries = store.entries()
    assert len(entries) == 1, death
    data = store.read(entries[0].name, 0, 2**30)
    assert data == b"".join(maker.records[keep:]), death
    assert [record.last_seq for record in parse_records(data)] == maker.last_seqs[keep:]


def test_two_cuts_are_two_entries(tmp_path: Path) -> None:
    maker = five_segments()
    directory = stored(tmp_path / "n", maker)
    for keep in (12, 5):
        cut(directory, position_of(maker, keep))
    entries = QuarantineStore(directory).entries()
    assert sorted((one.first_seq, one.last_seq) for one in entries) == [(6, 12), (13, 15)]


# Setting a whole journal aside ----------------------------------------------------------------


def test_a_journal_is_set_aside_whole_even_if_damaged(tmp_path: Path) -> None:
    directory = stored(tmp_path / "n", five_segments())
    change(directory / f"{4:020d}.log", 0, b"bad")
    (directory / "node.json").write_text("{}")
    files = {name: data for name, data in tree_of(directory).items() if name != "node.json"}
    name = set_aside(directory, "reseed", NOW_NS, FastDisk())
    assert name is not None
    assert tree_of(directory / "quarantine" / name) == files
    assert {path.name for path in directory.iterdir()} == {"node.json", "quarantine"}
    (entry,) = QuarantineStore(directory).entries()
    assert (entry.name, entry.records, entry.messages, entry.why) == (name, 0, 0, "reseed")
    assert entry.size_bytes == sum(len(data or b"") for data in files.values())
    assert set_aside(directory, "again", NOW_NS, FastDisk()) is None
    Journal.open(directory, SMALL, FastDisk()).close()


def test_a_death_while_a_journal_is_set_aside_loses_no_file(tmp_path: Path) -> None:
    directory = stored(tmp_path / "n", five_segments())
    files = sorted(tree_of(directory).items())
    photos: list[tuple[str, Tree]] = []

    def photograph(step: str) -> None:
        photos.extend((f"{death} before {step}", image) for death, image in disk.images().items())

    disk = TreeDisk(directory, photograph)
    set_aside(directory, "reseed", NOW_NS, disk)
    photograph("end")
    disk.close()
    for number, (death, image) in enumerate(photos):
        one = write_tree(tmp_path / f"{number}", image)
        if list(one.glob("*.log")):
            check_opens(write_tree(tmp_path / f"{number}o", image), five_segments(), 0, death)
        set_aside(one, "again", NOW_NS, FastDisk())
        kept = {path.name: path.read_bytes() for path in (one / "quarantine").glob("*/*")}
        assert sorted(kept.items()) == files, death
        listed = {entry.name for entry in QuarantineStore(one).entries()}
        assert {path.parent.name for path in (one / "quarantine").glob("*/*")} <= listed
