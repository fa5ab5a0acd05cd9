"""A journal in use: append, roll, read, hashes, retention; against a twin that is a list."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interlock.shared.errors import DiskFull, JournalDamage, LocalError, Reason, RemoteError
from interlock.shared.journal import Journal
from interlock.shared.journal.index import load_index
from interlock.shared.limits import INDEX_EVERY_BYTES
from interlock.shared.wire import parse_record, parse_records
from support.journal_kit import (
    SMALL,
    FastDisk,
    LogMaker,
    ScarceDisk,
    fill,
    idle,
    make_log,
    segment_bytes_of,
    settle,
    state_at,
)


@contextmanager
def journal(segment_bytes: int = SMALL, directory: Path | None = None) -> Iterator[Journal]:
    """An open journal in a directory of its own, or in `directory`."""
    with TemporaryDirectory() as own:
        opened = Journal.open(directory or Path(own), segment_bytes, FastDisk())
        try:
            yield opened
        finally:
            opened.close()


# Appending and rolling ------------------------------------------------------------------------


def test_a_new_journal_is_one_empty_segment(tmp_path: Path) -> None:
    with journal(4096, tmp_path) as empty:
        assert (empty.first_seq, empty.last_seq, empty.synced_seq) == (1, 0, 0)
        assert empty.state.last_seq == 0
        assert empty.torn is None
        assert empty.segments == 1
        assert not empty.checkpoint_due
        assert empty.read(1, 1000, 100) == b""
        assert empty.disk_free_bytes() > 0
    assert segment_bytes_of(tmp_path) == {f"{1:020d}.log": bytes(4096)}


def test_records_stand_back_to_back_and_the_rest_is_zeros(tmp_path: Path) -> None:
    maker = make_log([10, 20, 30])
    with journal(SMALL, tmp_path) as one:
        one.append(maker.records, maker.last_seq)
        assert one.last_seq == maker.last_seq
        assert one.room_bytes >= SMALL - sum(map(len, maker.records))
    used = b"".join(maker.records)
    assert segment_bytes_of(tmp_path) == {f"{1:020d}.log": used + bytes(SMALL - len(used))}


def expected_files(maker: LogMaker, segment_bytes: int) -> dict[str, bytes]:
    """The roll rule, spelled out."""
    files: dict[str, bytes] = {}
    name, used, first_seq = "", segment_bytes + 1, 1
    for record, last_seq in zip(maker.records, maker.last_seqs, strict=True):
        if used + len(record) > segment_bytes:
            name, used = f"{first_seq:020d}.log", 0
            files[name] = b""
        files[name] += record
        used += len(record)
        first_seq = last_seq + 1
    return {name: data.ljust(segment_bytes, b"\0") for name, data in files.items()}


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 400), max_size=40), st.data())
def test_files_depend_on_the_records_alone(sizes: list[int], data: st.DataObject) -> None:
    """However the stream is grouped, and wherever the node restarts: the same bytes."""
    maker = make_log(sizes)
    expected = expected_files(maker, SMALL)
    with TemporaryDirectory() as directory:
        path = Path(directory)
        at = 0
        while at < len(maker.records):
            with journal(SMALL, path) as one:
                assert one.state.dump() == state_at(maker, at).dump()
                for _ in range(data.draw(st.integers(1, 4))):
                    group = data.draw(st.integers(1, 12))
                    records = maker.records[at : at + group]
                    if not records:
                        break
                    at += len(records)
                    one.append(records, maker.last_seqs[at - 1])
                    if one.checkpoint_due and data.draw(st.booleans()):
                        one.checkpoint(state_at(maker, at))
        assert segment_bytes_of(path) == expected


def test_a_record_that_fills_the_segment_to_the_last_byte_still_fits(tmp_path: Path) -> None:
    maker = make_log([])
    maker.data("p", [bytes(600)])
    size = sum(map(len, maker.records))
    maker.tick()
    with journal(size, tmp_path) as one:
        fill(one, maker, 0, 2)
        assert one.segments == 1
        fill(one, maker, 2)
        assert one.segments == 2
    assert sorted(segment_bytes_of(tmp_path)) == [f"{1:020d}.log", f"{3:020d}.log"]


def test_views_are_written_like_bytes(tmp_path: Path) -> None:
    maker = make_log([5, 6, 7])
    frame = memoryview(b"".join(maker.records))
    with journal(SMALL, tmp_path) as one:
        one.append([record.raw for record in parse_records(frame)], maker.last_seq)
        assert one.read(1, 10_000, 100) == frame


def test_a_group_of_more_buffers_than_one_write_takes(tmp_path: Path) -> None:
    maker = make_log([0] * (os.sysconf("SC_IOV_MAX") + 10))
    with journal(1 << 20, tmp_path) as one:
        one.append(maker.records, maker.last_seq)
        assert one.read(1, 1 << 20, 10**6) == b"".join(maker.records)


def test_a_record_larger_than_a_segment_is_our_bug() -> None:
    maker = make_log([])
    maker.data("p", [bytes(SMALL)])
    with journal() as one:
        fill(one, maker, 0, 1)
        with pytest.raises(LocalError, match=f"at seq 2; a segment holds {SMALL}"):
            fill(one, maker, 1)
        assert one.last_seq == 1


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 400), max_size=40), st.integers(1, 4), st.data())
def test_a_group_within_room_bytes_fits_though_the_disk_is_full(
    sizes: list[int], space: int, data: st.DataObject
) -> None:
    """The guarantee that intake leans on, and what happens beyond it: refused whole, then resumed.

    History: intake gave out seqs for a group, the roll met a full disk, and half of the group was
    in the log, with seqs that nobody could be told about.
    """
    maker = make_log(sizes)
    disk = ScarceDisk(space)
    with TemporaryDirectory() as directory:
        one = Journal.open(Path(directory), SMALL, disk)
        at = 0
        while at < len(maker.records):
            settle(one)
            group = maker.records[at : at + data.draw(st.integers(1, 10))]
            if sum(map(len, group)) > one.room_bytes:
                if disk.space > 0 or one.room_bytes == SMALL:  # the group is more than a segment
                    group = group[:1]
                else:
                    before = segment_bytes_of(Path(directory))
                    with pytest.raises(
                        DiskFull, match="cannot make the next segment of 1000 bytes"
                    ):
                        one.append(group, maker.last_seqs[at + len(group) - 1])
                    assert segment_bytes_of(Path(directory)) == before
                    assert one.last_seq == (maker.last_seqs[at - 1] if at else 0)
                    disk.space += data.draw(st.integers(1, 2))
                    one.prepare()
                    continue
            at += len(group)
            one.append(group, maker.last_seqs[at - 1])
        one.close()
        assert segment_bytes_of(Path(directory)) == expected_files(maker, SMALL)


# Reading --------------------------------------------------------------------------------------


def naive_read(maker: LogMaker, from_seq: int, max_bytes: int, up_to_seq: int) -> list[bytes]:
    """All records that a read may return: the twin that knows nothing of segments."""
    found: list[bytes] = []
    for record, last_seq in zip(maker.records, maker.last_seqs, strict=True):
        if last_seq < from_seq:
            continue
        if last_seq > up_to_seq or (found and len(b"".join(found)) + len(record) > max_bytes):
            break
        found.append(record)
    return found


reads = st.lists(
    st.tuples(st.integers(1, 130), st.integers(0, 3_000), st.integers(0, 130)), max_size=12
)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.integers(1, 90), max_size=4), max_size=40), reads)
def test_reads_return_what_a_list_would(
    shape: list[list[int]], wanted: list[tuple[int, int, int]]
) -> None:
    maker = LogMaker()
    for sizes in shape:
        if sizes:
            maker.data("p", [b"m" * size for size in sizes])
        else:
            maker.tick()
    with journal() as one:
        fill(one, maker)
        for from_seq, max_bytes, up_to_seq in wanted:
            chunk = one.read(from_seq, max_bytes, up_to_seq)
            expected = naive_read(maker, from_seq, max_bytes, up_to_seq)
            # A chunk may end early where a segment ends, but it is never empty for nothing.
            assert b"".join(expected).startswith(chunk)
            assert bool(chunk) == bool(expected)
            parse_records(chunk)


def test_no_read_ends_within_or_beyond_what_it_may(tmp_path: Path) -> None:
    """Every pair of bounds on records of three messages: the released seq is such a bound."""
    maker = make_log([])
    for _ in range(8):
        maker.data("p", [b"a", b"b", b"c"])
    with journal(10_000, tmp_path) as one:
        fill(one, maker)
        for from_seq in range(1, maker.last_seq + 2):
            for up_to_seq in range(maker.last_seq + 2):
                expected = naive_read(maker, from_seq, 10_000, up_to_seq)
                assert one.read(from_seq, 10_000, up_to_seq) == b"".join(expected)


@pytest.mark.parametrize("max_bytes", [0, 1, 100, 999, 10_000])
@pytest.mark.parametrize("reopened", [False, True])
def test_reading_on_gives_the_whole_log(tmp_path: Path, max_bytes: int, reopened: bool) -> None:
    maker = make_log([7, 0, 300, 40, 500] * 12)
    with journal(SMALL, tmp_path) as one:
        fill(one, maker)
        if not reopened:
            assert read_all(one, max_bytes) == b"".join(maker.records)
    if reopened:
        with journal(SMALL, tmp_path) as one:
            assert read_all(one, max_bytes) == b"".join(maker.records)


def read_all(one: Journal, max_bytes: int) -> bytes:
    found = b""
    seq = one.first_seq
    while chunk := one.read(seq, max_bytes, one.last_seq):
        found += chunk
        seq = parse_records(chunk)[-1].last_seq + 1
    return found


def test_large_segments_are_read_through_their_index(tmp_path: Path) -> None:
    """Many index entries, records of many messages, seeks into their middle, and from a file."""
    maker = LogMaker()
    for number in range(300):
        maker.data("p", [bytes([number % 251]) * 30] * (number % 20 + 1))
    segment_bytes = 2 * INDEX_EVERY_BYTES + 100
    with journal(segment_bytes, tmp_path) as one:
        fill(one, maker)
        assert one.segments > 1
        check_seeks(one, maker)
    written = sorted(tmp_path.glob("*.idx"))
    assert len(written) == len(segment_bytes_of(tmp_path)) - 1
    with journal(segment_bytes, tmp_path) as one:
        check_seeks(one, maker)
    whole = written[0].read_bytes()
    for damaged in (b"", b"garbage", whole[:-1], whole[:-9] + b"?" + whole[-8:]):
        written[0].write_bytes(damaged)
        with journal(segment_bytes, tmp_path) as one:
            check_seeks(one, maker)
    written[0].unlink()
    with journal(segment_bytes, tmp_path) as one:
        check_seeks(one, maker)


@pytest.mark.parametrize("group", [1, 7, 300])
def test_an_index_has_an_entry_about_every_16_kib(tmp_path: Path, group: int) -> None:
    """Whether it was kept while appending, in groups of any size, or by a recovery in between."""
    maker = make_log([1_000] * 299)
    for start, stop in ((0, 140), (140, len(maker.records))):
        with journal(200_000, tmp_path) as one:
            for at in range(start, stop, group):
                end = min(at + group, stop)
                one.append(maker.records[at:end], maker.last_seqs[end - 1])
    index = load_index(tmp_path / f"{1:020d}.idx", 1)
    assert index is not None
    starts = [0]
    for record in maker.records:
        starts.append(starts[-1] + len(record))
    assert [starts[seq - 1] for seq in index.seqs] == list(index.offsets)
    steps = [after - before for before, after in pairwise([*index.offsets, 200_000])]
    largest = max(map(len, maker.records))
    assert all(INDEX_EVERY_BYTES <= step < INDEX_EVERY_BYTES + largest for step in steps[:-1])
    assert steps[-1] < INDEX_EVERY_BYTES + 2 * largest


def check_seeks(one: Journal, maker: LogMaker) -> None:
    for seq in range(1, maker.last_seq + 1, 17):
        for limit in (1, 5_000, 40_000):
            chunk = one.read(seq, limit, maker.last_seq)
            expected = b"".join(naive_read(maker, seq, limit, maker.last_seq))
            assert chunk
            assert expected.startswith(chunk)


def test_reading_on_walks_no_headers_before_the_cursor(tmp_path: Path) -> None:
    """Sequential reading is cheap: damage in what lies before is not even noticed."""
    maker = make_log([100] * 60)
    with journal(1 << 20, tmp_path) as one:
        fill(one, maker)
        first = one.read(1, 5_000, maker.last_seq)
        following = parse_records(first)[-1].last_seq + 1
        with (tmp_path / f"{1:020d}.log").open("r+b") as file:
            file.write(bytes(len(first)))
        second = one.read(following, 5_000, maker.last_seq)
        assert parse_records(second)[0].seq == following
        with pytest.raises(JournalDamage) as caught:
            one.read(following + 1, 5_000, maker.last_seq)
        assert (caught.value.seq, caught.value.offset) == (1, 0)


def test_what_is_not_retained_is_refused(tmp_path: Path) -> None:
    with journal() as one, pytest.raises(RemoteError) as caught:
        one.read(0, 100, 100)
    assert caught.value.reason is Reason.NOT_RETAINED


@pytest.mark.parametrize("reopened", [False, True])
def test_hash_at_the_end_of_each_record(tmp_path: Path, reopened: bool) -> None:
    maker = make_log([])
    for number in range(1, 40):
        maker.data("p", [b"x" * 20] * (number % 3 + 1))
    hashes = {0: 0}
    for record in maker.records:
        parsed = parse_record(memoryview(record), 0)
        hashes[parsed.last_seq] = parsed.hash
    with journal(SMALL, tmp_path) as one:
        fill(one, maker)
        if not reopened:
            check_hashes(one, hashes, maker.last_seq)
    if reopened:
        with journal(SMALL, tmp_path) as one:
            check_hashes(one, hashes, maker.last_seq)


def check_hashes(one: Journal, hashes: dict[int, int], last_seq: int) -> None:
    for seq in range(last_seq + 3):
        assert one.hash_at(seq) == hashes.get(seq), seq


def test_the_hash_at_the_end_of_a_group_that_the_system_cannot_write_at_once(
    tmp_path: Path,
) -> None:
    """A frame of small records holds more of them than one pwritev takes: the standby compared the
    hash of its first one with that of the primary's last one, and called the logs different."""
    maker = make_log([20] * (2 * os.sysconf("SC_IOV_MAX")))
    with journal(1 << 20, tmp_path) as one:
        one.append(maker.records, maker.last_seq)
        assert one.hash_at(one.last_seq) == parse_record(memoryview(maker.records[-1]), 0).hash


