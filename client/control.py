"""Asks nodes for their status over the control socket.

Decides nothing; a node that does not answer in time is reported as None, never guessed about.
"""

from __future__ import annotations

import zmq

from ..shared.config import Config
from ..shared.errors import RemoteError
from ..shared.messages import PROTOCOL_VERSION, Codec, ControlReply, GetStatus, Status, encode
from ..shared.sockets import make_socket
from ..shared.telemetry import NodeStatus
from .channel import own_context

_replies: Codec[ControlReply] = Codec(ControlReply)


def ask_status(config: Config, timeout: float = 1.0) -> dict[str, NodeStatus | None]:
    """The status of each node of the pair by name, asked at once; None for one that did not answer
    within `timeout` seconds.

    Raises RemoteError if a node refuses, or answers what is not understood (another version).
    """
    return _ask({name: node.control for name, node in config.nodes.items()}, timeout)


def ask_node(endpoint: str, timeout: float = 1.0) -> NodeStatus | None:
    """The status of the node with this control endpoint; None if it did not answer in time."""
    return _ask({"": endpoint}, timeout)[""]


def _ask(endpoints: dict[str, str], timeout: float) -> dict[str, NodeStatus | None]:
    poller = zmq.Poller()
    sockets = {}
    opened = []
    for name, endpoint in endpoints.items():
        socket = make_socket(own_context(), zmq.DEALER)
        socket.connect(endpoint)
        socket.send(encode(GetStatus(PROTOCOL_VERSION)))
        poller.register(socket, zmq.POLLIN)
        sockets[socket] = name
        opened.append(socket)
    found: dict[str, NodeStatus | None] = dict.fromkeys(endpoints)
    try:
        while sockets and (ready := poller.poll(int(timeout * 1000))):
            for socket, _ in ready:
                reply = _replies.decode(socket.recv())
                if not isinstance(reply, Status):
                    raise RemoteError(reply.reason, reply.text)
                found[sockets.pop(socket)] = reply.status
                poller.unregister(socket)
    finally:
        for socket in opened:
            socket.close()
    return found
