"""Transcripts of a reader that lives through changes of leader: what of an ended epoch it ignores,
what ends reading, whom it asks. The rules are in `client/consumer_core.py`, `client/order_core.py`
and `client/replay_core.py`.

The log of `small_log` ends at seq 10 in epoch 1, led by `a`.
"""

from __future__ import annotations

import pytest

from interlock.client.errors import HistoryError
from interlock.shared.wire import parse_records
from interlock.tests.unit.client_kit import LogBook, Reader, caught_up, small_log


def changed(log: LogBook, epoch: int = 2) -> list[bytes]:
    """The lead changes to `b`, and two messages follow: seq 11, 12 and 13."""
    return [
        log.open(epoch, "b"),
        log.data(b"i", producer_seq=9),
        log.data(b"j", producer_seq=10),
    ]


def on_both_sides() -> tuple[LogBook, LogBook]:
    """Logs that part after seq 8: `a` goes on alone in epoch 1, `b` leads epoch 2."""
    old = small_log()
    new = old.copy()
    new.cut(1)
    new.open(2, "b")
    new.data(b"n", producer_seq=7)
    return old, new


# The change -------------------------------------------------------------------------------------


def test_the_feed_of_the_new_leader_carries_on_without_any_replay() -> None:
    log = small_log()
    reader = caught_up(log, 10)
    reader.head(10)
    reader.feed(*changed(log))
    reader.head(13, epoch=2, node="b")
    assert reader.got()[1:] == [b"i", b"j"]
    assert reader.asked() is None


def test_the_last_of_the_old_leader_may_come_after_the_first_of_the_new_one() -> None:
    log = small_log()
    reader = caught_up(log, 8)
    last = log.records[-1]
    reader.feed(*changed(log))
    reader.head(13, epoch=2, node="b")
    reader.feed(last)
    assert reader.got() == [b"g", b"h", reader_payload(log, 11), b"i", b"j"]
    assert reader.core.stats.ended_epochs == 0


def reader_payload(log: LogBook, seq: int) -> bytes:
    [record] = parse_records(log.replay(seq, 1))
    return bytes(record.payload)


def test_a_reader_that_is_behind_reads_the_old_epochs_in_order() -> None:
    log = small_log()
    changed(log, 5)
    reader = Reader()
    reader.head(13, epoch=5, node="b")
    reader.asked()
    reader.chunk(0, log.replay(1), 13)
    assert reader.got()[-2:] == [b"i", b"j"]
    assert reader.core.error is None


def test_what_the_new_leader_did_not_publish_is_asked_of_it_first() -> None:
    """`a`, which used to publish, may be frozen: it is not waited for."""
    log = small_log()
    reader = Reader()
    reader.asked()
    reader.chunk(0, log.replay(1), 10)  # node 0 is b
    reader.head(10)
    reader.got()
    changed(log)
    reader.head(13, epoch=2, node="b")
    assert reader.asked() == (0, 11)
    reader.chunk(0, log.replay(11), 13)
    reader.got()
    reader.pass_ms(1_900)
    log.tick()
    reader.head(14, epoch=2, node="b")
    reader.asked()
    reader.chunk(0, log.replay(14), 14)
    reader.pass_ms(200)
    log.tick()
    reader.head(15, epoch=2, node="b")
    assert reader.asked() == (1, 15), "later the primary is asked last again"


def test_a_node_that_answered_quickly_before_is_not_waited_for_as_long() -> None:
    log = small_log()
    reader = caught_up(log, 4)
    reader.head(6)
    reader.asked()
    reader.pass_ms(99)
    assert reader.asked() is None
    reader.pass_ms(1)
    assert reader.asked() == (1, 5)
    reader.chunk(1, log.replay(5, 1), 6)
    assert reader.got() == [b"d", b"e"]


# Ended epochs -----------------------------------------------------------------------------------


def test_a_head_of_an_ended_epoch_is_no_head_and_hides_no_silence() -> None:
    log = small_log()
    changed(log, 3)
    reader = caught_up(log, 13)
    reader.head(13, epoch=3, node="b")
    for _ in range(9):
        reader.head(500, epoch=2)
        reader.pass_ms(100)
    assert reader.asked() is None
    assert reader.core.head_seq == 13
    assert reader.core.stats.ended_epochs == 9
    reader.head(500, epoch=2)
    reader.pass_ms(100)
    assert reader.asked() == (1, 14), "the leader is silent for a second"


