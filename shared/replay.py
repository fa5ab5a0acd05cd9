"""The replay socket of a node: past records, read from its journal, up to what it knows as
released.

Decides what may be read, how much at once, and when. A consumer asks chunk by chunk, so a slow one
costs nothing. Each turn serves a bounded number of requests, of different consumers if several
wait; and while the node has other work, replay gets a share of its time, so that neither many
consumers nor one that asks without end can hold up the data path.
"""

from __future__ import annotations

from typing import Any

import zmq

from .clock import now_ns
from .door import Door
from .errors import Reason, RemoteError
from .journal import Journal
from .limits import CHUNK_BYTES, REPLAY_PAUSE, REPLAY_PER_TURN
from .messages import (
    PROTOCOL_VERSION,
    Codec,
    ReplayChunk,
    ReplayRefused,
    ReplayReply,
    ReplayRequest,
    encode,
)
from .panel import Panel

_requests: Codec[ReplayRequest] = Codec(ReplayRequest)


class ReplayServer:
    """Answers replay requests of consumers."""

    def __init__(self, door: Door, cluster: str, node: str, journal: Journal) -> None:
        self.door = door
        self.journal = journal
        self._cluster = cluster
        self._node = node
        self._waits = False
        self._not_before_ns = 0

    def serve(self, panel: Panel, ready: set[Any], released_seq: int, at_ns: int) -> None:
        """Answers what waits, up to the bound of a turn, if it is replay's time."""
        if self.door.socket not in ready and not self._waits:
            return
        self._waits = at_ns < self._not_before_ns and len(ready) > 1
        if not self._waits:
            self._serve(panel, released_seq, at_ns)
            self._not_before_ns = at_ns + REPLAY_PAUSE * (now_ns() - at_ns)

    def _serve(self, panel: Panel, released_seq: int, now_ns: int) -> None:
        counters = panel.counters
        for sender, who, frames in self.door.arrivals(REPLAY_PER_TURN, now_ns):
            request_id = 0
            try:
                request = _requests.decode_only(frames)
                request_id = request.request
                reply: ReplayReply = self._answer(request, released_seq)
                counters.count("replay-chunks")
            except RemoteError as error:
                counters.refused("replay", error.reason)
                if error.reason is Reason.MALFORMED:
                    self.door.misbehaved(sender, who, now_ns)
                reply = ReplayRefused(
                    request_id, error.reason, error.text, self.journal.first_seq, released_seq
                )
            try:
                self.door.socket.send_multipart([sender, encode(reply)], zmq.NOBLOCK, copy=False)
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
