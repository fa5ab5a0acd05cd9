"""The primary without I/O: events in, effects out.

One message's way: `intake` takes it, `sequence` gives it its seq, `replicate` sends it to the
standby, the journal has it written, `acks` hears that the standby holds it, `gate` releases it,
`feed` publishes and confirms it. This file only joins the steps and holds the node's state.

The shell calls `handle` for each event of a turn and `end_turn` once, then performs the effects in
order. Replication is asked for before the local write, so that the standby works meanwhile; a
release needs both, so the order cannot release too early.
"""

from __future__ import annotations

from typing import assert_never

from ..shared.config import AckLevel, Config
from ..shared.effects import Effect, Publish, StreamLink, Sync
from ..shared.errors import Reason, RemoteError
from ..shared.events import FromProducer, Room, Synced
from ..shared.limits import CHUNK_BYTES, TURN_HEADROOM_BYTES
from ..shared.log import LogState
from ..shared.messages import (
    Confirmed,
    Head,
    IntakeRequest,
    LinkBeat,
    LinkRecords,
    ProducerBye,
    ProducerHello,
    ProducerPing,
    ProducerPong,
    ProducerWelcome,
    Refused,
    Submit,
    encode,
)
from ..shared.roles import NodeState
from ..shared.state import NodeMemory
from ..shared.wire import HEADER_BYTES
from .events import Event, FromStandby, PeerSeen, Streamed
from .feed import confirmations
from .intake import Fresh, Intake, Known, Refusal, split_runs
from .peering import Peering
from .reign import Reign
from .sequence import Sequenced, groups

MS = 1_000_000
TIMER_NS = 2 * MS  # how often the timers are looked at while messages keep coming