def test_a_head_of_an_epoch_below_what_was_read_is_ignored_too() -> None:
    log = small_log()
    changed(log, 3)
    reader = caught_up(log, 13)
    reader.head(500, epoch=2)
    assert reader.asked() is None


def test_records_of_an_ended_epoch_are_ignored_while_the_leader_is_heard() -> None:
    """`a` was in solo, and goes on: at places that were read (9, 10), and at new ones."""
    old, new = on_both_sides()
    reader = caught_up(new, 10)
    old.data(b"k", producer_seq=9)
    old.data(b"l", producer_seq=10)
    for _ in range(20):
        reader.head(10, epoch=2, node="b")
        reader.feed(*old.records[-3:])
        reader.pass_ms(500)
    assert reader.core.error is None
    assert reader.got() == []
    assert reader.core.stats.ended_epochs == 60
    assert reader.asked() is None, "nothing is missing"
    reader.feed(new.data(b"o", producer_seq=8))
    assert reader.got() == [b"o"]


def test_if_nothing_but_an_ended_epoch_is_left_reading_ends() -> None:
    old, new = on_both_sides()
    reader = caught_up(new, 10)
    late = old.data(b"k", producer_seq=9)
    reader.pass_ms(4_999)
    reader.feed(late)
    assert reader.core.error is None
    reader.pass_ms(1)
    reader.feed(late)
    assert isinstance(reader.core.error, HistoryError)
    for word in ("seq 11", "epoch 1,", "epoch 2 was read up to seq 10", "interlock status"):
        assert word in str(reader.core.error)


def test_what_was_kept_of_an_epoch_that_has_ended_is_dropped() -> None:
    """9 and 10 of the old epoch waited for 8; then 8 comes, and the new epoch begins at 9."""
    old, new = on_both_sides()
    reader = caught_up(new, 7)
    reader.feed(old.records[-1])
    reader.asked()
    reader.chunk(0, new.replay(8), 10)
    assert reader.core.error is None
    assert reader.got()[-1] == b"n"
    assert reader.core.stats.ended_epochs == 0


def test_a_repeated_record_of_an_old_epoch_is_no_news() -> None:
    log = small_log()
    changed(log)
    reader = caught_up(log, 13)
    reader.feed(*log.records)
    assert reader.core.error is None
    assert reader.got() == []
    assert reader.core.stats.ended_epochs == 0


# Other histories --------------------------------------------------------------------------------


@pytest.mark.parametrize("remembered", [4096, 1])
@pytest.mark.parametrize("record", [-2, -1])
def test_a_leader_whose_log_parts_from_what_was_read_ends_reading(
    record: int, remembered: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reader has read 9 and 10 of epoch 1; an operator gave them up, and 9 opens epoch 2."""
    monkeypatch.setattr("interlock.client.order_core.CONSUMER_RECENT_RECORDS", remembered)
    old, new = on_both_sides()
    old.data(b"k", producer_seq=9)
    reader = caught_up(old, 11)
    reader.head(10, epoch=2, node="b")
    assert reader.core.error is None, "it may not know yet what was released"
    reader.feed(new.records[record])
    assert isinstance(reader.core.error, HistoryError)
    seq = parse_records(new.records[record])[0].seq
    for word in (f"seq {seq} ", "epoch 2", "epoch 1 was read", "--accept-loss", "history"):
        assert word in str(reader.core.error)


def test_a_leader_whose_log_has_outgrown_what_was_read_ends_reading_too() -> None:
    old, new = on_both_sides()
    reader = caught_up(old, 10)
    reader.feed(new.data(b"o", producer_seq=8))
    assert isinstance(reader.core.error, HistoryError)
    for word in ("seq 11 ", "epoch 2", "epoch 1 was read", "--accept-loss"):
        assert word in str(reader.core.error)


def test_the_same_by_replay() -> None:
    old, new = on_both_sides()
    reader = caught_up(old, 10)
    new.data(b"o", producer_seq=8)
    reader.head(11, epoch=2, node="b")
    reader.asked()
    reader.chunk(0, new.replay(11), 11)
    assert isinstance(reader.core.error, HistoryError)


def test_a_position_that_was_given_up_is_noticed_before_anything_follows_it() -> None:
    old, new = on_both_sides()
    position = parse_records(old.records[-1])[0].position
    reader = Reader(after=position)
    reader.asked()
    reader.feed(*old.records)
    assert reader.core.error is None, "it is of this history"
    reader.feed(new.records[-1])
    assert isinstance(reader.core.error, HistoryError)
    for word in ("seq 10 ", "epoch 2", "the position to go on after", "--accept-loss"):
        assert word in str(reader.core.error)
