"""The asyncio forms: `AsyncProducer` and `AsyncConsumer`, over the same cores.

Decides when to look at the sockets: the loop watches their descriptors itself. `zmq.asyncio` is not
used: it costs a future per frame and was measured several times slower.

All of one object's methods belong to the loop that it was entered on.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Generator, Sequence
from pathlib import Path
from types import TracebackType

import msgspec

from ..shared.clock import now_ns
from ..shared.config import Config
from ..shared.wire import Position
from .backlog import Batch
from .consumer_core import ConsumerStats
from .endpoints import consumer_endpoints, producer_endpoints
from .errors import ClosedError, ConnectError, TimeoutExpired
from .exchange import Exchange
from .line import LOOK_EVERY_NS, Hook, report
from .producer_core import ProducerCore, ProducerStats
from .reading import Message, Reading


class AsyncTicket(msgspec.Struct, gc=False, eq=False):
    """One message that was sent: await it for its seq, if you want that."""

    _producer: AsyncProducer
    _batch: Batch
    _index: int

    @property
    def producer_seq(self) -> int:
        """The message's number in its producer's own count; see `Ticket.producer_seq`."""
        return self._batch.first + self._index

    def done(self) -> bool:
        """Whether the message is confirmed."""
        return self._batch.confirmed > self._index

    def __await__(self) -> Generator[object, None, int]:
        return self.result().__await__()

    async def result(self, timeout: float | None = None) -> int:
        """The message's seq in the log. Raises what `Ticket.result` raises."""
        if self._batch.confirmed <= self._index:
            await self._producer._await(self, timeout)
        return self._batch.seq_at(self._index)


class AsyncProducer:
    """Submits messages under one name, like `Producer`. Use it with `async with`."""

    def __init__(
        self,
        name: str,
        config: Config | str | Path | None = None,
        *,
        endpoints: Sequence[str] | None = None,
        window: int = 65_536,
        record_messages: int = 256,
        record_bytes: int = 65_536,
        records_in_flight: int = 16,
        resume: bool = False,
        connect_timeout: float = 10.0,
        key: str = "",
    ) -> None:
        """As for `Producer`; connects when it is entered."""
        found = producer_endpoints(config, endpoints, key)
        self._core = ProducerCore(
            name,
            found.cluster,
            secrets.randbits(63),
            found.intakes,
            now_ns(),
            window=window,
            record_messages=record_messages,
            record_bytes=record_bytes,
            records_in_flight=records_in_flight,
            resume=resume,
        )
        self._connect_timeout = connect_timeout
        self._exchange = Exchange(self._core, found.credentials, self._unwatch)
        self._watched = -1
        self._look_ns = 0
        self._timer: asyncio.TimerHandle | None = None
        self._timer_ns = 0
        self._tickets: dict[Batch, list[tuple[int, asyncio.Future[None]]]] = {}
        self._moved: list[asyncio.Future[None]] = []
        self.on_record_confirmed: Hook | None = None

    async def __aenter__(self) -> AsyncProducer:
        """Raises RefusedError, or ConnectError when no primary answers in time."""
        core = self._core
        self._pump()
        try:
            async with asyncio.timeout(self._connect_timeout):
                while not core.welcomed:
                    await self._move()
        except TimeoutError:
            self.close()
            raise ConnectError(
                f"the producer {core.name} was not connected within {self._connect_timeout:g} s: "
                f"{core.waiting_for()}"
            ) from None
        except BaseException:
            self.close()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                await self.flush()
        finally:
            self.close()

    async def send(self, body: bytes) -> AsyncTicket:
        """Takes one message; waits only while the window is full. Raises as `Producer.send`."""
        core = self._core
        while True:
            now = now_ns()
            batch = core.submit(body, now)
            if batch is not None:
                if core.outbox or now >= self._look_ns:
                    self._pump()
                return AsyncTicket(self, batch, batch.count - 1)
            confirmed = core.backlog.confirmed
            self._pump()
            if core.backlog.confirmed == confirmed:  # else there is room already
                await self._move()

    async def flush(self, timeout: float | None = None) -> None:
        """Waits until all that was sent before is confirmed. Raises as `Producer.flush`."""
        core = self._core
        core.flush(now_ns())
        self._pump()
        if core.backlog.sealed:
            last = core.backlog.sealed[-1]
            await self._await(AsyncTicket(self, last, last.count - 1), timeout)

    def close(self) -> None:
        """Ends the session without waiting for confirmations. May be called twice."""
        self._exchange.close()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._settle()

    @property
    def next_producer_seq(self) -> int:
        """The number that the next message gets."""
        return self._core.backlog.next

    @property
    def confirmed_producer_seq(self) -> int:
        """The last number that is confirmed, with all before it."""
        return self._core.backlog.confirmed

    @property
    def unconfirmed(self) -> int:
        """Messages that were sent and are not confirmed yet."""
        return self._core.backlog.unconfirmed

    @property
    def stats(self) -> ProducerStats:
        """A copy of the counts since this producer was made."""
        stats = self._core.stats
        return msgspec.structs.replace(stats, refused=dict(stats.refused))

    async def _await(self, ticket: AsyncTicket, timeout: float | None) -> None:
        core = self._core
        if core.error is not None:
            raise core.error.with_traceback(None)
        future = asyncio.get_running_loop().create_future()
        self._tickets.setdefault(ticket._batch, []).append((ticket._index, future))
        try:
            async with asyncio.timeout(timeout):
                await future
        except TimeoutError:
            raise TimeoutExpired(
                f"producer_seq {ticket.producer_seq} of {core.name} was not confirmed within "
                f"{timeout:g} s; it may still be: {core.waiting_for()}"
            ) from None

    async def _move(self) -> None:
        """Until something has changed. Raises the error that ended the producer."""
        if self._core.error is None:
            future = asyncio.get_running_loop().create_future()
            self._moved.append(future)
            await future
        if self._core.error is not None:
            raise self._core.error.with_traceback(None)

    def _pump(self) -> None:
        core, now = self._core, now_ns()
        welcomed = core.welcomed
        self._exchange.pump(now)
        self._look_ns = now + LOOK_EVERY_NS
        self._watch()
        if core.progressed or core.error is not None or core.welcomed != welcomed:
            if self.on_record_confirmed is not None:
                report(core, self.on_record_confirmed)
            self._settle()
        if self._timer is None or core.deadline_ns < self._timer_ns:
            self._set_timer()

    def _settle(self) -> None:
        """Wakes those whose wait is over."""
        core = self._core
        for batch in core.progressed:
            waiting = self._tickets.pop(batch, [])
            for index, future in waiting:
                if index < batch.confirmed:
                    _resolve(future)
                elif not future.done():
                    self._tickets.setdefault(batch, []).append((index, future))
        core.progressed.clear()
        if core.error is not None:
            for waiting in self._tickets.values():
                for _, future in waiting:
                    if not future.done():
                        future.set_exception(core.error)
            self._tickets.clear()
        moved, self._moved = self._moved, []
        for future in moved:
            _resolve(future)

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        core = self._core
        if core.error is None:
            self._timer_ns = core.deadline_ns
            delay = max(0, core.deadline_ns - now_ns()) / 1e9
            self._timer = asyncio.get_running_loop().call_later(delay, self._on_time)

    def _on_time(self) -> None:
        self._timer = None
        self._pump()

    def _watch(self) -> None:
        fd = self._exchange.fd
        if fd >= 0 and self._watched < 0:
            asyncio.get_running_loop().add_reader(fd, self._pump)
            self._watched = fd

    def _unwatch(self) -> None:
        """Before the descriptor is closed: its number may be another one's at once."""
        if self._watched >= 0:
            asyncio.get_running_loop().remove_reader(self._watched)
            self._watched = -1


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


