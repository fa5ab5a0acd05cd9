"""What the blocking and the asyncio consumer share: sockets, unpacking, the position.

Decides nothing of the protocol (`consumer_core`) and never waits.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator
from typing import Final

import msgspec
import zmq

from ..shared.clock import now_ns
from ..shared.wire import GENESIS, Kind, Position
from .channel import Channel
from .consumer_core import ConsumerCore
from .endpoints import Endpoints
from .errors import DeniedError
from .order_core import Delivery

# Feed frames that are taken for each answer of a replay: while a long replay is read the feed must
# not run full, or what it drops is the next thing to replay.
_FEED_PER_TURN: Final = 16

_DENIED_NS: Final = 3_000_000_000


class Message(msgspec.Struct, gc=False, frozen=True):
    """One released message. `seq` is its number in the log, `time_ns` (since 1970) its record's."""

    seq: int
    epoch: int
    time_ns: int
    producer: str
    producer_seq: int
    body: bytes
    kind: Kind


def unpack(delivery: Delivery) -> list[Message]:
    """The messages of a delivery, without those before the seq that was asked for."""
    record, skip = delivery.record, delivery.skip
    seq, epoch, time_ns = record.seq, record.epoch, record.time_ns
    producer, producer_seq, kind = record.producer, record.producer_seq, record.kind
    return [
        Message(seq + index, epoch, time_ns, producer, producer_seq + index, body, kind)
        for index, body in enumerate(delivery.bodies)
        if index >= skip
    ]


class Reading:
    """A core, its sockets (one for all feeds, one for each replay), and what is handed out.

    `messages` are those of the present record that were not handed out yet.
    """

    def __init__(
        self, endpoints: Endpoints, from_seq: int | None, after: Position | None, control: bool
    ) -> None:
        self.core = ConsumerCore(
            endpoints.cluster, len(endpoints.replays), now_ns(), from_seq=from_seq, after=after
        )
        self.messages: Iterator[Message] = iter(())
        self.closed = ""
        self._denied_ns = 0  # since when nobody lets us in
        self._control = control
        self._current = GENESIS if after is None and from_seq == 1 else after
        self._before = self._current
        who = endpoints.credentials
        self._feed = Channel(zmq.SUB, endpoints.feeds, who)
        self._replays = [Channel(zmq.DEALER, [endpoint], who) for endpoint in endpoints.replays]
        self.fds = [channel.fd for channel in (self._feed, *self._replays)]

    @property
    def position(self) -> Position | None:
        return self._before if operator.length_hint(self.messages) else self._current

    def advance(self) -> bool:
        """Makes `messages` those of the next record, if one is here.

        False if there is nothing to hand out now: every socket has been found empty, so that it is
        right to wait on `fds`, up to `core.deadline_ns`. Raises the core's error.
        """
        core = self.core
        while True:
            if not core.deliveries:
                self._pump()
                if not core.deliveries:
                    if core.error is not None:
                        raise core.error.with_traceback(None)
                    self._check_denied()
                    return False
            delivery = core.deliveries.popleft()
            self._before, self._current = self._current, delivery.position
            if self._control or delivery.record.kind is Kind.DATA:
                self.messages = iter(unpack(delivery))
                return True

    def _check_denied(self) -> None:
        """Raises DeniedError if a node has not let this reader in for a while, and nobody has sent
        anything: a list of keys that is only late somewhere is waited for."""
        if not self._feed.denied:
            self._denied_ns = 0
        elif not self._denied_ns:
            self._denied_ns = now_ns()
        elif now_ns() - self._denied_ns > _DENIED_NS:
            raise DeniedError(self._feed.denied)

    def close(self, why: str) -> None:
        """Frees the sockets. Never blocks."""
        if not self.closed:
            self.closed = why
            self._feed.close()
            for channel in self._replays:
                channel.close()

    def _pump(self) -> None:
        core = self.core
        while not core.deliveries and core.error is None:
            now = now_ns()
            if now >= core.deadline_ns:
                core.tick(now)
            self._ask()
            if not self._receive(now):
                break
        self._ask()

    def _receive(self, now: int) -> bool:
        """Takes a few frames of each socket; false if all were found empty."""
        core = self.core
        some = False
        for node, channel in enumerate(self._replays):
            if (frame := channel.receive()) is not None:
                core.replayed(node, frame, now)
                some = True
        for _ in range(_FEED_PER_TURN):
            if (frame := self._feed.receive()) is None:
                break
            core.feed(frame, now)
            some = True
        if some:
            self._denied_ns = 0
        return some

    def _ask(self) -> None:
        core = self.core
        while core.request is not None:
            (node, frame), core.request = core.request, None
            if not self._replays[node].send(frame):
                core.unsent(now_ns())
