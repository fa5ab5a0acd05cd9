"""Asks the peer's control socket what the core wants to know.

Decides nothing. Each question has a socket of its own: none queues up for a peer that is down, and
a connection that libzmq has given up (something else listened there) is not asked again. A question
whose time is over is withdrawn with its socket, so that it cannot reach a peer that starts later.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import zmq

from .clock import now_ns
from .commands import PeerAnswer, PeerQuestion
from .credentials import Credentials
from .errors import Reason, RemoteError, UserError
from .messages import Codec, encode
from .sockets import Socket, make_socket
from .telemetry import Counters
from .waiter import Waiter

MAX_OPEN = 32

_answers: Codec[PeerAnswer] = Codec(PeerAnswer)


class PeerLine:
    """The open questions of one node. waits: whether there are any."""

    def __init__(
        self,
        context: zmq.Context[Any],
        endpoint: str,
        credentials: Credentials,
        waiter: Waiter,
        counters: Counters,
    ) -> None:
        self._context = context
        self._endpoint = endpoint
        self._credentials = credentials
        self._waiter = waiter
        self._counters = counters
        self._open: dict[Socket, tuple[int, int]] = {}
        self.waits = False

    def ask(self, number: int, question: PeerQuestion, until_ns: int) -> None:
        """Sends a question, which is withdrawn at `until_ns`; the oldest gives way if there are too
        many."""
        if len(self._open) >= MAX_OPEN:
            self._close(next(iter(self._open)))
        try:
            socket = make_socket(self._context, zmq.DEALER)
        except UserError:  # no descriptor is left: it is as if the peer were silent
            self._counters.count("questions-not-asked")
            return
        try:
            self._credentials.connect(socket, self._endpoint)
        except UserError:  # the list has no key for the peer
            self._counters.refused("peer", Reason.UNKNOWN_KEY)
            socket.close()
            return
        socket.send(encode(question), zmq.NOBLOCK)
        self._waiter.add(socket)
        self._open[socket] = (number, until_ns)
        self.waits = True

    def answers(self, ready: set[Any]) -> Iterator[tuple[int, PeerAnswer]]:
        """The answers that have come, each with the number of its question."""
        if not self._open:
            return
        for socket in [socket for socket in self._open if socket in ready]:
            number, _ = self._open[socket]
            try:
                frames = socket.recv_multipart(zmq.NOBLOCK)
                answer = _answers.decode(frames[-1])
            except zmq.Again:
                continue
            except RemoteError as error:
                self._counters.refused("peer", error.reason)
                self._close(socket)
                continue
            self._close(socket)
            yield number, answer
        now = now_ns()
        for socket in [socket for socket, (_, end_ns) in self._open.items() if now >= end_ns]:
            self._credentials.failed(self._endpoint)
            self._close(socket)

    def _close(self, socket: Socket) -> None:
        del self._open[socket]
        self.waits = bool(self._open)
        self._waiter.remove(socket)
        socket.close(linger=0)

    def close(self) -> None:
        for socket in list(self._open):
            self._close(socket)
