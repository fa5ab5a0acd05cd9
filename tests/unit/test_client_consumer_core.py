"""Transcripts of a reader: feed, gaps, replay, other histories. The rules are in
`client/consumer_core.py`, `client/order_core.py` and `client/replay_core.py`.
"""

from __future__ import annotations

from typing import Any

import pytest

from interlock.client.consumer_core import ConsumerCore
from interlock.client.errors import (
    BeyondHeadError,
    ClientError,
    HistoryError,
    NotRetainedError,
    RefusedError,
)
from interlock.shared.errors import Reason
from interlock.shared.messages import (
    Codec,
    Head,
    ReplayChunk,
    ReplayRefused,
    ReplayRequest,
    encode,
)
from interlock.shared.wire import GENESIS, Position, parse_records
from interlock.tests.unit.client_kit import CLUSTER, MS, SECOND, LogBook, damaged

_requests: Codec[ReplayRequest] = Codec(ReplayRequest)


class Reader:
    """A ConsumerCore, the time, and short ways to say what the nodes say.

    Node 0 is `b`, the standby; node 1 is `a`, which publishes.
    """

    def __init__(self, nodes: int = 2, cluster: str = CLUSTER, **options: Any) -> None:
        self.now = 1 * SECOND
        self.core = ConsumerCore(cluster, nodes, self.now, **options)

    def asked(self) -> tuple[int, int] | None:
        """(node, from_seq) of the request that the core wants to send."""
        request, self.core.request = self.core.request, None
        if request is None:
            return None
        node, frame = request
        self.last = _requests.decode(frame)
        return node, self.last.from_seq

    def got(self) -> list[bytes]:
        """The bodies delivered since the last call."""
        found: list[bytes] = []
        while self.core.deliveries:
            delivery = self.core.deliveries.popleft()
            found += delivery.bodies[delivery.skip :]
        return found

    def feed(self, *frames: bytes) -> None:
        for frame in frames:
            self.core.feed(frame, self.now)

    def head(self, seq: int, epoch: int = 1, node: str = "a", cluster: str = CLUSTER) -> None:
        self.feed(encode(Head(cluster, node, epoch, seq)))

    def chunk(self, node: int, records: bytes, released: int, request: int | None = None) -> None:
        number = self.last.request if request is None else request
        message = ReplayChunk(number, CLUSTER, "ba"[node], released, 1, memoryview(records))
        self.core.replayed(node, encode(message), self.now)

    def refuse(self, node: int, reason: Reason, first: int = 1, released: int = 0) -> None:
        message = ReplayRefused(self.last.request, reason, "because", first, released)
        self.core.replayed(node, encode(message), self.now)

    def pass_ms(self, ms: float) -> None:
        end = self.now + int(ms * MS)
        at_once = 0
        while self.core.deadline_ns <= end:
            at_once = at_once + 1 if self.core.deadline_ns <= self.now else 0
            assert at_once < 4, "the core asks to be ticked at once again and again"
            self.now = max(self.now, self.core.deadline_ns)
            self.core.tick(self.now)
        self.now = end


def small_log() -> LogBook:
    """1: epoch; 2-4: a b c; 5-6: d e; 7: tick; 8: f; 9-10: g h."""
    log = LogBook()
    log.open(1)
    log.data(b"a", b"b", b"c")
    log.data(b"d", b"e", producer_seq=4)
    log.tick()
    log.data(b"f", producer_seq=6)
    log.data(b"g", b"h", producer_seq=7)
    return log


def caught_up(log: LogBook, upto: int, **options: Any) -> Reader:
    """A reader that has read the records of `log` that end at `upto` or before."""
    reader = Reader(**options)
    node, from_seq = reader.asked() or (0, 0)
    reader.chunk(node, log.replay(from_seq, upto=upto), upto)
    reader.got()
    assert reader.asked() is None
    return reader


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


# Other histories ------------------------------------------------------------------------------


def test_another_record_at_the_next_seq_ends_reading() -> None:
    log = small_log()
    other = LogBook()
    other.open(1)
    other.data(b"x", b"y", b"z")
    other.data(b"d", b"e", producer_seq=4)
    reader = caught_up(log, 4)
    reader.feed(other.records[2])
    assert isinstance(reader.core.error, HistoryError)
    assert "another history" in str(reader.core.error)
    assert reader.got() == []
    reader.feed(log.records[2])
    assert reader.got() == [], "an error is final"