# Retention ------------------------------------------------------------------------------------


def ten_segments(directory: Path) -> LogMaker:
    """A closed journal of ten segments, three records each, with the two newest checkpoints."""
    maker = make_log([230] * 29)
    with journal(SMALL, directory) as one:
        fill(one, maker)
    assert firsts(directory) == [1, 4, 7, 10, 13, 16, 19, 22, 25, 28]
    assert [path.name for path in sorted(directory.glob("*.ckpt"))] == [
        f"{seq:020d}.ckpt" for seq in (25, 28)
    ]
    return maker


def firsts(directory: Path) -> list[int]:
    return [int(name[:20]) for name in segment_bytes_of(directory)]


@pytest.mark.parametrize(
    ("retain_bytes", "below_seq", "left"),
    [
        (0, 10**6, [1, 4, 7, 10, 13, 16, 19, 22, 25, 28]),  # 0: keep all
        (10**6, 10**6, [1, 4, 7, 10, 13, 16, 19, 22, 25, 28]),
        (5 * SMALL, 10**6, [13, 16, 19, 22, 25, 28]),
        (5 * SMALL, 10, [10, 13, 16, 19, 22, 25, 28]),  # what ends at 9 goes, what ends at 12 stays
        (5 * SMALL, 9, [7, 10, 13, 16, 19, 22, 25, 28]),
        (5 * SMALL, 3, [1, 4, 7, 10, 13, 16, 19, 22, 25, 28]),
        (1, 10**6, [25, 28]),  # the older one of two checkpoints needs segment 25
    ],
)
def test_prune_deletes_what_nobody_needs(
    tmp_path: Path, retain_bytes: int, below_seq: int, left: list[int]
) -> None:
    maker = ten_segments(tmp_path)
    with journal(SMALL, tmp_path) as one:
        assert one.prune(retain_bytes, below_seq) == 10 - len(left)
        assert one.first_seq == left[0]
        assert one.segments == len(left)
        assert one.prune(retain_bytes, below_seq) == 0
        assert read_all(one, 500) == b"".join(maker.records[left[0] - 1 :])
    assert firsts(tmp_path) == left
    assert sorted(path.stem for path in tmp_path.glob("*.idx")) == [f"{n:020d}" for n in left[:-1]]
    with journal(SMALL, tmp_path) as one:
        assert one.first_seq == left[0]
        assert one.state.dump() == maker.state.dump()
        before = maker.records[left[0] - 2] if left[0] > 1 else None
        own = parse_record(memoryview(before), 0).hash if before else 0
        assert one.hash_at(left[0] - 1) == own


