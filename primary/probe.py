"""While a primary resumes, asks its peer on control what it is.

A peer that leads a higher epoch never dials this node's link, so a resuming primary would wait for
it for ever; and two nodes that were both first started as primary would wait for each other.
"""

from __future__ import annotations

import zmq

from ..shared.errors import RemoteError
from ..shared.messages import PROTOCOL_VERSION, Codec, ControlReply, GetStatus, Status, encode
from ..shared.nodeio import NodeIO, one_frame
from ..shared.sockets import Socket, make_socket
from ..shared.telemetry import NodeStatus

PROBE_EVERY_NS = 500_000_000

_replies: Codec[ControlReply] = Codec(ControlReply)


class PeerProbe:
    """Asks every half second. Nobody waits for its socket: its owner looks once a turn while it is
    RESUMING, and an answer that comes later must not keep waking a primary that leads.

    Each question has a socket of its own: none queues up for a peer that is down, and a connection
    that libzmq has given up (something else listened there) is not asked again.
    """

    def __init__(self, io: NodeIO) -> None:
        self._io = io
        self._cluster = io.config.cluster
        self._endpoint = io.config.node(io.config.peer_of(io.name)).control
        self._socket: Socket | None = None
        self._asked_ns = 0

    def ask(self, now_ns: int) -> NodeStatus | None:
        """The peer's status if an answer has come; asks (again) when it is time."""
        found = self._answer()
        if now_ns - self._asked_ns >= PROBE_EVERY_NS:
            self._asked_ns = now_ns
            self.close()
            self._socket = make_socket(self._io.context, zmq.DEALER)
            self._socket.connect(self._endpoint)
            self._socket.send(encode(GetStatus(PROTOCOL_VERSION)), zmq.NOBLOCK)
        return found

    def _answer(self) -> NodeStatus | None:
        if self._socket is None:
            return None
        try:
            frame = one_frame(self._socket.recv_multipart(zmq.NOBLOCK))
            reply = _replies.decode(frame)
        except zmq.Again:
            return None
        except RemoteError as error:
            self._io.counters.refused("probe", error.reason)
            return None
        if isinstance(reply, Status) and reply.status.cluster == self._cluster:
            return reply.status
        return None

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None