def test_another_record_at_a_seq_that_was_read_ends_reading() -> None:
    log = small_log()
    other = LogBook()
    other.open(1)
    other.data(b"a", b"b", b"c")
    other.data(b"d", b"E", producer_seq=4)
    reader = caught_up(log, 6)
    reader.feed(log.records[2])
    assert reader.core.error is None
    reader.feed(other.records[2])
    assert isinstance(reader.core.error, HistoryError)


def test_other_record_boundaries_are_another_history() -> None:
    log = small_log()
    other = LogBook()
    other.open(1)
    other.data(b"a", b"b", b"c")
    other.data(b"d", producer_seq=4)
    reader = caught_up(log, 6)
    reader.feed(other.records[2])
    assert isinstance(reader.core.error, HistoryError)


def test_a_lower_epoch_ends_reading() -> None:
    log = small_log()
    log.open(5)
    lower = log.copy()
    lower.epoch = 4
    reader = caught_up(log, 11)
    reader.feed(lower.data(b"x", producer_seq=9))
    assert isinstance(reader.core.error, HistoryError)
    assert "epoch 4, not 5" in str(reader.core.error)


def test_a_new_epoch_is_followed() -> None:
    log = small_log()
    reader = caught_up(log, 10)
    reader.feed(log.open(3), log.data(b"x", producer_seq=9))
    assert reader.got()[1:] == [b"x"]


def test_the_first_record_of_a_log_follows_nothing() -> None:
    fake = LogBook()
    fake._hash = 99
    reader = Reader()
    reader.asked()
    reader.chunk(0, fake.open(1), 1)
    assert isinstance(reader.core.error, HistoryError)


def test_a_record_whose_count_lies_ends_reading() -> None:
    log = LogBook()
    log.open(1)
    lie = log._add(parse_records(small_log().records[1])[0].kind, "p", 1, 3, b"\x91\xc4\x01x")
    reader = caught_up(log, 1)
    reader.feed(lie)
    assert isinstance(reader.core.error, HistoryError)
    assert "counts 3 messages and holds 1" in str(reader.core.error)


@pytest.mark.parametrize("where", ["feed", "replay"])
def test_another_cluster_ends_reading(where: str) -> None:
    reader = Reader(cluster="another")
    reader.asked()
    if where == "feed":
        reader.head(5)
    else:
        reader.chunk(0, b"", 5)
    assert isinstance(reader.core.error, HistoryError)
    assert CLUSTER in str(reader.core.error)


def test_without_a_cluster_the_first_one_met_counts() -> None:
    reader = Reader(cluster="", from_seq=None)
    reader.head(5)
    reader.head(5)
    assert reader.core.error is None
    reader.head(5, cluster="another")
    assert isinstance(reader.core.error, HistoryError)


# Damage ------------------------------------------------------------------------------------------


def test_a_damaged_feed_frame_is_dropped_and_replayed() -> None:
    log = small_log()
    reader = caught_up(log, 4)
    reader.feed(damaged(log.records[2]), b"", b"\x93junk")
    assert reader.core.stats.dropped_frames == 3
    reader.feed(log.records[3])
    assert reader.asked() == (0, 5)
    reader.chunk(0, log.records[2], 7)
    assert reader.got() == [b"d", b"e", b""]


def test_a_damaged_replay_is_asked_of_the_other_node() -> None:
    log = small_log()
    reader = Reader()
    reader.asked()
    reader.chunk(0, damaged(log.records[0]), 1)
    assert reader.asked() == (1, 1)
    reader.chunk(1, log.records[0], 1)
    assert len(reader.got()) == 1
    assert reader.core.error is None


def test_a_node_with_damage_is_asked_last_from_then_on() -> None:
    reader = Reader()
    reader.asked()
    reader.chunk(0, damaged(small_log().records[0]), 1)
    reader.asked()
    reader.refuse(1, Reason.BUSY)
    reader.pass_ms(50)
    assert reader.asked() == (1, 1)


@pytest.mark.parametrize("nodes", [1, 2])
def test_damage_on_all_nodes_ends_reading(nodes: int) -> None:
    log = small_log()
    reader = Reader(nodes=nodes)
    for _ in range(2):
        assert reader.core.error is None
        node, _seq = reader.asked() or (0, 0)
        reader.chunk(node, damaged(log.records[0]), 1)
    assert isinstance(reader.core.error, HistoryError)
    assert "no node returns seq 1 undamaged" in str(reader.core.error)