def test_prune_keeps_everything_while_there_is_no_checkpoint(tmp_path: Path) -> None:
    maker = make_log([230] * 29)
    with journal(SMALL, tmp_path) as one:
        one.append(maker.records, maker.last_seq)
        assert one.segments == 10
        assert one.prune(1, 10**6) == 0


def test_reads_across_a_prune(tmp_path: Path) -> None:
    """What a cursor or an open segment remembers of pruned segments is not used any more."""
    maker = ten_segments(tmp_path)
    with journal(SMALL, tmp_path) as one:
        for seq in range(1, maker.last_seq + 1):
            one.read(seq, 1, maker.last_seq)
        one.prune(5 * SMALL, 10**6)
        with pytest.raises(RemoteError, match="the log begins at 13"):
            one.read(12, 100, maker.last_seq)
        assert one.read(13, 1, maker.last_seq) == maker.records[12]
        assert one.hash_at(11) is None
        idle(one)
        assert [name for name in open_files(tmp_path) if name.endswith("(deleted)")] == []
    assert open_files(tmp_path) == []


def open_files(directory: Path) -> list[str]:
    """The files of a directory that this process has open, deleted ones included."""
    found = []
    for link in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # the listing itself
            found.append(str(link.readlink()))
    return [name for name in found if name.startswith(str(directory))]
