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
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final

import zmq

from ..shared.credentials import PLAIN, Credentials, Watch
from ..shared.errors import UserError
from ..shared.limits import CONSUMER_HWM_FRAMES, HWM_FRAMES
from ..shared.sockets import make_socket, send_frame

# Plain numbers: an operation on pyzmq's enums costs as much as the call that it is for.
_NOBLOCK: Final = int(zmq.NOBLOCK)
_POLLIN: Final = int(zmq.POLLIN)
_POLLOUT: Final = int(zmq.POLLOUT)

# How often a quiet socket is asked whether its handshakes failed, and how long after that it tries
# again. libzmq itself gives a connection up for good when the other end refuses the key.
_LOOK_NS: Final = 200_000_000
_MEND_NS: Final = 500_000_000

# A thousand producers in a process have two sockets each: one is for what becomes of the other.
MAX_SOCKETS: Final = 16_384

_contexts: dict[int, zmq.Context[Any]] = {}


def own_context() -> zmq.Context[Any]:
    """The context of all sockets that this library makes in this process."""
    pid = os.getpid()
    found = _contexts.get(pid)
    if found is None:
        found = _contexts.setdefault(pid, zmq.Context())
        found.setsockopt(zmq.MAX_SOCKETS, MAX_SOCKETS)
    return found


def same_place(endpoint: str, address: str) -> bool:
    """Whether an endpoint may be where libzmq tells of an address, which it has resolved: for TCP
    the port alone can be compared."""
    if endpoint == address or not endpoint.startswith("tcp://"):
        return endpoint == address
    return endpoint.rpartition(":")[2] == address.rpartition(":")[2]


class Channel:
    """A DEALER or SUB socket, connected to one or more endpoints.

    `denied` says why a node let us in no more, until something comes: empty if none did.
    """

    def __init__(
        self,
        kind: zmq.SocketType,
        endpoints: Sequence[str],
        credentials: Credentials = PLAIN,
        newest_of: bytes | None = None,
    ) -> None:
        """`newest_of`: of the frames that begin so, only the newest is kept (SUB).

        Raises UserError for a string that is no endpoint, or of no node that has a key.
        """
        self.denied = ""
        self._endpoints = tuple(endpoints)
        self._credentials = credentials
        self._own = credentials.own
        self._mend: dict[str, int] = {}  # when to connect again, by endpoint
        self._look_ns = 0
        hwm = CONSUMER_HWM_FRAMES if kind == zmq.SUB else HWM_FRAMES
        self._socket = make_socket(own_context(), kind, hwm=hwm)
        if kind == zmq.SUB:
            self._socket.setsockopt(zmq.SUBSCRIBE, newest_of or b"")
            if newest_of is not None:
                self._socket.setsockopt(zmq.CONFLATE, 1)
        else:
            # Without it frames for a node that is down would wait and reach it late.
            self._socket.setsockopt(zmq.IMMEDIATE, 1)
        self._watch = Watch(self._socket, keys=credentials.used)
        try:
            for endpoint in endpoints:
                credentials.connect(self._socket, endpoint)
        except BaseException:
            self.close()
            raise
        self.writable = False  # as of the last `receive` that returned None
        self._look_at = [(self._socket, _POLLIN if kind == zmq.SUB else _POLLIN | _POLLOUT)]
        self.fd = int(self._socket.getsockopt(zmq.FD))

    def receive(self) -> bytes | None:
        """The next frame that is here already, or None: then it is right to wait on `fd`."""
        found: list[tuple[Any, int]] = zmq.zmq_poll(self._look_at, 0)
        if found and found[0][1] & _POLLIN:
            frame: bytes = self._socket.recv(_NOBLOCK)
            if self.denied:
                self.denied = ""
            return frame
        self.writable = bool(found)
        if time.monotonic_ns() - self._look_ns >= _LOOK_NS:
            self.look()
        return None

    def look(self) -> None:
        """Looks whether handshakes have failed, and connects again, perhaps expecting another key
        of the node."""
        self._look_ns = now = time.monotonic_ns()
        for event, address in self._watch.failures():
            for endpoint in self._endpoints:
                if same_place(endpoint, address):
                    self.denied = self._credentials.explain(event, endpoint)
                    self._credentials.failed(endpoint)
                    self._mend.setdefault(endpoint, now + _MEND_NS)
        if self._credentials.own != self._own:  # our key was rotated: the old one ends soon
            self._own = self._credentials.own
            self._mend.update(dict.fromkeys(self._endpoints, now))
        for endpoint in [each for each, due_ns in self._mend.items() if now >= due_ns]:
            del self._mend[endpoint]
            self._connect_again(endpoint)

    def _connect_again(self, endpoint: str) -> None:
        with suppress(zmq.ZMQError):  # libzmq has given it up itself
            self._socket.disconnect(endpoint)
        try:
            self._credentials.connect(self._socket, endpoint)
        except UserError as error:
            self.denied = str(error)
            self._mend[endpoint] = time.monotonic_ns() + _MEND_NS

    def send(self, frame: bytes) -> bool:
        """Hands a frame over; false if nobody is connected yet or the queue is full."""
        try:
            send_frame(self._socket, frame, _NOBLOCK)
        except zmq.Again:
            return False
        return True

    def close(self, linger_ms: int = 0) -> None:
        """Never blocks: what is not sent within `linger_ms` is dropped in the background."""
        self._watch.close()
        self._socket.close(linger_ms)