class PrimaryCore:
    """The protocol of a primary node."""

    def __init__(
        self, config: Config, node: str, memory: NodeMemory, log: LogState, now_ns: int
    ) -> None:
        self.reign = Reign(config, node, memory, log, now_ns)
        self.intake = Intake(self.reign.cluster, self.reign.limits, log.producers)
        self._peering = Peering(self.reign)
        self._turn: list[Sequenced] = []
        self._turn_bytes = 0
        self._beat_ns = self._sync_ns = self._look_ns = now_ns
        self.reign.enter(NodeState.RESUMING, f"waiting for the standby {self.reign.peer}", now_ns)

    # Events -----------------------------------------------------------------------------------

    def handle(self, event: Event, now_ns: int, wall_ns: int) -> None:
        """Takes one event in. What follows from it is in the effects of `end_turn`."""
        match event:
            case FromProducer(sender, message):
                self._on_producer(sender, message, now_ns, wall_ns)
            case FromStandby():
                self._peering.handle(event, now_ns, wall_ns)
            case Synced(seq):
                self.reign.synced_seq = max(self.reign.synced_seq, seq)
            case Room(size):
                self.reign.room_bytes = size
            case Streamed(session, last, size):
                if self.reign.standby and self.reign.standby.session == session:
                    self.reign.standby.note_sent(last, size, now_ns)
            case PeerSeen(role, epoch):
                self._peering.on_peer_seen(role, epoch, now_ns)
            case _:
                assert_never(event)

    def end_turn(self, now_ns: int, wall_ns: int) -> list[Effect]:
        """Closes the turn: replicates and writes its records, releases what may be released, and
        does what is due by time. Returns the effects since the last call, to be performed in order.
        """
        if now_ns >= self._look_ns:
            self._look_ns = now_ns + TIMER_NS
            self._on_time(now_ns, wall_ns)
        if self._turn:
            self._ship(now_ns)
        if self.wants_turn():
            self._catch_up()
        self._release()
        effects, self.reign.effects = self.reign.effects, []
        return effects

    def wants_turn(self) -> bool:
        """Whether there is more to do at once, without waiting for an event."""
        standby = self.reign.standby
        return bool(standby and standby.has_window() and standby.sent.seq < self.reign.written_seq)

    @property
    def prunable_seq(self) -> int:
        """Up to here the journal is only history: released, and with the standby. 0 while there is
        no standby, which will need what it misses."""
        standby = self.reign.standby
        return min(self.reign.gate.released_seq, standby.acked.seq) if standby else 0

    def turn_is_full(self) -> bool:
        """Whether the turn must end before more is taken in: its records fill the journal's room,
        or enough have come for one write."""
        size = self._turn_bytes + TURN_HEADROOM_BYTES
        return size > self.reign.room_bytes or self._turn_bytes >= CHUNK_BYTES

    # Intake -----------------------------------------------------------------------------------

    def _on_producer(
        self, sender: bytes, message: IntakeRequest, now_ns: int, wall_ns: int
    ) -> None:
        try:
            match message:
                case Submit():
                    self._on_submit(sender, message, now_ns, wall_ns)
                case ProducerPing(number):
                    self.intake.find(sender, number)
                    self.reign.reply(sender, ProducerPong(number, self.reign.holder.state.value))
                case ProducerHello():
                    self._on_producer_hello(sender, message)
                case ProducerBye(number):
                    self.intake.bye(self.intake.find(sender, number))
                case _:
                    assert_never(message)
        except RemoteError as error:
            self.reign.counters.refused("intake", error.reason)
            expected = error.expected if isinstance(error, Refusal) else 0
            attempt = message.attempt if isinstance(message, Submit) else 0
            leader = [self.reign.peer_intake] if error.reason is Reason.NOT_PRIMARY else []
            self.reign.reply(
                sender,
                Refused(error.reason, error.text, message.session, attempt, expected, leader),
            )

    def _on_producer_hello(self, sender: bytes, hello: ProducerHello) -> None:
        # Before an epoch is open the tail may still be fetched, and with it messages of this very
        # producer: a number given now could be one that the tail already holds.
        if not self.reign.epoch:
            raise self._not_open()
        session, older = self.intake.hello(sender, hello)
        if older is not None and older.sender != sender:
            text = f"a newer session submits as producer {hello.producer}"
            self.reign.reply(older.sender, Refused(Reason.TAKEN_OVER, text, older.session))
        entry = self.reign.log.producers.get(session.name)
        self.reign.reply(
            sender,
            ProducerWelcome(
                session.session,
                self.reign.cluster,
                self.reign.node,
                self.reign.epoch,
                entry.last_producer_seq if entry else 0,
                entry.released_up_to(self.reign.gate.released_seq) if entry else 0,
                self.reign.limits.max_message_bytes,
                self.reign.timing.heartbeat_ms,
            ),
        )

    def _on_submit(self, sender: bytes, submit: Submit, now_ns: int, wall_ns: int) -> None:
        session = self.intake.find(sender, submit.session)
        released_seq = self.reign.gate.released_seq
        known, fresh = self.intake.submit(session, submit, released_seq, self._refuse)
        if known is not None:
            self._answer_known(known)
        if fresh is not None:
            self._accept(fresh, now_ns, wall_ns)

    def _refuse(self, size: int) -> Refusal | None:
        """Why `size` more bytes cannot be taken now, if so. Asked before a seq is given."""
        gate, limits = self.reign.gate, self.reign.limits
        if not self.reign.epoch:
            return self._not_open()
        if gate.pending_messages >= limits.pending_messages or (
            gate.pending_bytes + size > limits.pending_bytes and gate.pending_messages
        ):
            return Refusal(
                Reason.BUSY,
                f"{gate.pending_messages} messages ({gate.pending_bytes} bytes) wait for the "
                f"standby's ack, which is the bound; the node is {self.reign.holder.state.value}: "
                f"{self.reign.holder.why}",
            )
        if self._turn_bytes + HEADER_BYTES + size > self.reign.room_bytes:
            return Refusal(
                Reason.DISK_FULL, f"node {self.reign.node} has no disk space for the next segment"
            )
        return None

    def _not_open(self) -> Refusal:
        if self.reign.holder.state is NodeState.RESUMING:
            return Refusal(
                Reason.BUSY, f"node {self.reign.node} is RESUMING: {self.reign.holder.why}"
            )
        return Refusal(
            Reason.NOT_PRIMARY,
            f"node {self.reign.node} is {self.reign.holder.state.value}: {self.reign.holder.why}",
        )

    def _accept(self, fresh: Fresh, now_ns: int, wall_ns: int) -> None:
        record = self.reign.sequencer.data(fresh, now_ns, wall_ns)
        self._take_into_turn(record, now_ns)

    def _take_into_turn(self, record: Sequenced, now_ns: int) -> None:
        self.reign.gate.hold(record)
        self._turn.append(record)
        self._turn_bytes += len(record.raw)
        self.reign.record_ns = now_ns

    def _answer_known(self, known: Known) -> None:
        """Confirms again what is released; what is not waits for the gate like all else."""
        self.reign.counters.count("duplicates", known.last - known.first + 1)
        self._confirm_known(known)

    def _confirm_known(self, known: Known) -> None:
        released, waiting = split_runs(known.runs, self.reign.gate.released_seq)
        if released:
            session = known.session
            self.reign.reply(session.sender, Confirmed(session.session, self.reign.epoch, released))
        if waiting:
            self.intake.await_release(known.session, waiting)

    # Replicate, write, release ----------------------------------------------------------------

    def _ship(self, now_ns: int) -> None:
        """Sends the turn's records to a standby that is at their start, and has them written."""
        reign = self.reign
        turn, self._turn = self._turn, []
        standby = reign.standby
        if standby and standby.takes_live(turn[0].first_seq):
            for group, last in groups(turn):
                records = memoryview(group)
                reign.link(standby, LinkRecords(standby.session, reign.gate.released_seq, records))
                standby.note_sent(last, len(group), now_ns)
        reign.append([record.raw for record in turn], self._turn_bytes)
        if reign.level is AckLevel.SYNCED:
            reign.effects.append(Sync())
        reign.counters.count("records", len(turn))
        reign.counters.count("messages", reign.written_seq - turn[0].first_seq + 1)
        reign.counters.count("bytes", self._turn_bytes)
        self._turn_bytes = 0

    def _catch_up(self) -> None:
        """Streams on from the journal to a standby that is behind it."""
        standby = self.reign.standby
        if standby:
            self.reign.effects.append(
                StreamLink(standby.sender, standby.session, standby.sent.seq, CHUNK_BYTES)
            )

    def _release(self) -> None:
        reign = self.reign
        gate, standby = reign.gate, reign.standby
        before = gate.released_seq
        if not standby or not standby.welcomed or standby.acked.seq <= before:
            return
        own_seq = reign.synced_seq if reign.level is AckLevel.SYNCED else reign.written_seq
        released = gate.advance(own_seq, standby.acked.seq)
        if gate.released_seq == before:
            return
        for name, runs in confirmations(released).items():
            session = self.intake.of(name)
            if session is not None:
                reign.reply(session.sender, Confirmed(session.session, reign.epoch, runs))
        reign.effects += [Publish(frame) for frame, _ in groups(released)]
        reign.counters.count("released", gate.released_seq - before)
        for known in self.intake.known_awaiting():
            self.intake.awaiting.pop(known.session.name)  # what still waits is put back
            self._confirm_known(known)

    # Time -------------------------------------------------------------------------------------

    def _on_time(self, now_ns: int, wall_ns: int) -> None:
        timing = self.reign.timing
        standby = self.reign.standby
        if standby and now_ns - standby.heard_ns > timing.link_timeout_ms * MS:
            silent_ms = (now_ns - standby.heard_ns) // MS
            self.reign.lose_standby(
                f"nothing heard from {self.reign.peer} for {silent_ms} ms", now_ns
            )
        if now_ns - self._beat_ns >= timing.heartbeat_ms * MS:
            self._beat_ns = now_ns
            self._beat()
        if (
            self.reign.level is not AckLevel.SYNCED
            and now_ns - self._sync_ns >= timing.sync_interval_ms * MS
        ):
            self._sync_ns = now_ns
            if self.reign.synced_seq < self.reign.written_seq:
                self.reign.effects.append(Sync())
        tick_ns = timing.tick_interval_ms * MS
        if tick_ns and now_ns - self.reign.record_ns >= tick_ns and self._may_tick():
            self._take_into_turn(self.reign.sequencer.tick(now_ns, wall_ns), now_ns)

    def _may_tick(self) -> bool:
        """Only while releases go on: in a stall, ticks would only add to what is pending."""
        reign = self.reign
        gated = reign.holder.state is NodeState.GATED and not reign.gate.pending
        return gated and reign.room_bytes >= CHUNK_BYTES

    def _beat(self) -> None:
        released_seq = self.reign.gate.released_seq
        if self.reign.standby:
            self.reign.link(
                self.reign.standby,
                LinkBeat(
                    self.reign.standby.session,
                    self.reign.epoch,
                    self.reign.standby.sent.seq,
                    self.reign.synced_seq,
                    released_seq,
                    self.reign.holder.state.value,
                ),
            )
        if self.reign.epoch:
            head = Head(self.reign.cluster, self.reign.node, self.reign.epoch, released_seq)
            self.reign.effects.append(Publish(encode(head)))
