"""The blocking consumer on real sockets, against nodes that do what the test says."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from itertools import islice

import pytest

from interlock.client import (
    BeyondHeadError,
    ClientError,
    ClosedError,
    Consumer,
    HistoryError,
    TimeoutExpired,
)
from interlock.shared.errors import UserError
from interlock.shared.wire import Kind
from interlock.tests.unit.client_fake_node import FakeNode
from interlock.tests.unit.client_kit import LogBook


@pytest.fixture
def node() -> Iterator[FakeNode]:
    node = FakeNode()
    yield node
    node.stop()


def reader(*nodes: FakeNode, **options: object) -> Consumer:
    return Consumer(
        feeds=[node.feed for node in nodes],
        replays=[node.replay for node in nodes],
        **options,  # type: ignore[arg-type]
    )


def fill(node: FakeNode, first: int, last: int, publish: bool = True) -> None:
    for number in range(first, last + 1):
        node.append(b"%d" % number, b"%d'" % number, publish=publish)


def expected(first: int, last: int) -> list[bytes]:
    return [body for n in range(first, last + 1) for body in (b"%d" % n, b"%d'" % n)]


def test_it_reads_what_was_and_what_comes(node: FakeNode) -> None:
    fill(node, 1, 200)
    with reader(node) as consumer:
        old = list(islice(consumer, 400))
        assert [message.body for message in old] == expected(1, 200)
        assert [message.seq for message in old] == list(range(2, 402))
        assert [message.producer_seq for message in old] == list(range(1, 401))
        assert {(m.epoch, m.producer, m.kind) for m in old} == {(1, "other", Kind.DATA)}
        fill(node, 201, 300)
        assert [message.body for message in islice(consumer, 200)] == expected(201, 300)
        assert consumer.head >= 601
        assert consumer.stats.dropped_frames == 0


def test_what_the_feed_drops_is_replayed(node: FakeNode) -> None:
    with reader(node) as consumer:
        fill(node, 1, 5)
        assert [message.body for message in islice(consumer, 10)] == expected(1, 5)
        fill(node, 6, 10, publish=False)
        fill(node, 11, 15)
        fill(node, 16, 20, publish=False)  # the head shows this one
        assert [message.body for message in islice(consumer, 30)] == expected(6, 20)
        assert consumer.stats.replays >= 2


def test_next_says_when_nothing_came(node: FakeNode) -> None:
    with reader(node) as consumer:
        with pytest.raises(TimeoutExpired, match=r"within 0.05 s"):
            consumer.next(timeout=0.05)
        node.append(b"x")
        assert consumer.next(timeout=60).body == b"x"


def test_it_goes_on_from_a_position(node: FakeNode) -> None:
    fill(node, 1, 3)
    with reader(node) as consumer:
        assert consumer.position is not None
        assert consumer.position.seq == 0
        consumer.next()
        assert consumer.position.seq == 1, "only the epoch record before it is whole"
        consumer.next()
        assert consumer.position.seq == 3
        for _ in consumer:
            break
        assert consumer.position.seq == 3
        assert consumer.next().body == b"2'", "leaving a loop skips nothing"
        position = consumer.position
    with reader(node, after=position) as consumer:
        assert consumer.next().body == b"3"
    with reader(node, from_seq=4) as consumer:
        assert consumer.position is None
        assert consumer.next().seq == 4


def test_it_begins_with_what_is_released_from_now_on(node: FakeNode) -> None:
    fill(node, 1, 3)
    with reader(node, from_seq=None) as consumer:
        with pytest.raises(TimeoutExpired):
            consumer.next(timeout=0.2)
        assert consumer.head == 7
        node.append(b"new")
        assert consumer.next(timeout=60).body == b"new"


def test_control_records_are_shown_on_request(node: FakeNode) -> None:
    node.append(b"x")
    with reader(node, control=True) as consumer:
        kinds = [message.kind for message in islice(consumer, 2)]
    assert kinds == [Kind.EPOCH_OPENED, Kind.DATA]


def test_it_outlives_a_restart_of_the_node(node: FakeNode) -> None:
    with reader(node) as consumer:
        fill(node, 1, 5)
        assert [message.body for message in islice(consumer, 10)] == expected(1, 5)
        node.stop()
        node.start()
        fill(node, 6, 10)
        assert [message.body for message in islice(consumer, 10)] == expected(6, 10)


def test_replay_comes_from_whichever_node_answers(node: FakeNode) -> None:
    standby = FakeNode("b")
    standby.publishing = False
    fill(node, 1, 5)
    standby.log = node.log
    standby.mute = True
    with reader(standby, node) as consumer:
        assert [message.body for message in islice(consumer, 10)] == expected(1, 5)
    standby.stop()


def test_another_history_ends_reading(node: FakeNode) -> None:
    fill(node, 1, 5)
    with reader(node) as consumer:
        assert len(list(islice(consumer, 10))) == 10
        other = LogBook()
        other.open(1)
        for number in range(20):
            other.data(b"x", producer_seq=number + 1)
        node.log = other
        with pytest.raises(HistoryError, match="another history"):
            consumer.next(timeout=60)
        with pytest.raises(HistoryError):
            next(iter(consumer))


def test_another_cluster_ends_reading(node: FakeNode) -> None:
    with reader(node, cluster="mine") as consumer, pytest.raises(HistoryError, match="mine"):
        consumer.next(timeout=60)


def test_beyond_the_head_names_the_head(node: FakeNode) -> None:
    fill(node, 1, 5)
    with (
        reader(node, from_seq=99) as consumer,
        pytest.raises(BeyondHeadError, match="released up to 11; read from 12"),
    ):
        consumer.next(timeout=60)


def read_until_refused(consumer: Consumer) -> None:
    while True:
        consumer.next(timeout=0)


def test_close_ends_the_loop_of_another_thread(node: FakeNode) -> None:
    consumer = reader(node)
    node.append(b"x")
    read: list[bytes] = []
    started = threading.Event()

    def loop() -> None:
        for message in consumer:
            read.append(message.body)
            started.set()

    thread = threading.Thread(target=loop)
    thread.start()
    assert started.wait(60)
    with pytest.raises(ClientError, match="one at a time"):
        read_until_refused(consumer)
    consumer.close()
    consumer.close()
    thread.join(60)
    assert not thread.is_alive()
    assert read == [b"x"]
    with pytest.raises(ClosedError):
        consumer.next()


def test_mistakes_are_told(node: FakeNode) -> None:
    with pytest.raises(UserError, match="either a configuration"):
        Consumer()
    with pytest.raises(UserError, match="are lists"):
        Consumer(feeds=node.feed, replays=node.replay)
    with pytest.raises(UserError, match="cannot connect to 'nonsense'"):
        Consumer(feeds=["nonsense"], replays=[node.replay])
    with pytest.raises(ValueError, match="from_seq"):
        reader(node, from_seq=0)
