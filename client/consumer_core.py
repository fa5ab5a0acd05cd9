"""A consumer's view of the log: it follows the feed and replays what the feed left out.

Decides when something is missing. Does not decide what is next (`order_core`) nor whom to ask
(`replay_core`), and touches no socket and no clock: frames and times come in, `deliveries`,
`request` and `error` are what a shell performs.

The feed may lose, repeat and, over a failover, mix; replay answers late or not at all. So a gap is
inferred from what is known to be released, never from silence: a record that lies ahead, or a head
(published with each heartbeat) beyond what was read, which shows a loss at the tail. Only if the
feed says nothing at all is replay asked without cause, once a second.

Both nodes' feeds are heard all the time, and only the leader publishes. So a change of leader is
nothing special, except that an old primary may not know of it yet:
- A head of a lower epoch than one that was seen or read is ignored. It is neither the head nor a
  sign of life, so it causes no replay and hides no silence of the leader.
- A record of an epoch that had ended at its place (`order_core`) is ignored too, and counted, as
  long as the leader is heard. A gated primary that has lost its standby cannot release anything
  new; such a record means that it was in solo. What is delivered here is the leader's log.
- If nothing but such records is heard for five seconds, reading ends: either all that is left is
  an old primary, or the nodes were set up from an older copy of the log. To wait for the old epoch
  would be to wait for ever.
- A record of the leader that parts from what was read ends reading at once (`order_core`).
- A leader of a higher epoch whose head is below what was read is waited for: after a failover it
  may not know yet what was released. Its first record tells whether it holds what was read.
"""

from __future__ import annotations

import sys
from collections import deque
from typing import Final, assert_never

import msgspec

from ..shared.errors import Reason, RemoteError
from ..shared.limits import CHUNK_BYTES
from ..shared.messages import (
    PROTOCOL_VERSION,
    Codec,
    Head,
    ReplayChunk,
    ReplayRefused,
    ReplayReply,
    ReplayRequest,
    encode,
)
from ..shared.wire import MAGIC, Position, Record, parse_records
from .errors import BeyondHeadError, ClientError, HistoryError
from .order_core import Delivery, Order
from .replay_core import Replay

_MS: Final = 1_000_000
_FEED_SILENCE_NS: Final = 1_000 * _MS
_LEADER_SILENCE_NS: Final = 5_000 * _MS
_NEVER: Final = sys.maxsize

_head_codec: Final = Codec[Head](Head)
_replay_codec: Final = Codec[ReplayReply](ReplayReply)


class ConsumerStats(msgspec.Struct):
    """Counts since the consumer was made."""

    records: int = 0  # delivered
    gaps: int = 0  # times that the feed left something out
    replays: int = 0  # replay requests that were sent
    dropped_frames: int = 0  # frames that could not be read
    ended_epochs: int = 0  # heads and records of an ended epoch that were ignored


