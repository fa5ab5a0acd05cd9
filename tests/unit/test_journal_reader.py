"""Other people's journals: read, verified and compared, stopped or running, whole or damaged."""

from __future__ import annotations

import shutil
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interlock.shared.errors import JournalDamage, UserError
from interlock.shared.journal import Journal, JournalReader, diff, scan, verify
from interlock.shared.wire import HEADER
from support.journal_kit import (
    SMALL,
    FastDisk,
    LogMaker,
    change,
    directory_bytes,
    fill,
    five_segments,
    idle,
    make_log,
    pruned,
    segment_bytes_of,
    stored,
)

# Reading --------------------------------------------------------------------------------------


def test_all_records_in_order(tmp_path: Path) -> None:
    maker = five_segments()
    reader = JournalReader(stored(tmp_path / "n", maker))
    assert [bytes(record.raw) for record in reader.records()] == maker.records
    assert reader.torn is None
    assert reader.first_seq == 1


@pytest.mark.parametrize("seqs", [(1, 1), (2, 5), (4, 4), (6, 7), (15, 15), (9, 99), (16, 20)])
def test_a_range_of_records(tmp_path: Path, seqs: tuple[int, int]) -> None:
    maker = five_segments()
    reader = JournalReader(stored(tmp_path / "n", maker))
    found = [bytes(record.raw) for record in reader.records(*seqs)]
    assert found == maker.records[seqs[0] - 1 : seqs[1]]


def test_records_that_only_touch_the_range(tmp_path: Path) -> None:
    maker = LogMaker()
    for _ in range(4):
        maker.data("p", [b"x"] * 10)
    reader = JournalReader(stored(tmp_path / "n", maker))
    assert [record.seq for record in reader.records(15, 25)] == [12, 22]


def test_a_seq_that_is_not_retained(tmp_path: Path) -> None:
    reader = JournalReader(pruned(tmp_path / "n"))
    assert [record.seq for record in reader.records()] == list(range(7, 16))
    with pytest.raises(UserError, match=r"seq 6 is not in .*: its log begins at seq 7"):
        next(reader.records(6))


@pytest.mark.parametrize("name", ["missing", "file", "empty"])
def test_what_is_no_journal(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"expected .*data directory"):
        JournalReader(tmp_path / name)


def test_listing(tmp_path: Path) -> None:
    maker = five_segments()
    reader = JournalReader(stored(tmp_path / "n", maker))
    segments = reader.segments()
    assert [(one.first_seq, one.last_seq, one.records) for one in segments] == [
        (1, 3, 3),
        (4, 6, 3),
        (7, 9, 3),
        (10, 12, 3),
        (13, 15, 3),
    ]
    assert sum(one.bytes_used for one in segments) == sum(map(len, maker.records))
    assert {one.bytes for one in segments} == {SMALL}
    checkpoints = reader.checkpoints()
    assert [(one.seq, one.ok, one.segment) for one in checkpoints] == [
        (13, True, 13),
        (10, True, 10),
    ]
    change(Path(checkpoints[0].file), 3, b"?")
    assert [one.ok for one in reader.checkpoints()] == [False, True]


def test_an_incomplete_last_record_is_left_out(tmp_path: Path) -> None:
    maker = make_log([10, 10])
    directory = stored(tmp_path / "n", maker)
    end = sum(map(len, maker.records))
    maker.data("p", [b"z" * 50])
    change(directory / f"{1:020d}.log", end, maker.records[-1][:80])
    before = directory_bytes(directory)
    reader = JournalReader(directory)
    assert [record.seq for record in reader.records()] == [1, 2, 3]
    assert reader.torn is not None
    assert (reader.torn.offset, reader.torn.bytes, reader.torn.seq) == (end, 80, 4)
    report = verify(directory)
    assert report.ok
    assert report.torn == reader.torn
    assert directory_bytes(directory) == before


def test_damage_ends_the_reading(tmp_path: Path) -> None:
    directory = stored(tmp_path / "n", five_segments())
    change(directory / f"{7:020d}.log", 400, b"?")
    found = []
    with pytest.raises(JournalDamage) as caught:
        found.extend(record.seq for record in JournalReader(directory).records())
    assert caught.value.seq == 8


def test_a_running_node_is_read_and_verified(tmp_path: Path) -> None:
    """A writer that rolls, checkpoints and syncs at full speed, and readers that never stumble."""
    maker = make_log([230, 0, 500, 90] * 150)
    one = Journal.open(tmp_path, SMALL, FastDisk())
    fill(one, maker, 0, 1)
    done = Event()

    def write() -> None:
        fill(one, maker, 1)
        done.set()

    writer = Thread(target=write)
    writer.start()
    looks = 0
    while looks < 2 or not done.is_set():
        seqs = [record.seq for record in JournalReader(tmp_path).records()]
        assert seqs == list(range(1, len(seqs) + 1))
        report = verify(tmp_path)
        assert report.ok, report.damage
        assert report.last_seq >= len(seqs)
        looks += 1
    writer.join()
    idle(one)
    assert verify(tmp_path).last_seq == maker.last_seq
    one.close()


def test_a_reader_goes_on_into_segments_that_are_new(tmp_path: Path) -> None:
    maker = five_segments()
    one = Journal.open(tmp_path, SMALL, FastDisk())
    fill(one, maker, 0, 2)
    records = JournalReader(tmp_path).records()
    assert next(records).seq == 1
    fill(one, maker, 2)
    assert [record.seq for record in records] == list(range(2, 16))
    one.close()


