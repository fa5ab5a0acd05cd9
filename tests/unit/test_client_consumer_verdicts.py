"""Transcripts of a reader that meets other histories, damage and refusals: when it goes on, and
when it ends. The rules are in `client/order_core.py` and `client/replay_core.py`.
"""

from __future__ import annotations

import pytest

from interlock.client.errors import (
    BeyondHeadError,
    ClientError,
    HistoryError,
    NotRetainedError,
    RefusedError,
)
from interlock.shared.errors import Reason
from interlock.shared.messages import (
    ReplayRefused,
    encode,
)
from interlock.shared.wire import parse_records
from interlock.tests.unit.client_kit import (
    CLUSTER,
    SECOND,
    LogBook,
    Reader,
    caught_up,
    damaged,
    small_log,
)

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
