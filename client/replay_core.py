"""Whom a reader asks for missing records, when, and what it makes of refusals.

Decides the order of nodes, the pace, and when a refusal is final. Does not look at records
(`order_core`) nor decide that something is missing (`consumer_core`).

The node that does not publish the feed is asked first: the primary has better things to do. A
standby learns by heartbeats what is released, so it may not know yet what the feed has shown: its
"no more" and "beyond the head" are no errors, the other node is asked, and after a round without
progress there is a short pause.

Right after a change of the publisher it is the other way round: the new one knows what it has
released, while the old one may be frozen or cut off. For the same reason a node that answered
quickly before is not waited for as long as one that nobody knows.
"""

from __future__ import annotations

from typing import Final

from ..shared.errors import Reason, RemoteError
from ..shared.messages import ReplayRefused
from .errors import (
    BeyondHeadError,
    ClientError,
    HistoryError,
    NotRetainedError,
    RefusedError,
)

_MS: Final = 1_000_000
REPLAY_TIMEOUT_NS: Final = 1_000 * _MS
_PATIENCE_NS: Final = 100 * _MS  # at least, with a node that has answered before
_PATIENCE_FACTOR: Final = 4  # of the time of its last answer
_CHANGE_NS: Final = 2_000 * _MS  # how long a change of the publisher counts as fresh
_ROUND_PAUSE_NS: Final = 50 * _MS

# What a node answers for the moment: the other one is asked, and this one again later.
_FOR_NOW: Final = frozenset(
    {
        Reason.BUSY,
        Reason.NOT_PRIMARY,
        Reason.NO_SESSION,
        Reason.TOO_MANY,
        Reason.DISK_FULL,
        Reason.BEYOND_HEAD,
        Reason.NOT_RETAINED,
    }
)


class Replay:
    """At most one request under way. Nodes are the indexes of the replay sockets."""

    def __init__(self, nodes: int, now_ns: int) -> None:
        self.asked: int | None = None
        self.request_id = 0
        self.resume_ns = now_ns
        self.deadline_ns = now_ns
        self._names = [""] * nodes
        self._asked_ns = [now_ns] * nodes
        self._took_ns = [REPLAY_TIMEOUT_NS] * nodes
        self._publisher = ""
        self._changed_ns = now_ns - _CHANGE_NS
        self._round: list[int] = []
        self._refusals: dict[int, ReplayRefused] = {}
        self._refused_ns = now_ns
        self._suspect: int | None = None

    def published_by(self, name: str, now_ns: int) -> None:
        """The node `name` publishes the feed."""
        if name != self._publisher:
            if self._publisher:
                self._changed_ns = now_ns
            self._publisher = name

    def ask(self, now_ns: int) -> int | None:
        """The node to ask now, with `request_id`; None during a pause, which ends at
        `resume_ns`.
        """
        if now_ns < self.resume_ns:
            return None
        for node in sorted(range(len(self._names)), key=lambda node: self._rank(node, now_ns)):
            if node not in self._round:
                self._round.append(node)
                self.request_id += 1
                self.asked = node
                self._asked_ns[node] = now_ns
                self.deadline_ns = now_ns + self._patience_ns(node)
                return node
        self._round.clear()
        self.resume_ns = now_ns + _ROUND_PAUSE_NS
        return None

    def answered(self, node: int, name: str, request_id: int, progress: bool, now_ns: int) -> None:
        """A chunk came from `node`, called `name`; `progress`: it held what was missing."""
        self._names[node] = name
        self._took_ns[node] = now_ns - self._asked_ns[node]
        if request_id == self.request_id:
            self.asked = None
        if progress:
            self.settle()
            self._suspect = None

    def settle(self) -> None:
        """Nothing is missing, or something has come: the next request begins a new round."""
        self._round.clear()
        self._refusals.clear()

    def unsent(self, next_seq: int, now_ns: int) -> ClientError | None:
        """Nobody is connected where the request should go; what that means for good, if so."""
        self.asked = None
        return self._judge_silence(next_seq, now_ns)

    def expire(self, next_seq: int, now_ns: int) -> ClientError | None:
        """Gives an overdue request up; what that means for good, if so."""
        if self.asked is None or now_ns < self.deadline_ns:
            return None
        self.asked = None
        return self._judge_silence(next_seq, now_ns)

    def refused(
        self, node: int, refused: ReplayRefused, next_seq: int, now_ns: int
    ) -> ClientError | None:
        """What a refusal means for good, if so: one node's word is not enough while another may
        retain more or know a later head."""
        if refused.request != self.request_id or self.asked != node:
            return None
        self.asked = None
        if refused.reason is Reason.WRONG_CLUSTER:
            return HistoryError(f"a replay was refused: {refused.text}")
        if refused.reason not in _FOR_NOW:
            return RefusedError(refused.reason, refused.text)
        if not self._refusals:
            self._refused_ns = now_ns
        self._refusals[node] = refused
        if len(self._refusals) < len(self._names):
            return None
        said = list(self._refusals.values())
        self._refusals.clear()
        if all(refusal.reason is Reason.NOT_RETAINED for refusal in said):
            return NotRetainedError(next_seq, min(refusal.first_seq for refusal in said))
        if all(refusal.reason is Reason.BEYOND_HEAD for refusal in said):
            return BeyondHeadError(next_seq, max(refusal.released_seq for refusal in said))
        return None

    def damaged(self, node: int, error: RemoteError, next_seq: int) -> ClientError | None:
        """What `node` sent cannot be read. That is final if all nodes do it for the same seq."""
        if self.asked == node:
            self.asked = None
        if self._suspect is not None and (self._suspect != node or len(self._names) == 1):
            return HistoryError(f"no node returns seq {next_seq} undamaged: {error}")
        self._suspect = node
        return None

    def _rank(self, node: int, now_ns: int) -> tuple[bool, int, int]:
        """The lowest is asked first."""
        name = self._names[node]
        publishes = name != "" and name == self._publisher
        rank = int(publishes)
        if now_ns - self._changed_ns < _CHANGE_NS:
            rank = 0 if publishes else 2 if name else 1
        return node == self._suspect, rank, node

    def _patience_ns(self, node: int) -> int:
        """Until the other node is asked. The last one of a round is waited for in any case."""
        if len(self._round) == len(self._names):
            return REPLAY_TIMEOUT_NS
        return min(max(_PATIENCE_NS, _PATIENCE_FACTOR * self._took_ns[node]), REPLAY_TIMEOUT_NS)

    def _judge_silence(self, next_seq: int, now_ns: int) -> ClientError | None:
        """The silent node might retain what the other does not, but nobody knows when it is
        back.
        """
        said = self._refusals.values()
        if (
            said
            and now_ns - self._refused_ns >= REPLAY_TIMEOUT_NS
            and all(refusal.reason is Reason.NOT_RETAINED for refusal in said)
        ):
            return NotRetainedError(next_seq, min(refusal.first_seq for refusal in said))
        return None
