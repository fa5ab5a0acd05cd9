"""The questions on a node's control socket that no core has to decide: they only read.

Decides who may ask (the peer of this pair, for a comparison or a tail) and how the two logs stand.
Everything that changes something is a command, and goes to the core.
"""

from __future__ import annotations

from collections.abc import Callable

from .commands import (
    Command,
    Compared,
    ControlReply,
    GetQuarantine,
    GetStatus,
    PeerAnswer,
    PeerCompare,
    PeerFetch,
    PeerTail,
    Quarantine,
    QuarantineChunk,
    ReadQuarantine,
    RoleRequest,
    Status,
)
from .config import Config
from .epochs import common_seq, compare
from .errors import Reason, RemoteError
from .events import PeerAnswered
from .journal import Journal, QuarantineStore, summarize
from .limits import CHUNK_BYTES, MAX_EPOCHS_IN_HELLO
from .operations import Risk
from .telemetry import NodeStatus
from .wire import Position


class Answering:
    """Answers from the journal and the quarantine of one node."""

    def __init__(
        self, config: Config, node: str, journal: Journal, quarantine: QuarantineStore
    ) -> None:
        self.journal = journal
        self._cluster = config.cluster
        self._peer = config.peer_of(node)
        self._quarantine = quarantine

    def reply(
        self, request: RoleRequest, status: Callable[[], NodeStatus]
    ) -> ControlReply | Command:
        """The answer to a question; a command, which a core decides, comes back as it is."""
        match request:
            case GetStatus():
                return Status(status())
            case PeerCompare():
                self._check_peer(request.cluster, request.node)
                return self._compare(request, status())
            case PeerFetch(_, cluster, node, after):
                self._check_peer(cluster, node)
                return self._fetch(after)
            case GetQuarantine():
                return Quarantine(self._quarantine.entries())
            case ReadQuarantine(_, entry, offset):
                data = self._quarantine.read(entry, offset, CHUNK_BYTES // 4)
                return QuarantineChunk(entry, offset, data)
            case _:
                return request

    def completed(self, number: int, answer: PeerAnswer) -> PeerAnswered:
        """The peer's answer with what only this node's journal knows about it."""
        if not isinstance(answer, Compared):
            return PeerAnswered(number, answer)
        common = answer.common.seq
        return PeerAnswered(number, answer, self.journal.hash_at(common), self._beyond(common))

    def _check_peer(self, cluster: str, node: str) -> None:
        if cluster != self._cluster:
            raise RemoteError(
                Reason.WRONG_CLUSTER, f"this is cluster {self._cluster}, not {cluster}"
            )
        if node != self._peer:
            raise RemoteError(
                Reason.WRONG_NODE, f"node {node}; the peer of this node is {self._peer}"
            )

    def _compare(self, asked: PeerCompare, status: NodeStatus) -> Compared:
        journal, log = self.journal, self.journal.state
        epochs = log.history.epochs
        # The core may be ahead of its journal within a turn: what counts is what is written.
        last = Position(journal.last_seq, journal.hash_at(journal.last_seq) or 0)
        relation = compare(
            log.history, last, asked.epochs, asked.last, journal.hash_at(asked.last.seq)
        )
        seq = common_seq(epochs, last.seq, asked.epochs, asked.last.seq)
        own_hash = journal.hash_at(seq)
        common = Position(0, 0) if own_hash is None else Position(seq, own_hash)
        return Compared(
            status,
            relation,
            common,
            epochs[-MAX_EPOCHS_IN_HELLO:],
            last,
            self._beyond(common.seq),
        )

    def _beyond(self, after_seq: int) -> Risk:
        journal = self.journal
        last_seq = journal.last_seq

        def read(from_seq: int, max_bytes: int) -> bytes:
            return journal.read(from_seq, max_bytes, last_seq)

        if after_seq >= last_seq or after_seq + 1 < journal.first_seq:
            return Risk("lost", after_seq + 1, last_seq, max(0, last_seq - after_seq))
        return summarize(read, after_seq, last_seq, "lost")

    def _fetch(self, after: Position) -> PeerTail:
        journal = self.journal
        if journal.hash_at(after.seq) != after.hash:
            raise RemoteError(
                Reason.DIFFERENT_HISTORY, f"this log holds another record at seq {after.seq}"
            )
        records = journal.read(after.seq + 1, CHUNK_BYTES, journal.last_seq)
        return PeerTail(after, records)
