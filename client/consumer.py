"""The blocking consumer: iterate over the released log, gap-free, from any seq.

Decides when to wait and who may; everything else is with `reading` and `consumer_core`.
"""

from __future__ import annotations

import os
import select
import threading
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final

import msgspec

from ..shared.clock import now_ns
from ..shared.config import Config
from ..shared.idling import Idler, idle_of
from ..shared.wire import Position
from .consumer_core import ConsumerStats
from .endpoints import consumer_endpoints
from .errors import ClientError, ClosedError, TimeoutExpired
from .reading import Message, Reading

_MS: Final = 1_000_000

# How long one wait lasts at most, so that a close() from another thread is noticed.
_WAIT_MS: Final = 100


class Consumer:
    """Reads the released log: every message once, in order, without gaps, over failovers.

    Iterate over it, or call `next`. It checks each record's bytes, the hash chain and the epochs,
    and raises HistoryError when the log is not the one that it has read. One thread may use it at
    a time; any thread may close it, which ends the iteration. It does not survive a fork.
    """

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
        idle: str = "block",
    ) -> None:
        """`config` is an interlock.toml, its directory or a Config; or name the endpoints.

        `replays` in the order of preference. Begins with `from_seq` (None: with what is released
        from now on), or after the position `after`, which also proves that the log is still the
        same. `control`: yield control records too, with their payload as the body. `key`,
        `idle`: as for `Producer`.

        Raises UserError, ValueError for a seq below 1. Connects in the background: iterating waits
        as long as no node is there.
        """
        found = consumer_endpoints(config, feeds, replays, cluster, key)
        self._reading = Reading(found, from_seq, after, control)
        self._poll = select.poll()
        for fd in self._reading.fds:
            self._poll.register(fd, select.POLLIN)
        self._idler = Idler(idle_of(idle))
        self._lock = threading.Lock()
        self._using = threading.Lock()
        _consumers.add(self)

    def __iter__(self) -> Iterator[Message]:
        """Yields messages for ever; ends when the consumer is closed.

        Raises HistoryError, BeyondHeadError, NotRetainedError, RefusedError, or DeniedError.
        """
        reading = self._reading
        while True:
            yield from reading.messages
            if not self._refill(None):
                return

    def next(self, timeout: float | None = None) -> Message:
        """The next message. Raises TimeoutExpired after `timeout` seconds (None: never).

        Raises ClosedError, and what iterating raises.
        """
        while True:
            for message in self._reading.messages:
                return message
            if not self._refill(timeout):
                raise ClosedError(self._reading.closed)

    @property
    def position(self) -> Position | None:
        """The end of the last record of which every message was handed out; None before that.

        A consumer that is made with `after=` this goes on from there. Messages of a record that was
        handed out in part come again then; to go on within a record use from_seq instead.
        """
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
        """Ends the iteration and frees the sockets. May be called twice. Never blocks for long."""
        with self._lock:
            self._reading.close("the consumer is closed")

    def __enter__(self) -> Consumer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _refill(self, timeout: float | None) -> bool:
        """Waits for the next record; false if the consumer is closed."""
        if not self._using.acquire(blocking=False):
            raise ClientError("another thread reads this consumer; a consumer serves one at a time")
        try:
            end_ns = None if timeout is None else now_ns() + int(timeout * 1e9)
            while True:
                with self._lock:
                    if self._reading.closed:
                        return False
                    if self._reading.advance():
                        return True
                now = now_ns()
                if end_ns is not None and now >= end_ns:
                    raise TimeoutExpired(f"no message was released within {timeout:g} s")
                self._wait(now, end_ns)
        finally:
            self._using.release()

    def _wait(self, now: int, end_ns: int | None) -> None:
        """Waits outside the lock: a close() in the meantime only makes it wait in vain."""
        wait_ns = min(_WAIT_MS * _MS, self._reading.core.deadline_ns - now)
        if end_ns is not None:
            wait_ns = min(wait_ns, end_ns - now)
        self._idler.wait(self._poll.poll, max(0, (wait_ns + _MS - 1) // _MS))

    def _forked(self) -> None:
        self._lock, self._using = threading.Lock(), threading.Lock()
        self._reading.closed = (
            "the consumer belongs to the parent process; make a new one after the fork"
        )


_consumers: weakref.WeakSet[Consumer] = weakref.WeakSet()


def _after_fork() -> None:
    for consumer in list(_consumers):
        consumer._forked()


os.register_at_fork(after_in_child=_after_fork)
