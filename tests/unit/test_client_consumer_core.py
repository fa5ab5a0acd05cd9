"""Transcripts of a reader: feed, gaps, replay, other histories. The rules are in
`client/consumer_core.py`, `client/order_core.py` and `client/replay_core.py`.
"""

from __future__ import annotations

import pytest

from interlock.client.errors import (
    HistoryError,
)
from interlock.shared.errors import Reason
from interlock.shared.wire import GENESIS, Position, parse_records
from interlock.tests.unit.client_kit import (
    CLUSTER,
    LogBook,
    Reader,
    caught_up,
    small_log,
)

# Reading on ------------------------------------------------------------------------------------


def test_it_replays_from_the_first_node_and_then_follows_the_feed() -> None:
    log = small_log()
    reader = Reader()
    assert reader.asked() == (0, 1)
    assert reader.last.cluster == CLUSTER
    reader.chunk(0, b"".join(log.records[:2]), 6)
    assert reader.got()[1:] == [b"a", b"b", b"c"]
    assert reader.asked() == (0, 5), "the node has more, so it is asked at once"
    reader.chunk(0, log.records[2], 6)
    assert reader.asked() is None
    assert reader.got() == [b"d", b"e"]
    reader.feed(*log.records[3:])
    assert reader.got() == [b"", b"f", b"g", b"h"]
    assert reader.core.stats.gaps == 0


def test_it_starts_in_the_middle_of_a_record() -> None:
    reader = Reader(from_seq=3)
    assert reader.asked() == (0, 3)
    reader.chunk(0, small_log().records[1], 4)
    delivery = reader.core.deliveries[0]
    assert (delivery.skip, delivery.bodies) == (1, [b"a", b"b", b"c"])
    assert delivery.position.seq == 4


def test_it_starts_with_what_is_released_from_now_on() -> None:
    log = small_log()
    reader = Reader(from_seq=None)
    assert reader.asked() is None
    reader.head(6)
    reader.feed(*log.records[1:5])
    assert reader.got() == [b"", b"f"], "a repeated frame of before is no news"
    reader = Reader(from_seq=None)
    reader.feed(log.records[4])
    assert reader.got() == [b"f"]


def test_it_goes_on_after_a_position_only_on_the_same_history() -> None:
    log = small_log()
    known = parse_records(log.records[2])[0].position
    reader = Reader(after=known)
    assert reader.asked() == (0, 7)
    reader.chunk(0, log.records[3], 7)
    assert reader.got() == [b""]
    reader = Reader(after=Position(known.seq, known.hash + 1))
    reader.asked()
    reader.chunk(0, log.records[3], 7)
    assert isinstance(reader.core.error, HistoryError)


def test_after_the_beginning_is_the_beginning() -> None:
    reader = Reader(after=GENESIS)
    assert reader.asked() == (0, 1)


@pytest.mark.parametrize("from_seq", [0, -1, 2**63])
def test_a_seq_that_cannot_be_is_refused(from_seq: int) -> None:
    with pytest.raises(ValueError, match="from_seq"):
        Reader(from_seq=from_seq)


# Gaps --------------------------------------------------------------------------------------------


def test_a_gap_is_replayed_up_to_what_was_kept() -> None:
    log = small_log()
    reader = caught_up(log, 4)
    reader.head(4)
    reader.feed(log.records[4], log.records[5])
    assert reader.got() == []
    assert reader.asked() == (0, 5)
    reader.chunk(0, b"".join(log.records[2:4]), 7)
    assert reader.got() == [b"d", b"e", b"", b"f", b"g", b"h"]
    assert reader.asked() is None
    assert (reader.core.stats.gaps, reader.core.stats.replays) == (1, 2)


def test_the_node_that_publishes_the_feed_is_asked_last() -> None:
    log = small_log()
    reader = Reader()
    reader.asked()
    reader.chunk(0, log.records[0], 1)
    reader.head(10, node="b", epoch=2)
    assert reader.asked() == (1, 2), "b publishes now"
    reader.chunk(1, b"", 1)
    assert reader.asked() == (0, 2)


