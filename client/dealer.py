"""One DEALER to one node, for tools that ask and wait.

Decides when a question is sent again: when the node has not proven the key that was expected, so
that the question never left, the other of its keys is tried. A node that does not let our key in is
told at once, as `DeniedError`: waiting would not help.
"""

from __future__ import annotations

import time
from typing import Final

import zmq

from ..shared.credentials import DENIED, Credentials, Watch
from ..shared.errors import UserError
from ..shared.sockets import Socket, make_socket
from .channel import own_context
from .errors import DeniedError

_AGAIN_S: Final = 0.05  # after a failed handshake
_GIVE_UP_AFTER: Final = 3  # failed handshakes: each of a node's keys, at most two, was tried


class Dealer:
    """Connects when it is made. Not for several threads."""

    def __init__(self, endpoint: str, credentials: Credentials) -> None:
        """Raises UserError for an endpoint that cannot be connected to."""
        self._endpoint = endpoint
        self._credentials = credentials
        self._unanswered: list[bytes] = []  # sent before anything has come
        self._heard = False
        self._doubt = ""  # why the last handshake failed
        self._failures = 0  # handshakes in a row
        self._open()

    def _open(self) -> None:
        self.socket: Socket = make_socket(own_context(), zmq.DEALER)
        self.watch = Watch(self.socket, keys=self._credentials.used)
        try:
            self._credentials.connect(self.socket, self._endpoint)
        except UserError:
            self.close()
            raise

    def send(self, frame: bytes) -> None:
        """Hands a frame over."""
        if not self._heard:
            self._unanswered.append(frame)
        self.socket.send(frame)

    def receive(self, timeout: float) -> bytes | None:
        """The next frame; None if none came within `timeout` seconds, of which at least one look
        is made. Raises DeniedError if the node does not let our key in."""
        end = time.monotonic() + timeout
        while True:
            poller = zmq.Poller()
            poller.register(self.socket, zmq.POLLIN)
            poller.register(self.watch.events, zmq.POLLIN)
            ready = dict(poller.poll(max(0, int((end - time.monotonic()) * 1000))))
            if self.socket in ready:
                self._heard = True
                self._unanswered.clear()
                self._doubt, self._failures = "", 0
                return self.socket.recv()
            if not ready:
                if self._failures >= _GIVE_UP_AFTER:
                    raise DeniedError(self._doubt)
                return None
            self.mend()

    def mend(self) -> None:
        """Looks why handshakes failed, and tries the other key. Raises as `receive`."""
        for event, _ in self.watch.failures():
            if event == DENIED or not self._credentials.used:
                raise DeniedError(self._credentials.explain(event, self._endpoint))
            self._doubt = self._credentials.explain(event, self._endpoint)
            self._failures += 1
            self._credentials.failed(self._endpoint)
            time.sleep(_AGAIN_S)
            self.close()
            self._open()
            for frame in self._unanswered:
                self.socket.send(frame)
            return

    def close(self, linger_ms: int = 0) -> None:
        """Never blocks."""
        self.watch.close()
        self.socket.close(linger_ms)

    def __enter__(self) -> Dealer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