def test_a_record_that_is_completed_between_two_looks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of a record, and then a whole one behind it: no damage, just a writer at work."""
    maker = make_log([50, 60, 70])
    directory = stored(tmp_path / "n", maker)
    segment = directory / f"{1:020d}.log"
    start = sum(map(len, maker.records[:2]))
    whole = b"".join(maker.records[2:])
    change(segment, start, maker.records[2][:40].ljust(len(whole), b"\0"))
    search = scan.find_record

    def writer_goes_on(*arguments: Any) -> Any:
        change(segment, start, whole)
        return search(*arguments)

    monkeypatch.setattr(scan, "find_record", writer_goes_on)
    assert [record.seq for record in JournalReader(directory).records()] == [1, 2, 3, 4]


# diff -----------------------------------------------------------------------------------------


def test_two_nodes_with_the_same_log(tmp_path: Path) -> None:
    a, b = stored(tmp_path / "a", five_segments()), stored(tmp_path / "b", five_segments())
    found = diff(a, b)
    assert (found.identical, found.files_identical, found.compared_messages) == (True, True, 15)
    assert found.difference is None


def test_two_new_journals(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
        Journal.open(tmp_path / name, SMALL, FastDisk()).close()
    found = diff(tmp_path / "a", tmp_path / "b")
    assert (found.identical, found.files_identical, found.compared_messages) == (True, True, 0)


def test_other_segment_sizes_are_the_same_log_in_other_files(tmp_path: Path) -> None:
    a = stored(tmp_path / "a", five_segments())
    b = stored(tmp_path / "b", five_segments(), segment_bytes=3 * SMALL)
    found = diff(a, b)
    assert (found.identical, found.files_identical, found.compared_messages) == (True, False, 15)


def test_garbage_behind_the_log_is_not_the_same_file(tmp_path: Path) -> None:
    a, b = stored(tmp_path / "a", five_segments()), stored(tmp_path / "b", five_segments())
    change(b / f"{7:020d}.log", SMALL - 1, b"!")
    found = diff(a, b)
    assert (found.identical, found.files_identical) == (True, False)


def test_a_torn_record_makes_no_log_longer(tmp_path: Path) -> None:
    maker = make_log([10, 10])
    a, b = stored(tmp_path / "a", maker), stored(tmp_path / "b", maker)
    end = sum(map(len, maker.records))
    change(b / f"{1:020d}.log", end, maker.data("p", [b"z" * 50])[:100])
    for one, other in ((a, b), (b, a)):
        found = diff(one, other)
        assert (found.identical, found.files_identical) == (True, False)
        assert (found.extra_messages_a, found.extra_messages_b) == (0, 0)


def test_pruned_on_one_side(tmp_path: Path) -> None:
    a, b = stored(tmp_path / "a", five_segments()), pruned(tmp_path / "b")
    for one, other in ((a, b), (b, a)):
        found = diff(one, other)
        assert (found.identical, found.files_identical) == (True, True)
        assert (found.from_seq, found.compared_messages) == (7, 9)


def test_nothing_in_common(tmp_path: Path) -> None:
    short = stored(tmp_path / "a", make_log([230] * 3))
    with pytest.raises(UserError, match="no record in common"):
        diff(short, pruned(tmp_path / "b"))


@pytest.mark.parametrize("records", [0, 1, 3, 8, 14])
def test_one_is_longer(tmp_path: Path, records: int) -> None:
    maker = five_segments()
    a = stored(tmp_path / "a", maker)
    b = tmp_path / "b"
    b.mkdir()
    one = Journal.open(b, SMALL, FastDisk())
    fill(one, maker, 0, records)
    one.close()
    found = diff(a, b)
    assert (found.identical, found.difference) == (False, None)
    assert (found.extra_messages_a, found.extra_messages_b) == (15 - records, 0)
    assert found.compared_messages == records
    found = diff(b, a)
    assert (found.extra_messages_a, found.extra_messages_b) == (0, 15 - records)


NODE = five_segments()


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_the_first_differing_byte_is_named(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Any byte of any record, on either side: the same place as a plain comparison finds."""
    root = tmp_path_factory.getbasetemp() / "differ"
    a, b = root / "a", root / "b"
    if not root.exists():
        root.mkdir()
        stored(a, NODE)
        shutil.copytree(a, b)
    name = data.draw(st.sampled_from(sorted(segment_bytes_of(a))))
    used = (a / name).read_bytes().rstrip(b"\0")
    offset = data.draw(st.integers(0, len(used) - 1))
    value = data.draw(st.integers(0, 255).filter(lambda value: value != used[offset]))
    change(b / name, offset, bytes([value]))
    try:
        for one, other, bytes_ in ((a, b, (used[offset], value)), (b, a, (value, used[offset]))):
            found = diff(one, other)
            assert not found.identical
            where = found.difference
            assert where is not None
            assert (where.file_a, where.offset_a) == (str(one / name), offset)
            assert (where.file_b, where.offset_b) == (str(other / name), offset)
            assert (where.byte_a, where.byte_b) == bytes_
            assert found.compared_messages == where.seq - 1
            start = (a / name).read_bytes().rfind(NODE.records[where.seq - 1][:72])
            assert start <= offset < start + len(NODE.records[where.seq - 1])
    finally:
        change(b / name, offset, used[offset : offset + 1])


def test_two_histories(tmp_path: Path) -> None:
    """The same length, other messages from seq 3 on."""
    a = stored(tmp_path / "a", make_log([230, 100, 50]))
    b = stored(tmp_path / "b", make_log([230, 101, 50]))
    found = diff(a, b)
    assert found.difference is not None
    assert found.difference.seq == 3
    assert found.compared_messages == 2
    offset_of_length = 8  # the first byte that differs: the payload's length in the header
    assert HEADER.unpack(make_log([230, 100, 50]).records[2][:72])[4] == 103
    start = sum(map(len, make_log([230]).records))
    assert found.difference.offset_a == found.difference.offset_b == start + offset_of_length