class ConsumerCore:
    """One reader. Call `tick` at `deadline_ns` or later, and give it every frame that comes.

    After each call: take `deliveries` from the left; if `request` is not None, set it to None and
    send its frame to the replay socket of that index, or call `unsent`; an `error` is final, once
    the deliveries before it are taken.
    """

    def __init__(
        self,
        cluster: str,
        nodes: int,
        now_ns: int,
        *,
        from_seq: int | None = 1,
        after: Position | None = None,
    ) -> None:
        """`nodes`: how many replay sockets there are, the preferred one first.

        Begins after the position `after` if that is given; else with `from_seq`; with None, at
        what is released next. Raises ValueError for a seq that cannot be.
        """
        if from_seq is not None and not 1 <= from_seq < 2**63:
            raise ValueError(f"from_seq is {from_seq}; it must be 1 or more, or None for the head")
        self.deliveries: deque[Delivery] = deque()
        self.request: tuple[int, bytes] | None = None
        self.error: ClientError | None = None
        self.deadline_ns = now_ns
        self.stats = ConsumerStats()
        self.head_seq = 0
        self._cluster = cluster
        self._order = Order(from_seq or 0, after)
        self._replay = Replay(nodes, now_ns)
        # What the caller named may be beyond the head; what was read once is only not known there.
        self._named_seq = from_seq if after is None else None
        self._caught_up = self._order.next == 0
        self._in_gap = not self._caught_up
        self._feed_seq = 0
        self._feed_heard_ns = now_ns
        self._leader_heard_ns = now_ns
        self._epoch = 0
        self._plan(now_ns)

    def feed(self, frame: bytes, now_ns: int) -> None:
        """A frame came on the feed."""
        if self.error is not None:
            return
        try:
            if frame[:1] == MAGIC[:1]:
                self.on_records(parse_records(frame), now_ns)
            else:
                self.on_head(_head_codec.decode(frame), now_ns)
        except RemoteError:
            self.stats.dropped_frames += 1  # what it held will show as a gap

    def replayed(self, node: int, frame: bytes, now_ns: int) -> None:
        """A frame came on the replay socket `node`."""
        if self.error is not None:
            return
        try:
            message = _replay_codec.decode(frame)
            match message:
                case ReplayChunk():
                    self.on_chunk(node, message, now_ns)
                case ReplayRefused():
                    self.on_refused(node, message, now_ns)
                case _:
                    assert_never(message)
        except RemoteError as error:
            self.stats.dropped_frames += 1
            self._end(self._replay.damaged(node, error, self._order.next))
            self._plan(now_ns)

    def on_records(self, records: list[Record], now_ns: int) -> None:
        """Live records."""
        if records and records[-1].epoch >= self._order.epoch:
            self._heard(now_ns)
            self._order.begin_at(records[0].seq)
            self._feed_seq = max(self._feed_seq, records[-1].last_seq)
            self.head_seq = max(self.head_seq, self._feed_seq)
        self._take(records, now_ns)
        self._plan(now_ns)

    def on_head(self, head: Head, now_ns: int) -> None:
        """Where the released log ends."""
        if not self._same_cluster(head.cluster, head.node):
            return
        if head.epoch < max(self._epoch, self._order.epoch):
            self.stats.ended_epochs += 1
            return
        self._epoch = head.epoch
        self._heard(now_ns)
        self._replay.published_by(head.node, now_ns)
        self._order.begin_at(head.released_seq + 1)
        self._feed_seq = max(self._feed_seq, head.released_seq)
        self.head_seq = max(self.head_seq, self._feed_seq)
        self._plan(now_ns)

    def on_chunk(self, node: int, chunk: ReplayChunk, now_ns: int) -> None:
        """Past records. A late answer is as good as one in time: what it holds is checked
        anyway.
        """
        if not self._same_cluster(chunk.cluster, chunk.node):
            return
        self.head_seq = max(self.head_seq, chunk.released_seq)
        before = self._order.next
        records = parse_records(chunk.records)
        if records and records[0].seq > before:
            raise RemoteError(Reason.GAP, f"seq {records[0].seq} in answer to {before}")
        self._take(records, now_ns)
        progress = self._order.next > before
        if progress:
            self._leader_heard_ns = now_ns
        self._replay.answered(node, chunk.node, chunk.request, progress, now_ns)
        if chunk.released_seq < self._order.next:
            self._caught_up = True
        self._plan(now_ns)

    def on_refused(self, node: int, refused: ReplayRefused, now_ns: int) -> None:
        """A node cannot replay what was asked for, now or at all."""
        self.head_seq = max(self.head_seq, refused.released_seq)
        next_seq = self._order.next
        verdict = self._replay.refused(node, refused, next_seq, now_ns)
        # Only what the caller named can be wrong; what was read before exists, though both nodes
        # may not know yet, after a restart, that it was released.
        if not isinstance(verdict, BeyondHeadError) or (
            next_seq == self._named_seq and self.head_seq + 1 < next_seq
        ):
            self._end(verdict)
        self._plan(now_ns)

    def unsent(self, now_ns: int) -> None:
        """The request could not be sent: nobody is connected there."""
        self._end(self._replay.unsent(self._order.next, now_ns))
        self._plan(now_ns)

    def tick(self, now_ns: int) -> None:
        """Time has passed: a replay is overdue, a pause is over, or the feed is silent."""
        self._end(self._replay.expire(self._order.next, now_ns))
        if now_ns - self._feed_heard_ns >= _FEED_SILENCE_NS:
            self._feed_heard_ns = now_ns
            self._caught_up = self._order.next == 0
        self._plan(now_ns)

    def _heard(self, now_ns: int) -> None:
        """The feed lives, and who publishes it is of no ended epoch."""
        self._feed_heard_ns = self._leader_heard_ns = now_ns

    def _take(self, records: list[Record], now_ns: int) -> None:
        order = self._order
        try:
            for record in records:
                self._deliver(order.take(record))
            while (kept := order.next_kept()) is not None:
                self._deliver(order.take(kept))
        except HistoryError as error:
            self._end(error)
        if order.refused is not None:
            self.stats.ended_epochs += 1
            if now_ns - self._leader_heard_ns >= _LEADER_SILENCE_NS:
                self._end(self._only_ended(order.refused))
            order.refused = None

    def _only_ended(self, record: Record) -> HistoryError:
        return HistoryError(
            f"seq {record.seq} is released in epoch {record.epoch}, but epoch {self._order.epoch} "
            f"was read up to seq {self._order.next - 1}, and nobody goes on with that: an old "
            "primary releases what is not in this log, or the nodes were set up from an older copy "
            "of it; see interlock status for who leads, and stop the one that must not"
        )

    def _deliver(self, delivery: Delivery | None) -> None:
        if delivery is not None:
            self.stats.records += 1
            self.deliveries.append(delivery)

    def _plan(self, now_ns: int) -> None:
        """Asks for the next records if any are known to be missing, and sets the next tick."""
        if self.error is not None:
            self.deadline_ns = _NEVER
            return
        silent_ns = self._feed_heard_ns + _FEED_SILENCE_NS
        next_seq, replay = self._order.next, self._replay
        missing = next_seq > 0 and self._feed_seq >= next_seq
        if missing and not self._in_gap:
            self.stats.gaps += 1
        self._in_gap = missing or not self._caught_up
        if not self._in_gap:
            replay.settle()
            self.deadline_ns = silent_ns
            return
        if replay.asked is None:
            node = replay.ask(now_ns)
            if node is None:
                self.deadline_ns = min(silent_ns, max(replay.resume_ns, now_ns + _MS))
                return
            self.stats.replays += 1
            self.request = (
                node,
                encode(
                    ReplayRequest(
                        PROTOCOL_VERSION, self._cluster, replay.request_id, next_seq, CHUNK_BYTES
                    )
                ),
            )
        self.deadline_ns = min(silent_ns, replay.deadline_ns)

    def _same_cluster(self, cluster: str, node: str) -> bool:
        self._cluster = self._cluster or cluster
        if cluster != self._cluster:
            self._end(
                HistoryError(
                    f"node {node} is of cluster {cluster}, this reader reads {self._cluster}"
                )
            )
        return cluster == self._cluster

    def _end(self, error: ClientError | None) -> None:
        if error is not None and self.error is None:
            self.error = error
            self.request = None
            self.deadline_ns = _NEVER