class AsyncConsumer:
    """Reads the released log, like `Consumer`: `async for message in consumer`."""

    def __init__(
        self,
        config: Config | str | Path | None = None,
        *,
        feeds: Sequence[str] | None = None,
        replays: Sequence[str] | None = None,
        cluster: str = "",
        from_seq: int | None = 1,
        after: Position | None = None,
        control: bool = False,
        key: str = "",
    ) -> None:
        """As for `Consumer`."""
        found = consumer_endpoints(config, feeds, replays, cluster, key)
        self._reading = Reading(found, from_seq, after, control)
        self._wake: asyncio.Future[None] | None = None

    async def __aenter__(self) -> AsyncConsumer:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    async def __aiter__(self) -> AsyncIterator[Message]:
        """Yields messages for ever; ends when the consumer is closed. Raises as `Consumer`."""
        reading = self._reading
        while True:
            for message in reading.messages:
                yield message
            if not await self._refill():
                return

    async def next(self, timeout: float | None = None) -> Message:
        """The next message. Raises TimeoutExpired after `timeout` seconds (None: never)."""
        while True:
            for message in self._reading.messages:
                return message
            try:
                async with asyncio.timeout(timeout):
                    if not await self._refill():
                        raise ClosedError(self._reading.closed)
            except TimeoutExpired:
                raise
            except TimeoutError:
                raise TimeoutExpired(f"no message was released within {timeout:g} s") from None

    @property
    def position(self) -> Position | None:
        """As `Consumer.position`."""
        return self._reading.position

    @property
    def head(self) -> int:
        """The highest seq that is known to be released; 0 before anything is known."""
        return self._reading.core.head_seq

    @property
    def stats(self) -> ConsumerStats:
        """A copy of the counts since this consumer was made."""
        return msgspec.structs.replace(self._reading.core.stats)

    def close(self) -> None:
        """Ends the iteration and frees the sockets. May be called twice."""
        if self._wake is None:
            self._reading.close("the consumer is closed")
        else:
            self._reading.closed = "the consumer is closed"
            _resolve(self._wake)

    async def _refill(self) -> bool:
        reading = self._reading
        while not reading.closed:
            if reading.advance():
                return True
            await self._wait()
        return False

    async def _wait(self) -> None:
        """Until a socket has something or the core's deadline.

        The loop watches the descriptors only meanwhile: they stay readable until somebody reads,
        so that a consumer that is not being read would keep the loop busy.
        """
        loop = asyncio.get_running_loop()
        reading = self._reading
        wake = self._wake = loop.create_future()
        delay = max(0, reading.core.deadline_ns - now_ns()) / 1e9
        timer = loop.call_later(delay, _resolve, wake)
        for fd in reading.fds:
            loop.add_reader(fd, _resolve, wake)
        try:
            await wake
        finally:
            timer.cancel()
            for fd in reading.fds:
                loop.remove_reader(fd)
            self._wake = None
            if reading.closed:
                why, reading.closed = reading.closed, ""
                reading.close(why)
