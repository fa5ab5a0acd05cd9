"""One ZeroMQ socket, used without blocking, and the file descriptor to wait on.

Decides the options that clients need. Does not decide when to wait: shells do, by polling `fd`.

The descriptor is edge-triggered: it becomes readable once when something happened, and any use of
the socket takes that note away. So the rule for its users is: after every use, call `receive` until
it returns None, and only then wait. A shell that sends and then waits without looking would sleep
on an answer that is already here. The same goes for a send that failed because nobody was connected
yet: libzmq may find the connection only during the `receive` that follows, and says so once. So
`writable` has to be looked at then, or the frame would lie here until something else happens.

All clients of a process share one context of our own. A context each would cost two threads per
producer; the application's `zmq.Context.instance()` would let it change our options or end our
sockets. It is never terminated: that call is the one that can hang, and closing a socket is enough
to free it. A forked child gets a context of its own.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Final

import zmq

from ..shared.errors import UserError
from ..shared.limits import CONSUMER_HWM_FRAMES, HWM_FRAMES
from ..shared.sockets import make_socket

# Plain numbers: an operation on pyzmq's enums costs as much as the call that it is for.
_NOBLOCK: Final = int(zmq.NOBLOCK)
_EVENTS: Final = int(zmq.EVENTS)
_POLLIN: Final = int(zmq.POLLIN)
_POLLOUT: Final = int(zmq.POLLOUT)

_contexts: dict[int, zmq.Context[Any]] = {}


def own_context() -> zmq.Context[Any]:
    """The context of all sockets that this library makes in this process."""
    pid = os.getpid()
    return _contexts.get(pid) or _contexts.setdefault(pid, zmq.Context())


class Channel:
    """A DEALER or SUB socket, connected to one or more endpoints."""

    def __init__(self, kind: zmq.SocketType, endpoints: Sequence[str]) -> None:
        """Raises UserError for a string that is no endpoint."""
        hwm = CONSUMER_HWM_FRAMES if kind == zmq.SUB else HWM_FRAMES
        self._socket = make_socket(own_context(), kind, hwm=hwm)
        if kind == zmq.SUB:
            self._socket.setsockopt(zmq.SUBSCRIBE, b"")
        else:
            # Without it frames for a node that is down would wait and reach it late.
            self._socket.setsockopt(zmq.IMMEDIATE, 1)
        for endpoint in endpoints:
            try:
                self._socket.connect(endpoint)
            except zmq.ZMQError as error:
                self._socket.close()
                raise UserError(
                    f"cannot connect to {endpoint!r}: {error.strerror}; "
                    "expected tcp://HOST:PORT or ipc://PATH"
                ) from None
        self.writable = False  # as of the last `receive` that returned None
        self.fd = int(self._socket.getsockopt(zmq.FD))

    def receive(self) -> bytes | None:
        """The next frame that is here already, or None: then it is right to wait on `fd`."""
        events = self._socket.getsockopt(_EVENTS)
        if events & _POLLIN:  # type: ignore[operator]
            frame: bytes = self._socket.recv(_NOBLOCK)
            return frame
        self.writable = bool(events & _POLLOUT)  # type: ignore[operator]
        return None

    def send(self, frame: bytes) -> bool:
        """Hands a frame over; false if nobody is connected yet or the queue is full."""
        try:
            self._socket.send(frame, _NOBLOCK)
        except zmq.Again:
            return False
        return True

    def close(self, linger_ms: int = 0) -> None:
        """Never blocks: what is not sent within `linger_ms` is dropped in the background."""
        self._socket.close(linger_ms)
