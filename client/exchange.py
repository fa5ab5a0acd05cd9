"""Moves frames between a `ProducerCore` and its socket. Used by the blocking and the asyncio form.

Decides nothing: it performs what the core asks for, in order, and never waits.
"""

from __future__ import annotations

from collections.abc import Callable

import zmq

from ..shared.credentials import PLAIN, Credentials
from ..shared.errors import UserError
from .channel import Channel
from .producer_core import ProducerCore

# What a goodbye gets to leave the process after close() has returned.
_BYE_LINGER_MS = 200


class Exchange:
    """A core and the connection that it has at the moment."""

    def __init__(
        self,
        core: ProducerCore,
        credentials: Credentials = PLAIN,
        before_close: Callable[[], None] | None = None,
    ) -> None:
        """`before_close` is called before a descriptor that `fd` named is closed."""
        self.core = core
        self._credentials = credentials
        self._before_close = before_close
        self._channel: Channel | None = None
        self._stuck = 0
        self.blocked = False  # whether the outbox waits for somebody who takes it

    @property
    def fd(self) -> int:
        """The descriptor to wait on; -1 while there is no connection."""
        return -1 if self._channel is None else self._channel.fd

    def pump(self, now_ns: int) -> None:
        """Does all that can be done without waiting: sends, takes what came, ticks.

        It ends with a look that found nothing, so that it is right to wait on the descriptor.
        """
        core, connection = self.core, self.core.connection
        while True:
            self._send(now_ns)
            channel = self._channel
            while (
                connection.dial is None
                and channel is not None
                and (frame := channel.receive()) is not None
            ):
                core.received(frame, now_ns)
            if now_ns >= core.deadline_ns:
                core.tick(now_ns)
            if connection.dial is not None:
                self._dial(connection.dial, now_ns)
            elif len(core.outbox) == self._stuck and not (
                self._stuck and channel is not None and channel.writable
            ):
                return

    def close(self) -> None:
        """Ends the core, says goodbye and frees the socket; never blocks."""
        self.core.close()
        if self._channel is not None:
            self._send(0)
            self._drop(_BYE_LINGER_MS)

    def abandon(self) -> None:
        """Forgets the connection without touching it: it belongs to another process."""
        self._channel = None

    def _dial(self, endpoint: str, now_ns: int) -> None:
        self.core.connection.dial = None
        self._stuck = 0
        self.blocked = False
        self._drop(0)
        try:
            self._channel = Channel(zmq.DEALER, [endpoint], self._credentials)
        except UserError as error:
            self.core.unreachable(str(error), now_ns)

    def _drop(self, linger_ms: int) -> None:
        if self._channel is not None:
            self._channel.look()
            self.core.denied = self._channel.denied or self.core.denied
            if self._before_close is not None:
                self._before_close()
            self._channel.close(linger_ms)
            self._channel = None

    def _send(self, now_ns: int) -> None:
        """Sends what the socket takes; the rest is stuck until it takes more."""
        outbox, channel = self.core.outbox, self._channel
        if outbox and channel is not None:
            sent = 0
            while sent < len(outbox) and channel.send(outbox[sent]):
                sent += 1
            del outbox[:sent]
        self._stuck = len(outbox)
        if (self._stuck > 0) != self.blocked:
            self.blocked = self._stuck > 0
            self.core.blocked(self.blocked, now_ns)
