"""Opening what a dead node left: the same verdict as a slow twin, at every cut, flip and kill."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from hypothesis import example, given, settings
from hypothesis import strategies as st

from interlock.shared.errors import JournalDamage, RemoteError
from interlock.shared.journal import Journal
from interlock.shared.journal.recovery import recover
from interlock.shared.log import LogDump, LogState
from interlock.shared.wire import HEADER_BYTES, Record, parse_record
from support.journal_kit import (
    SMALL,
    FastDisk,
    directory_bytes,
    fill,
    five_segments,
    make_log,
    segment_bytes_of,
    state_at,
    stored,
    write_directory,
)

# The twin -------------------------------------------------------------------------------------


class Verdict(NamedTuple):
    """What became of a directory: the log that is left, or the place of the damage."""

    dump: LogDump | None
    cut: tuple[int, int] | None  # seq of the segment and offset of a torn tail
    damage: tuple[str, int, int] | None  # file name, offset, seq


def valid_at(data: bytes, offset: int) -> Record | None:
    try:
        return parse_record(memoryview(data), offset)
    except RemoteError:
        return None


def holds_record(data: bytes, start: int, min_seq: int) -> bool:
    found = (valid_at(data, offset) for offset in range(start, len(data)))
    return any(record is not None and record.seq >= min_seq for record in found)


def twin(files: dict[int, bytes]) -> Verdict:
    """The rules of `scan` and `recovery`, spelled out byte by byte, without checkpoints."""
    state = LogState()
    starts = sorted(files)
    for index, first_seq in enumerate(starts):
        data, name = files[first_seq], f"{first_seq:020d}.log"
        later = {start: files[start] for start in starts[index + 1 :]}
        offset = 0
        while record := valid_at(data, offset):
            expected = state.last_seq + 1
            try:
                state.apply(record)
            except RemoteError:
                return Verdict(None, None, (name, offset, expected))
            offset += len(record.raw)
        expected = state.last_seq + 1
        rest = data[offset:]
        if not any(rest) and later and min(later) == expected:
            continue
        if holds_record(data, offset, expected):
            return Verdict(None, None, (name, offset, expected))
        if any(holds_record(other, 0, expected) for other in later.values()):
            if any(rest):
                return Verdict(None, None, (name, offset, expected))
            return Verdict(None, None, (f"{expected:020d}.log", 0, expected))
        cut = (first_seq, offset) if any(rest) else None
        if cut is None:
            cut = next(((start, 0) for start, other in later.items() if any(other)), None)
        return Verdict(state.dump(), cut, None)
    raise AssertionError("a directory without segments")


def opened(directory: Path) -> Verdict:
    try:
        recovered = recover(directory, SMALL, FastDisk())
    except JournalDamage as damage:
        return Verdict(None, None, (Path(damage.file).name, damage.offset, damage.seq))
    torn = recovered.torn
    cut = (int(Path(torn.file).stem), torn.offset) if torn else None
    return Verdict(recovered.state.dump(), cut, None)


def check_against_twin(files: dict[str, bytes]) -> Verdict:
    """Recovery says what the twin says; after a repair all is clean, after damage nothing moved."""
    verdict = twin({int(name[:20]): data for name, data in files.items()})
    with TemporaryDirectory() as own:
        directory = write_directory(Path(own) / "node", files)
        assert opened(directory) == verdict
        if verdict.damage:
            assert directory_bytes(directory) == files
        else:
            assert opened(directory) == Verdict(verdict.dump, None, None)
            assert not any(after_the_log(directory, verdict.dump))
    return verdict


def after_the_log(directory: Path, dump: LogDump | None) -> bytes:
    """What stands behind the last record, in all files together."""
    assert dump is not None
    segments = segment_bytes_of(directory)
    last = segments[max(segments)]
    offset = 0
    while record := valid_at(last, offset):
        offset += len(record.raw)
        assert record.seq <= dump.position.seq
    return last[offset:]


class Log(NamedTuple):
    """The segment files of a small log, and the places of its bytes in them."""

    files: dict[str, bytes]
    places: list[tuple[str, int]]


def small_log() -> Log:
    """Nine records in three segments; ticks, records of several messages, two producers."""
    maker = make_log([150, 0, 300])
    maker.data("p", [b"x" * 40] * 5)
    for size in (200, 350, 1, 90):
        maker.data("q", [b"y" * size])
    with TemporaryDirectory() as own:
        files = segment_bytes_of(stored(Path(own) / "node", maker, checkpoints=False))
    assert len(files) == 3
    places = []
    for name, data in files.items():
        places += [(name, offset) for offset in range(len(data.rstrip(b"\0")))]
    return Log(files, places)


LOG = small_log()


@settings(max_examples=200, deadline=None)
@given(st.integers(0, len(LOG.places) - 1))
def test_a_log_cut_anywhere_is_torn_there(place: int) -> None:
    """A killed writer: a prefix of the bytes, and zeros. Never damage, and no whole record lost."""
    name, offset = LOG.places[place]
    files = {}
    for other, data in LOG.files.items():
        if other < name:
            files[other] = data
        elif other == name:
            files[other] = data[:offset] + bytes(len(data) - offset)
        else:
            files[other] = bytes(len(data))
    while len(files) > 1 and not any(files[max(files)]):
        del files[max(files)]  # it was never renamed into use
    verdict = check_against_twin(files)
    assert verdict.damage is None


@settings(max_examples=200, deadline=None)
@given(st.integers(0, len(LOG.places) - 1), st.integers(0, 7))
def test_a_flipped_bit_is_damage_or_the_torn_end(place: int, bit: int) -> None:
    name, offset = LOG.places[place]
    data = bytearray(LOG.files[name])
    data[offset] ^= 1 << bit
    verdict = check_against_twin(LOG.files | {name: bytes(data)})
    # Only the last record can be taken for torn: nothing acknowledged stands behind it.
    last = max(start for start in range(len(data)) if valid_at(LOG.files[max(LOG.files)], start))
    in_last = name == max(LOG.files) and offset >= last
    assert (verdict.damage is None) == in_last


mutations = st.lists(
    st.one_of(
        st.tuples(
            st.just("zero"), st.integers(0, len(LOG.places) - 1), st.sampled_from([1, 50, 400])
        ),
        st.tuples(
            st.just("garbage"), st.integers(0, len(LOG.places) - 1), st.sampled_from([1, 30])
        ),
        st.tuples(st.just("tail garbage"), st.integers(0, 2), st.integers(1, 40)),
        st.tuples(st.just("truncate"), st.integers(0, len(LOG.places) - 1), st.just(0)),
        st.tuples(st.just("delete"), st.integers(0, 2), st.just(0)),
        st.tuples(st.just("swap"), st.integers(0, 2), st.integers(0, 2)),
        st.tuples(st.just("empty next"), st.integers(1, 20), st.just(0)),
        st.tuples(st.just("shift"), st.integers(0, len(LOG.places) - 1), st.integers(1, 20)),
    ),
    min_size=1,
    max_size=3,
)


@settings(max_examples=300, deadline=None)
@example([("truncate", 0, 0), ("truncate", 1, 0), ("truncate", 2, 0)])  # all files are empty
@given(mutations)
def test_any_mishap_is_judged_as_by_the_twin(script: list[tuple[str, int, int]]) -> None:
    files = {name: bytearray(data) for name, data in LOG.files.items()}
    names = sorted(LOG.files)
    for what, where, size in script:
        if what == "empty next":
            files.setdefault(f"{where:020d}.log", bytearray(SMALL))
            continue
        name, offset = (names[where], 0) if where < 3 else LOG.places[where]
        if name not in files:
            continue
        data = files[name]
        if what == "zero":
            data[offset : offset + size] = bytes(len(data[offset : offset + size]))
        elif what == "garbage":
            data[offset : offset + size] = b"\xc1" * len(data[offset : offset + size])
        elif what == "tail garbage":
            data[-size:] = b"L\xc1" * (size // 2) + b"!" * (size % 2)
        elif what == "shift":
            data[offset:offset] = b"?" * size
        elif what == "truncate":
            del data[offset:]
        elif what == "delete" and len(files) > 1:
            del files[name]
        elif what == "swap" and names[size] in files:
            files[name], files[names[size]] = files[names[size]], files[name]
    if min(files) != names[0]:  # without checkpoints only a log from seq 1 can be opened
        return
    check_against_twin({name: bytes(data) for name, data in files.items()})


@settings(max_examples=100, deadline=None)
@given(st.sampled_from([at for at, (_, offset) in enumerate(LOG.places) if not offset]), st.data())
def test_valid_records_behind_inserted_bytes_are_damage(place: int, data: st.DataObject) -> None:
    """The expected record itself stands behind the bad bytes: not one is lost for good."""
    name, _ = LOG.places[place]
    starts = [at for at in range(SMALL) if valid_at(LOG.files[name], at)]
    start = data.draw(st.sampled_from(starts))
    whole = LOG.files[name]
    shifted = whole[:start] + b"?" * data.draw(st.integers(1, 9)) + whole[start:]
    verdict = check_against_twin(LOG.files | {name: shifted})
    assert verdict.damage is not None
    assert verdict.damage[:2] == (name, start)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 1), st.integers(0, 15), st.integers(0, HEADER_BYTES + 300))
def test_recovery_from_a_checkpoint_is_recovery_from_the_history(
    lost: int, records: int, cut: int
) -> None:
    """Twin: the same directory without its checkpoints."""
    maker = five_segments()
    with TemporaryDirectory() as own:
        directory = Path(own) / "one"
        directory.mkdir()
        one = Journal.open(directory, SMALL, FastDisk())
        fill(one, maker, 0, records)
        whole = min(records, len(maker.records))
        if records < len(maker.records):  # the process dies within a write
            part = maker.records[records][:cut][: SMALL - one._offset]
            os.pwrite(one._fd, part, one._offset)
            whole += part == maker.records[records]
        one.close()
        without = Path(own) / "without"
        shutil.copytree(directory, without)
        for path in without.glob("*.ckpt"):
            path.unlink()
        for path in sorted(directory.glob("*.ckpt"), reverse=True)[:lost]:
            path.unlink()
        with_checkpoint, from_history = opened(directory), opened(without)
        assert with_checkpoint == from_history
        assert segment_bytes_of(directory) == segment_bytes_of(without)
        assert with_checkpoint.dump == state_at(maker, whole).dump()
