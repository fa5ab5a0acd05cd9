"""The rule of an edge-triggered descriptor, which no result shows when it is broken, only delay.

Any use of a ZeroMQ socket takes the note away that its descriptor is readable. So whoever is going
to wait must have found the socket empty after its last use of it: an answer that came with a send
would otherwise lie there until something else happens.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Callable, Sequence
from typing import ClassVar

import pytest
import zmq

from interlock.client.aio import AsyncProducer
from interlock.client.channel import Channel
from interlock.client.endpoints import Endpoints
from interlock.client.exchange import Exchange
from interlock.client.local import free_ports
from interlock.client.reading import Reading
from interlock.shared.credentials import Credentials
from interlock.shared.errors import Reason
from interlock.shared.messages import (
    Codec,
    Confirmed,
    IntakeRequest,
    ProducerHello,
    ProducerWelcome,
    Refused,
    ReplayChunk,
    ReplayRefused,
    ReplayRequest,
    Submit,
    encode,
)
from interlock.shared.producers import Run
from interlock.tests.unit.client_kit import CLUSTER, SESSION, LogBook, ProducerDriver

_requests: Codec[IntakeRequest] = Codec(IntakeRequest)
_replay_requests: Codec[ReplayRequest] = Codec(ReplayRequest)


class InstantChannel:
    """A socket whose peer answers within the send, and that knows whether it was found empty."""

    made: ClassVar[list[InstantChannel]]
    answer: ClassVar[Callable[[bytes], list[bytes]]]

    denied = ""

    def __init__(self, kind: int, endpoints: Sequence[str], credentials: Credentials) -> None:
        self.fd, self._peer = os.pipe()
        self.frames: list[bytes] = []
        self.found_empty = False
        self.writable = True
        self.made.append(self)

    def receive(self) -> bytes | None:
        self.found_empty = not self.frames
        return self.frames.pop(0) if self.frames else None

    def send(self, frame: bytes) -> bool:
        self.found_empty = False
        self.frames += type(self).answer(frame)
        return True

    def look(self) -> None:
        """Nobody is denied here."""

    def close(self, linger_ms: int = 0) -> None:
        with contextlib.suppress(RuntimeError):
            assert not asyncio.get_running_loop().remove_reader(self.fd), "closed while watched"
        os.close(self.fd)
        os.close(self._peer)


@pytest.fixture
def channels(monkeypatch: pytest.MonkeyPatch) -> type[InstantChannel]:
    class Channels(InstantChannel):
        made: ClassVar[list[InstantChannel]] = []

    monkeypatch.setattr("interlock.client.exchange.Channel", Channels)
    monkeypatch.setattr("interlock.client.reading.Channel", Channels)
    return Channels


def test_a_producer_waits_only_on_a_socket_that_it_found_empty(
    channels: type[InstantChannel],
) -> None:
    def answer(frame: bytes) -> list[bytes]:
        match _requests.decode(frame):
            case ProducerHello():
                return [encode(ProducerWelcome(SESSION, CLUSTER, "a", 1, 0, 0, 1_000, 100))]
            case Submit(_, _, first, count):
                return [encode(Confirmed(SESSION, 1, [Run(first, first, count)]))]
            case _:
                return []

    channels.answer = staticmethod(answer)
    driver = ProducerDriver()
    exchange = Exchange(driver.core)
    exchange.pump(driver.now)
    assert driver.core.welcomed, "the answer to the hello is taken in the same turn"
    assert channels.made[-1].found_empty
    driver.send(*[b"x"] * 3)
    exchange.pump(driver.now)
    assert driver.core.backlog.unconfirmed == 0, "what the first confirmation let go is confirmed"
    assert channels.made[-1].found_empty


def test_a_hello_goes_out_when_the_connection_shows_only_after_it_was_tried(
    channels: type[InstantChannel], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The socket takes nothing; then, looked at, it has a connection, and its descriptor says no
    more about it."""

    def takes_when_looked_at(self: InstantChannel, frame: bytes) -> bool:
        if not self.found_empty:
            return False
        self.found_empty = False
        self.frames += type(self).answer(frame)
        return True

    def answer(frame: bytes) -> list[bytes]:
        if isinstance(_requests.decode(frame), ProducerHello):
            return [encode(ProducerWelcome(SESSION, CLUSTER, "a", 1, 0, 0, 1_000, 100))]
        return []

    monkeypatch.setattr(channels, "send", takes_when_looked_at)
    channels.answer = staticmethod(answer)
    driver = ProducerDriver()
    Exchange(driver.core).pump(driver.now)
    assert driver.core.welcomed


