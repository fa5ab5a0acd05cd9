"""What lies in a stretch of the log, against a count message by message."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interlock.shared.errors import Reason, RemoteError
from interlock.shared.journal import Journal, summarize, tail
from interlock.shared.operations import Risk
from interlock.shared.wire import Kind, parse_record
from support.journal_kit import SMALL, FastDisk, LogMaker


def mixed_log(shape: list[tuple[str, int]]) -> LogMaker:
    """Records of so many messages of a producer; of no producer: ticks."""
    maker = LogMaker()
    for producer, count in shape:
        if producer:
            maker.data(producer, [b"x" * 20] * count)
        else:
            maker.tick()
    return maker


def slow_count(maker: LogMaker, after_seq: int, last_seq: int) -> dict[str, int]:
    producers: Counter[str] = Counter()
    for raw in maker.records:
        record = parse_record(memoryview(raw), 0)
        for seq in range(record.seq, record.last_seq + 1):
            if record.kind is Kind.DATA and after_seq < seq <= last_seq:
                producers[record.producer] += 1
    return dict(producers)


RECORDS = st.tuples(st.sampled_from(["", "p", "q", "a-sixteen-letter"]), st.integers(1, 9))


@settings(max_examples=50, deadline=None)
@given(shape=st.lists(RECORDS, max_size=30), data=st.data())
def test_it_counts_as_one_would_by_hand(
    tmp_path_factory: pytest.TempPathFactory, shape: list[tuple[str, int]], data: st.DataObject
) -> None:
    """Also for bounds in the middle of a record, which count only what is within them."""
    maker = mixed_log(shape)
    one = Journal.open(tmp_path_factory.mktemp("tail"), SMALL, FastDisk())
    one.append(maker.records, maker.last_seq)
    after_seq = data.draw(st.integers(0, maker.last_seq))
    last_seq = data.draw(st.integers(after_seq, maker.last_seq))
    found = summarize(
        lambda seq, size: one.read(seq, size, maker.last_seq), after_seq, last_seq, "lost"
    )
    one.close()
    expected = slow_count(maker, after_seq, last_seq)
    assert found == Risk("lost", after_seq + 1, last_seq, last_seq - after_seq, expected)


def test_nothing_is_nothing() -> None:
    found = summarize(lambda seq, size: pytest.fail("read"), 7, 7, "quarantined")
    assert found == Risk("quarantined", 8, 7, 0)


def test_too_many_messages_are_not_counted() -> None:
    last_seq = 5 + tail.MAX_COUNTED_MESSAGES + 1
    found = summarize(lambda seq, size: pytest.fail("read"), 5, last_seq, "lost")
    assert found == Risk("lost", 6, last_seq, last_seq - 5)


def test_too_many_bytes_are_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    maker = mixed_log([("p", 9)] * 10)
    raw = b"".join(maker.records)

    def read(seq: int, _: int) -> bytes:
        return maker.records[bisect_left(maker.last_seqs, seq)]

    monkeypatch.setattr(tail, "MAX_COUNTED_BYTES", len(raw))
    assert summarize(read, 0, maker.last_seq, "lost").producers == {"p": 90}
    monkeypatch.setattr(tail, "MAX_COUNTED_BYTES", len(raw) - 1)
    assert summarize(read, 0, maker.last_seq, "lost") == Risk("lost", 1, 91, 91)


def test_what_cannot_be_read_is_not_counted() -> None:
    def pruned(seq: int, size: int) -> bytes:
        raise RemoteError(Reason.NOT_RETAINED, "gone")

    assert summarize(pruned, 0, 5, "lost") == Risk("lost", 1, 5, 5)
    assert summarize(lambda seq, size: b"", 0, 5, "lost") == Risk("lost", 1, 5, 5)
