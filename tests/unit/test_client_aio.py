"""The asyncio forms on real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from interlock.client import (
    AsyncConsumer,
    AsyncProducer,
    ClosedError,
    ConnectError,
    HistoryError,
    RefusedError,
    TimeoutExpired,
)
from interlock.shared.errors import Reason
from interlock.shared.messages import Refused
from interlock.tests.unit.client_fake_node import FakeNode, bodies_of
from interlock.tests.unit.client_kit import LogBook


@pytest.fixture
def node() -> Iterator[FakeNode]:
    node = FakeNode()
    yield node
    node.stop()


def reader(node: FakeNode, **options: object) -> AsyncConsumer:
    return AsyncConsumer(feeds=[node.feed], replays=[node.replay], **options)  # type: ignore[arg-type]


def test_messages_are_in_the_log_and_their_tickets_can_be_awaited(node: FakeNode) -> None:
    async def main() -> list[int]:
        async with AsyncProducer("p", endpoints=[node.intake]) as producer:
            tickets = [await producer.send(b"%d" % number) for number in range(1_000)]
            await producer.flush()
            assert all(ticket.done() for ticket in tickets)
            assert (producer.unconfirmed, producer.stats.messages) == (0, 1_000)
            assert producer.confirmed_producer_seq == producer.next_producer_seq - 1 == 1_000
            assert [ticket.producer_seq for ticket in tickets] == list(range(1, 1_001))
            return [await ticket for ticket in tickets]

    assert asyncio.run(main()) == list(range(2, 1_002))
    assert bodies_of(node.log, "p") == [b"%d" % number for number in range(1_000)]


def test_many_tasks_wait_at_once(node: FakeNode) -> None:
    async def main() -> None:
        async with AsyncProducer("p", endpoints=[node.intake], window=20) as producer:

            async def work(number: int) -> list[int]:
                return [
                    await (await producer.send(b"%d %d" % (number, index))) for index in range(50)
                ]

            found = await asyncio.gather(*(work(number) for number in range(30)))
        assert sorted(seq for each in found for seq in each) == list(range(2, 1_502))

    asyncio.run(main())


def test_a_full_window_waits_for_room(node: FakeNode) -> None:
    async def main() -> None:
        async with AsyncProducer("p", endpoints=[node.intake], window=10) as producer:
            for number in range(500):
                await producer.send(b"%d" % number)

    asyncio.run(main())
    assert bodies_of(node.log, "p") == [b"%d" % number for number in range(500)]


def test_the_loop_sends_what_was_collected_while_the_task_does_something_else(
    node: FakeNode,
) -> None:
    async def main() -> None:
        async with AsyncProducer("p", endpoints=[node.intake]) as producer:
            tickets = [await producer.send(b"x") for _ in range(10)]
            while not all(ticket.done() for ticket in tickets):
                await asyncio.sleep(0.005)

    asyncio.run(asyncio.wait_for(main(), 60))


def test_a_node_that_restarts_costs_nothing_but_time(node: FakeNode) -> None:
    async def main() -> None:
        async with AsyncProducer("p", endpoints=[node.intake]) as producer:
            for number in range(300):
                await producer.send(b"%d" % number)
            await asyncio.to_thread(node.stop)
            node.start()
            for number in range(300, 600):
                await producer.send(b"%d" % number)
            await producer.flush()
            assert producer.stats.reconnects >= 1

    asyncio.run(asyncio.wait_for(main(), 60))
    assert bodies_of(node.log, "p") == [b"%d" % number for number in range(600)]


def test_errors_reach_those_who_wait(node: FakeNode) -> None:
    async def main() -> None:
        async with AsyncProducer("p", endpoints=[node.intake]) as producer:
            node.mute = True
            ticket = await producer.send(b"x")
            with pytest.raises(TimeoutExpired, match="it may still be"):
                await ticket.result(timeout=0.05)
            with pytest.raises(TimeoutExpired):
                await producer.flush(timeout=0.05)
            waiting = asyncio.ensure_future(ticket.result())
            await asyncio.sleep(0)
            producer.close()
            with pytest.raises(ClosedError):
                await waiting
            with pytest.raises(ClosedError):
                await producer.send(b"y")
            with pytest.raises(ClosedError):
                await ticket
            raise KeyError("leave without waiting")

    with pytest.raises(KeyError):
        asyncio.run(asyncio.wait_for(main(), 60))


def test_a_final_refusal_ends_a_waiting_send(node: FakeNode) -> None:
    node.script = lambda submit: Refused(Reason.MALFORMED, "not ours", submit.session)

    async def main() -> None:
        async with AsyncProducer("p", endpoints=[node.intake], window=1) as producer:
            await producer.send(b"x")
            with pytest.raises(RefusedError):
                await producer.send(b"y")
            raise KeyError("leave without waiting")

    with pytest.raises(KeyError):
        asyncio.run(asyncio.wait_for(main(), 60))


def test_without_a_primary_entering_says_so() -> None:
    async def main() -> None:
        async with AsyncProducer("p", endpoints=["tcp://127.0.0.1:9"], connect_timeout=0.1):
            pass

    with pytest.raises(ConnectError, match=r"within 0.1 s.*tcp://127.0.0.1:9"):
        asyncio.run(main())


def test_a_cancelled_wait_leaves_the_rest_alone(node: FakeNode) -> None:
    async def main() -> None:
        async with AsyncProducer("p", endpoints=[node.intake]) as producer:
            node.mute = True
            ticket = await producer.send(b"x")
            waiting = [asyncio.ensure_future(ticket.result()) for _ in range(2)]
            await asyncio.sleep(0.01)
            waiting[0].cancel()
            node.mute = False
            assert await waiting[1] == 2

    asyncio.run(asyncio.wait_for(main(), 60))


def test_it_reads_what_was_and_what_comes(node: FakeNode) -> None:
    node.append(*(b"%d" % number for number in range(100)))

    async def main() -> list[bytes]:
        read: list[bytes] = []
        async with reader(node) as consumer:
            async for message in consumer:
                read.append(message.body)
                if len(read) == 100:
                    assert consumer.position is not None
                    assert consumer.position.seq == consumer.head == 101
                    node.append(b"live", publish=False)
                if len(read) == 101:
                    break
            node.append(b"last")
            read.append((await consumer.next(timeout=60)).body)
            with pytest.raises(TimeoutExpired, match=r"within 0.05 s"):
                await consumer.next(timeout=0.05)
            assert consumer.stats.records == 4
        return read

    assert asyncio.run(main()) == [*(b"%d" % n for n in range(100)), b"live", b"last"]


def test_close_ends_the_loop_of_another_task(node: FakeNode) -> None:
    async def main() -> None:
        consumer = reader(node)

        async def loop() -> int:
            return len([message async for message in consumer])

        task = asyncio.ensure_future(loop())
        await asyncio.sleep(0.05)
        consumer.close()
        assert await task == 0
        consumer.close()
        with pytest.raises(ClosedError):
            await consumer.next()

    asyncio.run(asyncio.wait_for(main(), 60))


def test_another_history_ends_reading(node: FakeNode) -> None:
    node.append(b"x")

    async def main() -> None:
        async with reader(node) as consumer:
            await consumer.next()
            other = LogBook()
            other.open(1)
            for number in range(5):
                other.data(b"y", producer_seq=number + 1)
            node.log = other
            with pytest.raises(HistoryError):
                await consumer.next(timeout=60)

    asyncio.run(main())
