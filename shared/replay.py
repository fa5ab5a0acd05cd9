"""The replay socket of a node: past records, read from its journal, up to what it knows as
released.

Decides what may be read and how much at once. A consumer asks chunk by chunk, so a slow one costs
nothing; each turn serves a bounded number of requests, so many cannot hold up the data path.
"""

from __future__ import annotations

from typing import Any

import zmq

from .errors import Reason, RemoteError
from .journal import Journal
from .limits import CHUNK_BYTES, MAX_SMALL_FRAME_BYTES, REPLAY_HWM_FRAMES, REPLAY_PER_TURN
from .messages import (
    PROTOCOL_VERSION,
    Codec,
    ReplayChunk,
    ReplayRefused,
    ReplayReply,
    ReplayRequest,
    encode,
)
from .sockets import Socket, bind, make_socket
from .telemetry import Counters
from .waiter import Waiter

_requests: Codec[ReplayRequest] = Codec(ReplayRequest)


class ReplayServer:
    """Answers replay requests of consumers."""

    def __init__(
        self,
        context: zmq.Context[Any],
        key: str,
        endpoint: str,
        cluster: str,
        node: str,
        journal: Journal,
    ) -> None:
        self.socket: Socket = make_socket(
            context, zmq.ROUTER, max_bytes=MAX_SMALL_FRAME_BYTES, hwm=REPLAY_HWM_FRAMES
        )
        self.socket.setsockopt(zmq.ROUTER_MANDATORY, 1)  # what is dropped is to be counted
        bind(self.socket, key, endpoint)
        self._cluster = cluster
        self._node = node
        self.journal = journal

    def serve(self, waiter: Waiter, released_seq: int, counters: Counters) -> None:
        """Answers what waits, up to the bound of a turn."""
        for sender, *frames in waiter.drain(self.socket, REPLAY_PER_TURN):
            request_id = 0
            try:
                if len(frames) != 1:
                    raise RemoteError(Reason.MALFORMED, "a message of more than one frame")
                request = _requests.decode(frames[0])
                request_id = request.request
                reply: ReplayReply = self._answer(request, released_seq)
                counters.count("replay-chunks")
            except RemoteError as error:
                counters.refused("replay", error.reason)
                reply = ReplayRefused(
                    request_id, error.reason, error.text, self.journal.first_seq, released_seq
                )
            try:
                self.socket.send_multipart([sender, encode(reply)], zmq.NOBLOCK, copy=False)
            except zmq.ZMQError:  # it does not read its answers, or is gone: it may ask again
                counters.count("replay-dropped")

    def _answer(self, request: ReplayRequest, released_seq: int) -> ReplayChunk:
        if request.version != PROTOCOL_VERSION:
            raise RemoteError(
                Reason.WRONG_VERSION,
                f"protocol version {request.version}; this node speaks {PROTOCOL_VERSION}",
            )
        if request.cluster and request.cluster != self._cluster:
            raise RemoteError(
                Reason.WRONG_CLUSTER, f"this is cluster {self._cluster}, not {request.cluster}"
            )
        first_seq = self.journal.first_seq
        if request.from_seq < first_seq:
            raise RemoteError(
                Reason.NOT_RETAINED,
                f"seq {request.from_seq} is before the retained log, which begins at {first_seq}",
            )
        if request.from_seq > released_seq + 1:
            raise RemoteError(
                Reason.BEYOND_HEAD,
                f"seq {request.from_seq} is beyond the head: node {self._node} knows seq "
                f"{released_seq} as the last released",
            )
        records = b""
        if request.from_seq <= released_seq:
            size = min(request.max_bytes, CHUNK_BYTES)
            records = self.journal.read(request.from_seq, size, released_seq)
        return ReplayChunk(
            request.request,
            self._cluster,
            self._node,
            released_seq,
            first_seq,
            memoryview(records),
        )
