"""Waits for many ZeroMQ sockets and plain descriptors at the price of one system call.

`zmq_poll` looks at every socket twice per call, and each look is a system call: with a node's six
sockets that was a third of the primary's time per message. Here epoll watches the sockets'
descriptors, and only a socket that may have something is asked.

ZMQ_FD is edge-triggered in effect: it tells that there is something for libzmq to do, and any use
of the socket may do it, a send as well. So a socket that was used since the last wait is asked for
its events before the wait blocks (`touch`); otherwise a message that came in during a send would
wait for the next one. A wait that times out asks all, so a missed touch costs one timer at most.

A message that comes alone is the rule while one is in flight, and asking whether another one
follows takes as long as receiving it. So a socket that had one message the last time is drained of
one: the next wait, which has to ask anyway, finds what follows, and then the socket is drained
whole.
"""

from __future__ import annotations

import select
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import zmq

from .idling import Idle, Idler
from .sockets import Socket, readable, readable_of

T = TypeVar("T")


class Waiter:
    """A set of sockets and descriptors to read from. For one thread.

    seldom: those of them that no message comes through: a loop may look whether any of them is
    ready before it looks at each.
    """

    def __init__(self, idle: Idle = Idle.BLOCK) -> None:
        self._epoll = select.epoll()
        self._idler = None if idle is Idle.BLOCK else Idler(idle)
        self.seldom: set[Any] = set()
        self._sockets: dict[int, Socket] = {}
        self._touched: set[Socket] = set()  # to be asked before a wait blocks
        self._busy: set[Socket] = set()  # had more than one message the last time

    def add(self, source: Socket | int, *, often: bool = False) -> None:
        """Waits for a ZeroMQ socket, or for a descriptor, from now on. `often`: it is not one of
        the seldom ones."""
        if not often:
            self.seldom.add(source)
        if isinstance(source, int):
            self._epoll.register(source, select.EPOLLIN)
            return
        fd = _fd(source)
        self._sockets[fd] = source
        self._touched.add(source)
        self._epoll.register(fd, select.EPOLLIN)

    def remove(self, source: Socket | int) -> None:
        """Forgets a socket or a descriptor; call it before that is closed."""
        self.seldom.discard(source)
        if isinstance(source, int):
            self._epoll.unregister(source)
            return
        fd = _fd(source)
        self._epoll.unregister(fd)
        del self._sockets[fd]
        self._touched.discard(source)
        self._busy.discard(source)

    def touch(self, source: Socket) -> None:
        """The socket was used (sent to): what came in meanwhile must not wait for an edge."""
        self._touched.add(source)

    def wait(self, timeout_ms: int) -> set[Any]:
        """The sockets and descriptors that may be read now; waits up to `timeout_ms` for the first.

        A socket may turn out to have nothing: libzmq wakes a descriptor for its own affairs as
        well. Take what it has with `drain`.
        """
        ready: set[Any] = set()
        if self._touched:
            ready.update(readable_of(self._touched))
            self._busy |= ready
            self._touched.clear()
        if ready or self._idler is None:
            events = self._epoll.poll(0 if ready else timeout_ms / 1_000)
        else:
            events = self._idler.wait(self._poll, timeout_ms)
        for fd, _ in events:
            ready.add(self._sockets.get(fd, fd))
        if not ready and timeout_ms:
            ready.update(readable_of(self._sockets.values()))
        return ready

    def _poll(self, timeout_ms: float) -> list[tuple[int, int]]:
        return self._epoll.poll(timeout_ms / 1_000)

    def drain(self, socket: Socket, limit: int, receive: Callable[[Socket], T]) -> Iterator[T]:
        """What waits on a socket that `wait` named, `limit` messages at most, by `receive`.

        Whatever is left, because of the limit, because the caller stops early or because only one
        was expected, is found by the next wait.
        """
        self._touched.add(socket)
        alone = True
        try:
            yield receive(socket)
            if socket not in self._busy:
                return
            if readable(socket):
                alone = False
                for _ in range(limit - 1):
                    yield receive(socket)
                return
        except zmq.Again:
            pass
        if alone:
            self._busy.discard(socket)
        self._touched.discard(socket)


def _fd(socket: Socket) -> int:
    fd = socket.getsockopt(zmq.FD)
    assert isinstance(fd, int)
    return fd