def test_replay_and_feed_may_overlap() -> None:
    log = small_log()
    reader = caught_up(log, 4)
    reader.feed(log.records[3], log.records[4])
    reader.asked()
    reader.chunk(0, b"".join(log.records[1:]), 10)
    reader.feed(*log.records[2:])
    assert reader.got() == [b"d", b"e", b"", b"f", b"g", b"h"]


def test_a_head_beyond_what_was_read_shows_a_loss_at_the_tail() -> None:
    log = small_log()
    reader = caught_up(log, 8)
    reader.head(8)
    assert reader.asked() is None
    reader.head(10)
    assert reader.asked() == (0, 9)
    assert reader.core.head_seq == 10


def test_what_is_kept_is_bounded_and_the_oldest_give_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("interlock.client.order_core.CONSUMER_LIVE_BYTES", 250)
    log = LogBook()
    log.open(1)
    for number in range(1, 10):
        log.data(b"%d" % number, producer_seq=number)
    reader = caught_up(log, 1)
    reader.feed(*log.records[3:9])  # 3 to 8, of which three fit: 6, 7, 8
    reader.asked()
    reader.chunk(0, log.records[1], 10)
    assert reader.got() == [b"1"]
    assert reader.asked() == (0, 3)
    reader.chunk(0, b"".join(log.records[2:5]), 10)
    assert reader.got() == [b"2", b"3", b"4"]
    assert reader.asked() == (0, 6)
    reader.chunk(0, b"".join(log.records[5:7]), 10)
    assert reader.got() == [b"5", b"6", b"7", b"8"]


def test_repeated_frames_do_not_disturb_what_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("interlock.client.order_core.CONSUMER_LIVE_BYTES", 250)
    log = LogBook()
    log.open(1)
    for number in range(1, 7):
        log.data(b"%d" % number, producer_seq=number)
    reader = caught_up(log, 1)
    reader.feed(*log.records[4:7], *log.records[4:6])
    reader.asked()
    reader.chunk(0, b"".join(log.records[1:4]), 7)
    assert reader.got() == [b"1", b"2", b"3", b"4", b"5", b"6"]


def test_a_standby_that_does_not_know_yet_is_no_reason_to_wait() -> None:
    log = small_log()
    reader = caught_up(log, 4)
    reader.feed(log.records[3])
    assert reader.asked() == (0, 5)
    reader.chunk(0, b"", 4)
    assert reader.asked() == (1, 5)
    reader.chunk(1, log.records[2], 7)
    assert reader.got() == [b"d", b"e", b""]


def test_a_round_without_progress_is_followed_by_a_pause() -> None:
    log = small_log()
    reader = caught_up(log, 4)
    reader.feed(log.records[3])
    reader.asked()
    reader.chunk(0, b"", 4)
    reader.asked()
    reader.refuse(1, Reason.BUSY)
    assert reader.asked() is None
    reader.pass_ms(49)
    assert reader.asked() is None
    reader.pass_ms(1)
    assert reader.asked() == (0, 5)


def test_a_silent_node_is_given_up_after_a_second_and_a_late_answer_still_counts() -> None:
    log = small_log()
    reader = Reader()
    reader.asked()
    late = reader.last.request
    reader.pass_ms(999)
    assert reader.asked() is None
    reader.pass_ms(1)
    assert reader.asked() == (1, 1)
    reader.chunk(0, log.records[0], 1, request=late)
    assert reader.got() != []
    assert reader.core.error is None


def test_a_node_that_is_not_connected_is_passed_over() -> None:
    reader = Reader()
    reader.asked()
    reader.core.unsent(reader.now)
    assert reader.asked() == (1, 1)
    reader.core.unsent(reader.now)
    assert reader.asked() is None
    reader.pass_ms(50)
    assert reader.asked() == (0, 1)


def test_without_any_feed_replay_is_asked_once_a_second() -> None:
    log = small_log()
    reader = caught_up(log, 4)
    asked = 0
    for _ in range(100):
        reader.pass_ms(50)
        if reader.asked():
            asked += 1
            reader.chunk(0, b"", 4)
    assert asked == 5
    reader.pass_ms(1_000)
    reader.asked()
    reader.chunk(0, log.records[2], 6)
    assert reader.got() == [b"d", b"e"]
