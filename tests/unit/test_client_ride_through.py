"""Producers and consumers on real sockets ride through changes of leader, against two nodes that do
what the test says. How soon is said by transcripts (`test_client_leader_change`); here it must work
at all, in the blocking and in the asyncio form, without a caller that helps.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from itertools import islice

import pytest

from interlock.client import AsyncConsumer, AsyncProducer, Consumer, HistoryError, Producer
from interlock.shared.wire import Kind
from interlock.tests.unit.client_fake_node import FakeNode, bodies_of
from interlock.tests.unit.test_client_producer import eventually

Pair = tuple[FakeNode, FakeNode]


@pytest.fixture
def pair() -> Iterator[Pair]:
    """`a` leads, `b` is its standby."""
    a, b = FakeNode("a"), FakeNode("b")
    b.follow(a)
    yield a, b
    a.stop()
    b.stop()


def intakes(pair: Pair) -> list[str]:
    return [node.intake for node in pair]


def readers(pair: Pair) -> dict[str, list[str]]:
    a, b = pair
    return {"feeds": [a.feed, b.feed], "replays": [b.replay, a.replay]}


# Producers --------------------------------------------------------------------------------------


def test_a_redirected_producer_goes_on_and_what_was_sequenced_keeps_its_seq(pair: Pair) -> None:
    """The first five are in the log that the new leader has, unconfirmed; they get their seqs."""
    a, b = pair
    with Producer("p", endpoints=intakes(pair), record_messages=1) as producer:
        assert producer.send(b"0").result(60) == 2
        a.releasing = False
        tickets = [producer.send(b"%d" % number) for number in range(1, 6)]
        eventually(lambda: a.table.get("p").last_producer_seq == 6)  # type: ignore[union-attr]
        with a.lock:
            a.draining = True
        tickets += [producer.send(b"%d" % number) for number in range(6, 9)]
        b.take_over(a, 2)
        a.follow(b)
        assert [ticket.result(60) for ticket in tickets] == [3, 4, 5, 6, 7, 9, 10, 11]
        assert producer.send(b"9").result(60) == 12
    assert bodies_of(b.log, "p") == [b"%d" % number for number in range(10)]
    assert b.hellos[-1].resume


def test_what_the_new_leader_lacks_is_sequenced_there(pair: Pair) -> None:
    a, b = pair
    with Producer("p", endpoints=intakes(pair), record_messages=1) as producer:
        assert producer.send(b"0").result(60) == 2
        a.releasing = False
        tickets = [producer.send(b"%d" % number) for number in range(1, 6)]
        eventually(lambda: a.table.get("p").last_producer_seq == 6)  # type: ignore[union-attr]
        a.stop()
        b.take_over(a, 2, lost=2)
        assert [ticket.result(60) for ticket in tickets] == [3, 4, 5, 7, 8]
    assert bodies_of(b.log, "p") == [b"%d" % number for number in range(6)]
    a.start()


def test_a_hello_that_is_held_is_answered_when_the_epoch_is_open(pair: Pair) -> None:
    a, b = pair
    with Producer("p", endpoints=intakes(pair)) as producer:
        assert producer.send(b"0").result(60) == 2
        with b.lock:
            b.leader, b.holding = None, True
        a.follow(b)
        ticket = producer.send(b"1")
        eventually(lambda: len(b.hellos) > 0)
        assert not ticket.done()
        b.take_over(a, 2)
        assert ticket.result(60) == 4


@pytest.mark.parametrize("how", ["killed", "frozen"])
def test_a_standby_that_is_promoted_is_found(pair: Pair, how: str) -> None:
    a, b = pair
    with Producer("p", endpoints=intakes(pair)) as producer:
        assert producer.send(b"0").result(60) == 2
        if how == "killed":
            a.stop()
        else:
            a.lock.acquire()
            a.mute = True
            a.lock.release()
        ticket = producer.send(b"1")
        eventually(lambda: producer.stats.refused.get("not-primary", 0) >= 2)
        assert not ticket.done()
        b.take_over(a, 2)
        assert ticket.result(60) == 4
        assert producer.stats.reconnects == 1
    if how == "killed":
        a.start()


def test_nobody_leads_for_a_while(pair: Pair) -> None:
    """Both name each other; asked at a bounded rate, until one leads."""
    a, b = pair
    with Producer("p", endpoints=intakes(pair)) as producer:
        assert producer.send(b"0").result(60) == 2
        a.follow(b)
        ticket = producer.send(b"1")
        eventually(lambda: producer.stats.refused.get("not-primary", 0) >= 12)
        a.take_over(a, 2)
        assert ticket.result(60) == 4


def test_threads_that_send_and_wait_ride_through_changes_to_and_fro(pair: Pair) -> None:
    leader, other = pair
    seqs: list[int] = []
    stop = threading.Event()
    with Producer("p", endpoints=intakes(pair)) as producer:

        def work() -> None:
            while not stop.is_set():
                seqs.append(producer.send(b"x").result(60))

        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads:
            thread.start()
        for epoch in range(2, 12):
            before = len(seqs)
            eventually(lambda before=before: len(seqs) > before + 20)  # type: ignore[misc]
            with leader.lock:
                leader.draining = True
            other.take_over(leader, epoch)
            leader.follow(other)
            leader, other = other, leader
        stop.set()
        for thread in threads:
            thread.join(60)
        assert producer.stats.reconnects >= 10
    assert len(set(seqs)) == len(seqs) == len(bodies_of(leader.log, "p"))


def test_the_asyncio_producer_rides_through(pair: Pair) -> None:
    a, b = pair

    async def main() -> list[int]:
        async with AsyncProducer("p", endpoints=intakes(pair)) as producer:
            first = await (await producer.send(b"0"))
            with a.lock:
                a.draining = True
            tickets = [await producer.send(b"%d" % number) for number in range(1, 4)]
            b.take_over(a, 2)
            a.follow(b)
            found = [first] + [await ticket for ticket in tickets]
            with b.lock:
                b.mute = True
            ticket = await producer.send(b"4")
            a.take_over(b, 3)
            return [*found, await ticket]

    assert asyncio.run(asyncio.wait_for(main(), 60)) == [2, 4, 5, 6, 8]
    assert bodies_of(a.log, "p") == [b"%d" % number for number in range(5)]


# Consumers --------------------------------------------------------------------------------------


def test_a_consumer_reads_over_a_change_of_leader(pair: Pair) -> None:
    a, b = pair
    with Consumer(**readers(pair)) as consumer:  # type: ignore[arg-type]
        a.append(b"1")
        assert consumer.next(60).body == b"1"
        a.append(b"2", publish=False)
        b.take_over(a, 2)
        a.follow(b)
        b.append(b"3")
        found = list(islice(consumer, 2))
        assert [(message.seq, message.epoch, message.body) for message in found] == [
            (3, 1, b"2"),
            (5, 2, b"3"),
        ]
        a.take_over(b, 5)
        b.follow(a)
        a.append(b"4")
        assert consumer.next(60).seq == 7


def test_a_consumer_that_read_what_was_given_up_stops(pair: Pair) -> None:
    a, b = pair
    with Consumer(**readers(pair), control=True) as consumer:  # type: ignore[arg-type]
        for number in range(3):
            a.append(b"%d" % number)
        assert [message.body for message in islice(consumer, 4)][1:] == [b"0", b"1", b"2"]
        a.follow(b)
        b.take_over(a, 2, lost=2)
        b.append(b"x")
        with pytest.raises(HistoryError, match=r"seq \d+ .*epoch 2.*epoch 1 was read"):
            consumer.next(60)


def test_the_asyncio_consumer_reads_over_a_change_of_leader(pair: Pair) -> None:
    a, b = pair

    async def main() -> list[tuple[int, Kind]]:
        async with AsyncConsumer(**readers(pair), control=True) as consumer:  # type: ignore[arg-type]
            a.append(b"1")
            found = [await consumer.next(60), await consumer.next(60)]
            b.take_over(a, 2)
            a.follow(b)
            b.append(b"2")
            found += [await consumer.next(60), await consumer.next(60)]
            return [(message.seq, message.kind) for message in found]

    assert asyncio.run(main()) == [
        (1, Kind.EPOCH_OPENED),
        (2, Kind.DATA),
        (3, Kind.EPOCH_OPENED),
        (4, Kind.DATA),
    ]
