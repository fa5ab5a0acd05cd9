"""Waits for many ZeroMQ sockets and plain descriptors at the price of one system call.

`zmq_poll` looks at every socket twice per call, and each look is a system call: with a node's six
sockets that was a third of the primary's time per message. Here epoll watches the sockets'
descriptors, and only a socket that may have something is asked.

ZMQ_FD is edge-triggered in effect: it tells that there is something for libzmq to do, and any use
of the socket may do it, a send as well. So a socket that was used since the last wait is asked for
its events before the wait blocks (`touch`); otherwise a message that came in during a send would
wait for the next one. A wait that times out asks all, so a missed touch costs one timer at most.
"""

from __future__ import annotations

import select
from collections.abc import Callable, Iterator
from typing import Any

import zmq

from .idling import Idle, Idler
from .sockets import Socket, readable, receive_routed

Receive = Callable[[Socket], list[bytes]]


class Waiter:
    """A set of sockets and descriptors to read from. For one thread."""

    def __init__(self, idle: Idle = Idle.BLOCK) -> None:
        self._idler = Idler(idle)
        self._epoll = select.epoll()
        self._sockets: dict[int, Socket] = {}
        self._touched: set[Socket] = set()

    def add(self, source: Socket | int) -> None:
        """Waits for a ZeroMQ socket, or for a descriptor, from now on."""
        if isinstance(source, int):
            self._epoll.register(source, select.EPOLLIN)
            return
        fd = _fd(source)
        self._sockets[fd] = source
        self._touched.add(source)
        self._epoll.register(fd, select.EPOLLIN)

    def remove(self, source: Socket | int) -> None:
        """Forgets a socket or a descriptor; call it before that is closed."""
        if isinstance(source, int):
            self._epoll.unregister(source)
            return
        fd = _fd(source)
        self._epoll.unregister(fd)
        del self._sockets[fd]
        self._touched.discard(source)

    def touch(self, source: Socket) -> None:
        """The socket was used (sent to): what came in meanwhile must not wait for an edge."""
        self._touched.add(source)

    def wait(self, timeout_ms: int) -> set[Any]:
        """The sockets and descriptors that may be read now; waits up to `timeout_ms` for the first.

        A socket may turn out to have nothing: libzmq wakes a descriptor for its own affairs as
        well. Take what it has with `drain`.
        """
        ready: set[Any] = {socket for socket in self._touched if readable(socket)}
        self._touched.clear()
        events = self._idler.wait(self._poll, 0 if ready else timeout_ms)
        for fd, _ in events:
            ready.add(self._sockets.get(fd, fd))
        if not ready and timeout_ms:
            ready.update(socket for socket in self._sockets.values() if readable(socket))
        return ready

    def _poll(self, timeout_ms: float) -> list[tuple[int, int]]:
        return self._epoll.poll(timeout_ms / 1_000)

    def drain(
        self, socket: Socket, limit: int, receive: Receive = receive_routed
    ) -> Iterator[list[bytes]]:
        """What waits on a socket that `wait` named, `limit` messages at most, by `receive`.

        Whatever is left, because of the limit or because the caller stops early, is found by the
        next wait. With one message in flight the second look is the rule, and asking whether there
        is more costs less than half of catching Again; with many, one Again is spread over them.
        """
        self._touched.add(socket)
        try:
            yield receive(socket)
            if readable(socket):
                for _ in range(limit - 1):
                    yield receive(socket)
                return
        except zmq.Again:
            pass
        self._touched.discard(socket)


def _fd(socket: Socket) -> int:
    fd = socket.getsockopt(zmq.FD)
    assert isinstance(fd, int)
    return fd