def test_a_consumer_waits_only_on_sockets_that_it_found_empty(
    channels: type[InstantChannel],
) -> None:
    log = LogBook()
    log.open(1)
    for number in range(1, 6):
        log.data(b"x", producer_seq=number)

    def answer(frame: bytes) -> list[bytes]:
        request = _replay_requests.decode(frame)
        if request.request == 1:
            return [encode(ReplayRefused(1, Reason.BUSY, "ask the other node", 1, 0))]
        raw = memoryview(log.replay(request.from_seq, 2))
        return [encode(ReplayChunk(request.request, CLUSTER, "a", log.last_seq, 1, raw))]

    channels.answer = staticmethod(answer)
    reading = Reading(Endpoints(CLUSTER, feeds=["f"], replays=["r", "s"]), 1, None, control=False)
    feed, *replays = channels.made
    read = 0
    while reading.advance():
        read += len(list(reading.messages))
    assert read == 5
    assert feed.found_empty
    assert [replay.found_empty for replay in replays] == [True, True]


def welcome_only(frame: bytes) -> list[bytes]:
    hello = _requests.decode(frame)
    if isinstance(hello, ProducerHello):
        return [encode(ProducerWelcome(hello.session, CLUSTER, "a", 1, 0, 0, 1_000, 60_000))]
    return []


def confirmed(producer: AsyncProducer, *runs: tuple[int, int, int]) -> bytes:
    return encode(Confirmed(producer._core._session, 1, [Run(*run) for run in runs]))


def test_room_that_shows_while_a_task_looks_for_it_is_not_waited_for(
    channels: type[InstantChannel],
) -> None:
    channels.answer = staticmethod(welcome_only)

    async def main() -> None:
        async with AsyncProducer("p", endpoints=["e"], window=1) as producer:
            await producer.send(b"1")
            channels.made[-1].frames.append(confirmed(producer, (1, 1, 1)))
            await producer.send(b"2")
            channels.made[-1].frames.append(confirmed(producer, (2, 2, 1)))

    asyncio.run(asyncio.wait_for(main(), 10))


def test_a_task_that_waits_for_the_rest_of_a_record_gets_it(
    channels: type[InstantChannel],
) -> None:
    channels.answer = staticmethod(welcome_only)

    async def main() -> None:
        async with AsyncProducer("p", endpoints=["e"]) as producer:
            tickets = [await producer.send(b"x") for _ in range(3)]
            waiting = [asyncio.ensure_future(ticket.result()) for ticket in tickets]
            await asyncio.sleep(0)
            for runs in ([(1, 11, 1)], [(2, 12, 1)], [(3, 23, 1)]):
                channels.made[-1].frames.append(confirmed(producer, *runs))
                producer._pump()
            assert await asyncio.gather(*waiting) == [11, 12, 23]

    asyncio.run(asyncio.wait_for(main(), 10))


def test_a_descriptor_is_not_watched_any_more_when_it_is_closed(
    channels: type[InstantChannel],
) -> None:
    channels.answer = staticmethod(welcome_only)

    async def main() -> None:
        async with AsyncProducer("p", endpoints=["e"]) as producer:
            session = producer._core._session
            channels.made[-1].frames.append(encode(Refused(Reason.NO_SESSION, "", session)))
            producer._pump()
            assert len(channels.made) == 2

    asyncio.run(asyncio.wait_for(main(), 10))


def test_a_channel_says_when_somebody_takes_what_is_sent() -> None:
    """What found nobody is tried again only once the channel is writable: it has to say so."""
    with zmq.Context() as context, context.socket(zmq.ROUTER) as node:
        endpoint = f"tcp://127.0.0.1:{free_ports(1)}"
        channel = Channel(zmq.DEALER, [endpoint])
        try:
            assert channel.receive() is None
            assert not channel.writable
            assert not channel.send(b"nobody is there")
            node.bind(endpoint)
            end = time.monotonic() + 20
            while not channel.writable and time.monotonic() < end:
                assert channel.receive() is None
            assert channel.writable
            assert channel.send(b"hello")
            assert node.recv_multipart()[1] == b"hello"
        finally:
            channel.close()
