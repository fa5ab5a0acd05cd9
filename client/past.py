"""Reads the released log from a seq up to its present head, once, chunk by chunk over replay.

Decides which node is asked: the one that knows most as released, the other if that one falls
silent. For tools that look back; what goes on reading for ever is `Consumer`.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator, Sequence

from ..shared.config import Config
from ..shared.credentials import credentials
from ..shared.errors import Reason
from ..shared.journal.reader import chain_before
from ..shared.limits import CHUNK_BYTES
from ..shared.log import Chain
from ..shared.messages import (
    PROTOCOL_VERSION,
    Codec,
    ReplayChunk,
    ReplayRefused,
    ReplayReply,
    ReplayRequest,
    encode,
)
from ..shared.wire import Record, parse_records
from .dealer import Dealer
from .errors import ClientError, DeniedError, RefusedError, TimeoutExpired

_replies: Codec[ReplayReply] = Codec(ReplayReply)
_BOUNDS = (Reason.BEYOND_HEAD, Reason.NOT_RETAINED)


class PastLog:
    """The replay sockets of some of the pair's nodes. Use it as a context manager.

    first_seq, released_seq: what the node that is read from keeps and knows as released, as of
    `open`. Not for several threads.
    """

    def __init__(self, config: Config, nodes: Sequence[str], timeout: float = 2.0) -> None:
        self.first_seq = 0
        self.released_seq = 0
        self.node = ""
        self._cluster = config.cluster
        self._timeout = timeout
        self._denied: DeniedError | None = None
        who = credentials(config, operator=True)
        self._sockets = {name: Dealer(config.node(name).replay, who) for name in nodes}

    def __enter__(self) -> PastLog:
        return self

    def __exit__(self, *_: object) -> None:
        for socket in self._sockets.values():
            socket.close()

    def open(self) -> None:
        """Finds the node that knows most as released.

        Raises TimeoutExpired if none answers, DeniedError if none lets our key in, RefusedError if
        one refuses for good.
        """
        numbers = {name: self._send(name, 1, 1) for name in self._sockets}
        end = time.monotonic() + self._timeout
        for name, number in numbers.items():
            reply = self._receive(name, number, end)
            if reply is not None and (not self.node or reply.released_seq > self.released_seq):
                self.node = name
                self.first_seq = reply.first_seq
                self.released_seq = reply.released_seq
        if not self.node:
            raise self._silent()

    def records(self, from_seq: int) -> Iterator[Record]:
        """The records that cover from_seq..`released_seq`, each checked to continue the log.

        Begins at `first_seq` if `from_seq` is not kept any more. Call `open` first. Raises as
        that, and RemoteError if a node sends what is not the log.
        """
        next_seq = max(from_seq, self.first_seq)
        chain: Chain | None = None
        while next_seq <= self.released_seq:
            found = self._chunk(next_seq)
            for record in found:
                chain = chain or chain_before(record)
                chain.check(record)
                chain.advance(record)
                yield record
            next_seq = found[-1].last_seq + 1

    def _chunk(self, from_seq: int) -> list[Record]:
        """Records from `from_seq` on, one at least; of another node if the present one is gone."""
        for name in sorted(self._sockets, key=lambda name: name != self.node):
            reply = self._ask(name, from_seq, CHUNK_BYTES)
            if isinstance(reply, ReplayChunk) and (found := parse_records(reply.records)):
                self.node = name
                return found
        raise self._silent()

    def _ask(self, name: str, from_seq: int, size: int) -> ReplayChunk | ReplayRefused | None:
        """A node's answer; None if it gives none in time."""
        number = self._send(name, from_seq, size)
        return self._receive(name, number, time.monotonic() + self._timeout)

    def _send(self, name: str, from_seq: int, size: int) -> int:
        number = secrets.randbits(62)
        request = ReplayRequest(PROTOCOL_VERSION, self._cluster, number, from_seq, size)
        self._sockets[name].send(encode(request))
        return number

    def _receive(self, name: str, number: int, end: float) -> ReplayChunk | ReplayRefused | None:
        """The answer to request `number`, looked for at least once and until `end`."""
        while True:
            try:
                frame = self._sockets[name].receive(max(0.0, end - time.monotonic()))
            except DeniedError as error:
                self._denied = error
                return None
            if frame is None:
                return None
            reply = _replies.decode(frame)
            if reply.request != number:
                continue  # the late answer to an earlier question
            if isinstance(reply, ReplayRefused) and reply.reason not in _BOUNDS:
                raise RefusedError(reply.reason, f"node {name}: {reply.text}")
            return reply

    def _silent(self) -> ClientError:
        if self._denied is not None:
            return self._denied
        names = " and ".join(self._sockets)
        return TimeoutExpired(
            f"no node serves the log (asked for {self._timeout:g} s: {names}); start one, or read "
            "a data directory instead"
        )
