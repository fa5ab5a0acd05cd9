"""While a primary resumes, asks its peer on control what it is.

A peer that leads a higher epoch never dials this node's link, so a resuming primary would wait for
it for ever; and two nodes that were both first started as primary would wait for each other.
"""

from __future__ import annotations

import zmq

from ..shared.errors import RemoteError
from ..shared.messages import PROTOCOL_VERSION, Codec, ControlReply, GetStatus, Status, encode
from ..shared.nodeio import NodeIO, one_frame
from ..shared.sockets import drain, make_socket
from ..shared.telemetry import NodeStatus

PROBE_EVERY_NS = 500_000_000

_replies: Codec[ControlReply] = Codec(ControlReply)


class PeerProbe:
    """Asks every half second. Nobody waits for its socket: its owner looks once a turn while it is
    RESUMING, and an answer that comes later must not keep waking a primary that leads.
    """

    def __init__(self, io: NodeIO) -> None:
        self._io = io
        self._cluster = io.config.cluster
        self._socket = make_socket(io.context, zmq.DEALER)
        self._socket.setsockopt(
            zmq.IMMEDIATE, 1
        )  # no queue of old questions for a peer that is down
        self._socket.connect(io.config.node(io.config.peer_of(io.name)).control)
        self._asked_ns = 0

    def ask(self, now_ns: int) -> NodeStatus | None:
        """The peer's status if an answer has come; asks (again) when it is time."""
        found = None
        for frames in drain(self._socket, 10):
            try:
                reply = _replies.decode(one_frame(frames))
            except RemoteError as error:
                self._io.counters.refused("probe", error.reason)
                continue
            if isinstance(reply, Status) and reply.status.cluster == self._cluster:
                found = reply.status
        if now_ns - self._asked_ns >= PROBE_EVERY_NS:
            self._asked_ns = now_ns
            try:
                self._socket.send(encode(GetStatus(PROTOCOL_VERSION)), zmq.NOBLOCK)
            except zmq.Again:
                self._io.counters.count("probe-unanswered")
        return found

    def close(self) -> None:
        self._socket.close()
