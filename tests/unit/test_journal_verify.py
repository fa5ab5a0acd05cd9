"""`verify` finds whatever is not as a node would have written it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interlock.shared.journal import Journal, verify
from interlock.shared.journal.checkpoint import encode_checkpoint
from interlock.shared.wire import Kind, encode_messages, encode_record, pack_name
from support.journal_kit import (
    SMALL,
    FastDisk,
    LogMaker,
    change,
    five_segments,
    make_log,
    pruned,
    state_at,
    stored,
)


def test_a_clean_journal(tmp_path: Path) -> None:
    maker = five_segments()
    directory = stored(tmp_path / "n", maker)
    report = verify(directory)
    assert report.ok
    assert (report.first_seq, report.last_seq) == (1, 15)
    assert (report.records, report.messages, report.segments) == (15, 15, 5)
    assert report.bytes == sum(map(len, maker.records))
    assert report.checkpoints == 2
    assert report.last_hash == f"{maker.state.position.hash:016x}"
    assert report.damage is None


def test_a_new_journal_is_clean(tmp_path: Path) -> None:
    Journal.open(tmp_path, SMALL, FastDisk()).close()
    report = verify(tmp_path)
    assert (report.ok, report.records, report.last_seq) == (True, 0, 0)


def test_a_pruned_journal_is_clean(tmp_path: Path) -> None:
    report = verify(pruned(tmp_path / "n"))
    assert report.damage is None
    assert (report.first_seq, report.records, report.checkpoints) == (7, 9, 2)


NODE = five_segments()


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_any_flipped_bit_of_a_sealed_segment_or_checkpoint_is_found(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Every byte counts, zero tails included: the index alone is nobody's promise."""
    root = tmp_path_factory.getbasetemp() / "flips"
    if not root.exists():
        stored(root, NODE)
    files = [path for path in sorted(root.iterdir()) if path.suffix in (".log", ".ckpt")]
    path = data.draw(st.sampled_from([one for one in files if one.name != f"{13:020d}.log"]))
    whole = path.read_bytes()
    bit = data.draw(st.integers(0, 8 * len(whole) - 1))
    try:
        change(path, bit // 8, bytes([whole[bit // 8] ^ 1 << bit % 8]))
        report = verify(root)
        assert not report.ok
        assert report.damage is not None
        assert report.damage.file == str(path)
        assert report.damage.offset <= bit // 8
    finally:
        path.write_bytes(whole)
    assert verify(root).ok


def rewrite(directory: Path, maker: LogMaker, record: bytes) -> None:
    """Puts `record` behind `maker`'s log in the last segment."""
    segment = max(directory.glob("*.log"))
    change(segment, len(segment.read_bytes().rstrip(b"\0")), record)


@pytest.mark.parametrize(
    ("producer_seq", "count", "messages", "what"),
    [
        (9, 1, 1, "producer_seq 9 in the log after 7"),
        (8, 2, 1, "does not hold 2 messages"),
    ],
)
@pytest.mark.parametrize("make", [lambda path: stored(path, five_segments()), pruned])
def test_records_that_are_valid_and_still_wrong(
    tmp_path: Path,
    make: Callable[[Path], Path],
    producer_seq: int,
    count: int,
    messages: int,
    what: str,
) -> None:
    directory, maker = make(tmp_path / "n"), five_segments()
    chain = maker.state.chain
    record, _ = encode_record(
        Kind.DATA,
        1,
        16,
        chain.time_ns,
        pack_name("p"),
        producer_seq,
        count,
        encode_messages([b"x"] * messages),
        chain.hash,
    )
    rewrite(directory, maker, record)
    report = verify(directory)
    assert report.damage is not None
    assert what in report.damage.what
    assert report.damage.seq == 16
    assert (report.records, report.last_seq) == (15 if make is not pruned else 9, 15)


def test_a_segment_begun_too_early(tmp_path: Path) -> None:
    """Such a journal can never be byte-identical to its peer's, though all records are right."""
    maker = make_log([10, 10])
    directory = stored(tmp_path / "n", maker)
    for path in directory.iterdir():
        path.unlink()
    split = sum(map(len, maker.records[:2]))
    data = b"".join(maker.records)
    (directory / f"{1:020d}.log").write_bytes(data[:split].ljust(SMALL, b"\0"))
    (directory / f"{3:020d}.log").write_bytes(data[split:].ljust(SMALL, b"\0"))
    report = verify(directory)
    assert report.damage is not None
    assert "begun too early" in report.damage.what
    assert report.damage.file.endswith(f"{3:020d}.log")


def checkpoint_of(maker: LogMaker, records: int, segment: int, offset: int) -> bytes:
    return encode_checkpoint(segment, offset, state_at(maker, records).dump())


@pytest.mark.parametrize(
    ("seq", "data", "what"),
    [
        (13, checkpoint_of(five_segments(), 13, 13, 5), "looks for its record elsewhere"),
        (13, checkpoint_of(five_segments(), 13, 10, 0), "looks for its record elsewhere"),
        (13, checkpoint_of(make_log([231] * 14), 13, 13, 0), "of another log"),
        (99, checkpoint_of(make_log([1] * 98), 99, 13, 0), "beyond the end of the log"),
        (14, b"", "cannot be read"),
        (14, checkpoint_of(five_segments(), 13, 13, 0), "cannot be read"),
    ],
)
@pytest.mark.parametrize("make", [lambda path: stored(path, five_segments()), pruned])
def test_checkpoints_that_disagree_with_the_log(
    tmp_path: Path, make: Callable[[Path], Path], seq: int, data: bytes, what: str
) -> None:
    directory = make(tmp_path / "n")
    for old in directory.glob("*.ckpt"):
        old.unlink()
    (directory / f"{seq:020d}.ckpt").write_bytes(data)
    report = verify(directory)
    assert report.damage is not None
    assert what in report.damage.what
    assert (report.damage.seq, report.damage.file) == (seq, str(directory / f"{seq:020d}.ckpt"))


@pytest.mark.parametrize("make", [lambda path: stored(path, five_segments()), pruned])
def test_a_checkpoint_with_a_wrong_producer_table(
    tmp_path: Path, make: Callable[[Path], Path]
) -> None:
    directory = make(tmp_path / "n")
    for old in directory.glob("*.ckpt"):
        old.unlink()
    state = state_at(five_segments(), 13)
    state.producers.append("p", 7, 99, 1)
    data = encode_checkpoint(13, 0, state.dump())
    (directory / f"{13:020d}.ckpt").write_bytes(data)
    report = verify(directory)
    assert report.damage is not None
    assert "contradicts the log" in report.damage.what