def test_an_answer_that_begins_too_late_is_as_bad_as_damage() -> None:
    log = small_log()
    reader = Reader()
    reader.asked()
    reader.chunk(0, log.records[1], 4)
    assert reader.asked() == (1, 1)
    assert reader.core.stats.dropped_frames == 1


def test_bytes_that_are_no_answer_are_dropped() -> None:
    reader = Reader()
    reader.asked()
    reader.core.replayed(0, b"\xc1", reader.now)
    assert reader.asked() == (1, 1)


# Refusals -----------------------------------------------------------------------------------------


def test_beyond_the_head_needs_the_word_of_both_nodes() -> None:
    reader = Reader(from_seq=50)
    reader.asked()
    reader.refuse(0, Reason.BEYOND_HEAD, released=7)
    assert reader.core.error is None
    assert reader.asked() == (1, 50)
    reader.refuse(1, Reason.BEYOND_HEAD, released=10)
    error = reader.core.error
    assert isinstance(error, BeyondHeadError)
    assert (error.from_seq, error.released_seq) == (50, 10)


def test_a_lagging_standby_and_a_silent_primary_are_waited_for() -> None:
    reader = Reader(from_seq=50)
    for _ in range(5):
        while reader.asked() is None:
            reader.pass_ms(10)
        reader.refuse(0, Reason.BEYOND_HEAD, released=7)
        assert reader.asked() == (1, 50)
        reader.pass_ms(1_000)
    assert reader.core.error is None


def test_beyond_the_head_is_no_error_for_what_was_read_or_what_the_feed_has_shown() -> None:
    log = small_log()
    reader = Reader(after=parse_records(log.records[2])[0].position)
    named = Reader(from_seq=7)
    named.head(8)
    for each in (reader, named):
        each.asked()
        each.refuse(0, Reason.BEYOND_HEAD, released=2)
        each.asked()
        each.refuse(1, Reason.BEYOND_HEAD, released=2)
        assert each.core.error is None
        each.pass_ms(50)
        assert each.asked() == (0, 7)
        each.chunk(0, log.records[3], 7)
        assert each.got() == [b""]


def test_not_retained_needs_the_word_of_both_nodes() -> None:
    reader = Reader(from_seq=5)
    reader.asked()
    reader.refuse(0, Reason.NOT_RETAINED, first=30)
    reader.asked()
    reader.refuse(1, Reason.NOT_RETAINED, first=20)
    error = reader.core.error
    assert isinstance(error, NotRetainedError)
    assert (error.from_seq, error.first_seq) == (5, 20)


def test_what_one_node_retains_is_read_there() -> None:
    log = small_log()
    reader = Reader(from_seq=5)
    reader.asked()
    reader.refuse(0, Reason.NOT_RETAINED, first=30)
    reader.asked()
    reader.chunk(1, log.records[2], 6)
    assert reader.got() == [b"d", b"e"]


@pytest.mark.parametrize("connected", [True, False])
def test_not_retained_stands_when_the_other_node_stays_silent(connected: bool) -> None:
    reader = Reader(from_seq=5)
    reader.asked()
    reader.refuse(0, Reason.NOT_RETAINED, first=30)
    start = reader.now
    while reader.core.error is None:
        asked = reader.asked()
        if asked and asked[0] == 0:
            reader.refuse(0, Reason.NOT_RETAINED, first=30)
        elif asked and not connected:
            reader.core.unsent(reader.now)
        reader.pass_ms(10)
    assert isinstance(reader.core.error, NotRetainedError)
    assert reader.core.error.first_seq == 30
    assert reader.now - start >= SECOND


@pytest.mark.parametrize(
    ("reason", "kind"),
    [(Reason.WRONG_CLUSTER, HistoryError), (Reason.WRONG_VERSION, RefusedError)],
)
def test_a_refusal_that_would_come_again_is_final(reason: Reason, kind: type[ClientError]) -> None:
    reader = Reader()
    reader.asked()
    reader.refuse(0, reason)
    assert isinstance(reader.core.error, kind)
    assert "because" in str(reader.core.error)


def test_a_late_refusal_means_nothing() -> None:
    reader = Reader()
    reader.asked()
    late = reader.last.request
    reader.pass_ms(1_000)
    reader.asked()
    message = ReplayRefused(late, Reason.WRONG_VERSION, "late", 1, 0)
    reader.core.replayed(0, encode(message), reader.now)
    assert reader.core.error is None
