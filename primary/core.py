"""The primary without I/O: events in, effects out.

One message's way: `intake` takes it, `sequence` gives it its seq, `replicate` sends it to the
standby, the journal has it written, `acks` hears that the standby holds it, `gate` releases it,
`feed` publishes and confirms it. This file only joins the steps and holds the node's state; what
operators ask of a primary is in `duties`.

The shell calls `handle` for each event of a turn and `end_turn` once, then performs the effects in
order. Replication is asked for before the local write, so that the standby works meanwhile; a
release needs both, so the order cannot release too early.
"""

from __future__ import annotations

from typing import assert_never

from ..shared.config import AckLevel, Config
from ..shared.effects import Effect, Publish, StreamLink, Sync
from ..shared.epochs import Mode
from ..shared.errors import Reason, RemoteError
from ..shared.events import (
    FromControl,
    FromProducer,
    KeysChanged,
    PeerAnswered,
    Quarantined,
    Room,
    Synced,
)
from ..shared.handed import Handed
from ..shared.limits import CATCH_UP_BYTES, CHUNK_BYTES, MAX_PRODUCERS, TURN_HEADROOM_BYTES
from ..shared.log import LogState
from ..shared.messages import (
    Confirmed,
    Head,
    LinkBeat,
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
from .duties import Duties
from .events import Event, FromStandby, Streamed
from .feed import confirmations
from .intake import Fresh, Intake, Known, Refusal, split_runs
from .peering import Peering
from .reign import Reign
from .sequence import groups
from .stages import Stages
from .watch import PeerWatch

MS = 1_000_000
TIMER_NS = 2 * MS  # how often the timers are looked at while messages keep coming
HOLD_HELLO_NS = 1_000 * MS  # how long a producer's hello waits for an epoch that is handed over


class PrimaryCore:
    """The protocol of a primary node."""

    def __init__(
        self,
        config: Config,
        node: str,
        memory: NodeMemory,
        log: LogState,
        handed: Handed,
        now_ns: int,
    ) -> None:
        self.reign = Reign(config, node, memory, log, handed, now_ns)
        self.session = handed.link_session
        self.stages = Stages()
        self.intake = Intake(self.reign.cluster, self.reign.limits, log.producers)
        self._peering = Peering(self.reign)
        self.duties = Duties(self.reign, self._peering, handed, now_ns)
        self._beat_ns = self._sync_ns = self._look_ns = now_ns
        self._watch = PeerWatch(self.reign, now_ns)
        self._held: list[tuple[bytes, ProducerHello, str]] = []  # until the epoch is open
        self._hold_until_ns = now_ns + HOLD_HELLO_NS if handed.handover else 0
        self.reign.enter(NodeState.RESUMING, f"waiting for the standby {self.reign.peer}", now_ns)

    # Events -----------------------------------------------------------------------------------

    def handle(self, event: Event, now_ns: int, wall_ns: int) -> None:
        """Takes one event in. What follows from it is in the effects of `end_turn`."""
        match event:
            case FromProducer():
                self._on_producer(event, now_ns, wall_ns)
            case FromStandby():
                self._peering.handle(event, now_ns, wall_ns)
            case Room():
                self.reign.room_bytes = event.bytes
            case KeysChanged():
                self._on_keys_changed(event, now_ns, wall_ns)
            case Synced(seq):
                self.reign.synced_seq = max(self.reign.synced_seq, seq)
            case Streamed(session, last, size):
                if self.reign.standby and self.reign.standby.session == session:
                    self.reign.standby.note_sent(last, size, now_ns)
            case FromControl():
                self.reign.desk.on_control(event, now_ns, wall_ns)
            case Quarantined(entries):
                self.reign.desk.entries = entries
            case PeerAnswered():
                self.reign.desk.talk.on_answered(event, now_ns, wall_ns)
            case _:
                assert_never(event)

    def end_turn(self, now_ns: int, wall_ns: int) -> list[Effect]:
        """Closes the turn: replicates and writes its records, releases what may be released, and
        does what is due by time. Returns the effects since the last call, to be performed in order.
        """
        if now_ns >= self._look_ns:
            self._look_ns = now_ns + TIMER_NS
            self._on_time(now_ns, wall_ns)
        reign = self.reign
        if reign.turn:
            reign.ship(now_ns)
        self.duties.step(now_ns, wall_ns)
        if self.wants_turn():
            self._catch_up()
        self._release(now_ns)
        if reign.draining is not None:
            self.duties.after_release(reign.draining, now_ns, wall_ns)
        if self._held and (reign.epoch or now_ns >= self._hold_until_ns):
            self._answer_held(now_ns, wall_ns)
        effects, reign.effects = reign.effects, []
        effects += reign.desk.take_effects()
        if reign.become is not None:
            effects.append(reign.become)
        return effects

    @property
    def sessions(self) -> list[tuple[bytes, int]]:
        """Where producers are, to be told when the lead goes to the other node."""
        held = [(sender, hello.session) for sender, hello, _ in self._held]
        return held + [(each.sender, each.session) for each in self.intake.sessions()]

    def wants_turn(self) -> bool:
        """Whether there is more to do at once, without waiting for an event."""
        reign = self.reign
        standby = reign.standby
        return standby is not None and standby.can_catch_up(reign.written_seq)

    @property
    def prunable_seq(self) -> int:
        """Up to here the journal is only history: released, and with the standby. 0 while there is
        no standby, which will need what it misses."""
        standby = self.reign.standby
        return min(self.reign.gate.released_seq, standby.acked.seq) if standby else 0

    def turn_is_full(self) -> bool:
        """Whether the turn must end before more is taken in: its records fill the journal's room,
        or enough have come for one write."""
        size = self.reign.turn_bytes + TURN_HEADROOM_BYTES
        return size > self.reign.room_bytes or self.reign.turn_bytes >= CHUNK_BYTES

    # Intake -----------------------------------------------------------------------------------

    def _on_producer(self, event: FromProducer, now_ns: int, wall_ns: int) -> None:
        sender, message, key = event.sender, event.message, event.key
        try:
            match message:
                case Submit():
                    self._on_submit(sender, message, key, now_ns, wall_ns)
                case ProducerPing(number):
                    self.intake.find(sender, number, key).seen_ns = now_ns
                    self.reign.reply(sender, ProducerPong(number, self.reign.holder.state.value))
                case ProducerHello():
                    self._on_producer_hello(sender, message, key, now_ns)
                case ProducerBye(number):
                    self.intake.bye(self.intake.find(sender, number, key))
                case _:
                    assert_never(message)
        except RemoteError as error:
            self.reign.counters.refused("intake", error.reason)
            self.intake.note_refused(sender)
            expected = error.expected if isinstance(error, Refusal) else 0
            attempt = message.attempt if isinstance(message, Submit) else 0
            leader = [self.reign.peer_intake] if error.reason is Reason.NOT_PRIMARY else []
            self.reign.reply(
                sender,
                Refused(error.reason, error.text, message.session, attempt, expected, leader),
            )

    def _on_producer_hello(
        self, sender: bytes, hello: ProducerHello, key: str, now_ns: int
    ) -> None:
        # Before an epoch is open the tail may still be fetched, and with it messages of this very
        # producer: a number given now could be one that the tail already holds.
        if not self.reign.epoch:
            if self._hold_until_ns and len(self._held) < MAX_PRODUCERS:
                self._held.append((sender, hello, key))
                return
            raise self._not_open()
        session, older = self.intake.hello(sender, hello, key)
        session.seen_ns = now_ns
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

    def _answer_held(self, now_ns: int, wall_ns: int) -> None:
        """The epoch that was handed over is open now; or it was not opened in time."""
        held, self._held = self._held, []
        self._hold_until_ns = 0
        for sender, hello, key in held:
            self._on_producer(FromProducer(sender, hello, key), now_ns, wall_ns)

    def _on_keys_changed(self, event: KeysChanged, now_ns: int, wall_ns: int) -> None:
        """Sessions end whose key may not use their name any more; the log is told of the change."""
        for session in self.intake.end_unwelcome(event.may):
            text = f"the key of this session may not submit as {session.name} any more"
            self.reign.reply(session.sender, Refused(Reason.NOT_ALLOWED, text, session.session))
        self._held = [held for held in self._held if event.may(held[2], held[1].producer)]
        self.reign.desk.on_keys_changed(event, now_ns, wall_ns)
        self.reign.save(keys=event.digest)

    def _on_submit(
        self, sender: bytes, submit: Submit, key: str, now_ns: int, wall_ns: int
    ) -> None:
        session = self.intake.find(sender, submit.session, key)
        session.seen_ns = now_ns
        released_seq = self.reign.gate.released_seq
        known, fresh = self.intake.submit(session, submit, released_seq, self._refuse)
        if known is not None:
            self._answer_known(known)
        if fresh is not None:
            self._accept(fresh, now_ns, wall_ns)

    def _refuse(self, producer: str, size: int) -> Refusal | None:
        """Why `size` more bytes of a producer cannot be taken now, if so. Asked before a seq is
        given."""
        gate, limits = self.reign.gate, self.reign.limits
        if not self.reign.epoch:
            return self._not_open()
        if self.reign.draining is not None:
            return Refusal(
                Reason.BUSY, f"node {self.reign.node} is DRAINING: {self.reign.holder.why}"
            )
        if self.reign.log.paused:
            return Refusal(Reason.BUSY, f"the intake is {self.reign.log.paused}")
        if gate.pending_messages >= limits.pending_messages or (
            gate.pending_bytes + size > limits.pending_bytes and gate.pending_messages
        ):
            return Refusal(
                Reason.BUSY,
                f"{gate.pending_messages} messages ({gate.pending_bytes} bytes) wait for the "
                f"standby's ack, which is the bound; the node is {self.reign.holder.state.value}: "
                f"{self.reign.holder.why}",
            )
        own_bytes = gate.bytes_of.get(producer, 0)
        if own_bytes and own_bytes + size > limits.producer_pending_bytes:
            return Refusal(
                Reason.BUSY,
                f"{own_bytes} bytes of this producer are pending, which is its bound "
                "(limits.producer_pending_bytes)",
            )
        if self.reign.turn_bytes + HEADER_BYTES + size > self.reign.room_bytes:
            return Refusal(
                Reason.DISK_FULL,
                f"node {self.reign.node} has no next segment: its disk is full, or too slow for it",
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
        self.reign.take(self.reign.sequencer.data(fresh, now_ns, wall_ns), now_ns)

    def _answer_known(self, known: Known) -> None:
        """Confirms again what is released; what is not waits for the gate like all else."""
        count = known.last - known.first + 1
        known.session.duplicates += count
        self.reign.counters.count("duplicates", count)
        self._confirm_known(known)

    def _confirm_known(self, known: Known) -> None:
        released, waiting = split_runs(known.runs, self.reign.gate.released_seq)
        if released:
            session = known.session
            self.reign.reply(session.sender, Confirmed(session.session, self.reign.epoch, released))
        if waiting:
            self.intake.await_release(known.session, waiting)

    # Catch up, release ------------------------------------------------------------------------

    def _catch_up(self) -> None:
        """Streams on from the journal to a standby that is behind it."""
        standby = self.reign.standby
        if standby:
            self.reign.effects.append(
                StreamLink(standby.sender, standby.session, standby.sent.seq, CATCH_UP_BYTES)
            )

    def _release(self, now_ns: int) -> None:
        reign = self.reign
        gate, standby = reign.gate, reign.standby
        before = gate.released_seq
        if reign.solo is not None:
            # Rule 6: the only copy must survive a power cut.
            released = gate.advance(reign.synced_seq, reign.synced_seq)
        elif reign.mode is Mode.GATED and standby is not None and standby.welcomed:
            if standby.acked.seq <= before:
                return
            own_seq = reign.synced_seq if reign.level is AckLevel.SYNCED else reign.written_seq
            released = gate.advance(own_seq, standby.acked.seq)
        else:
            return
        if gate.released_seq == before:
            return
        if self.intake.awaiting:  # older than what was pending
            for known in self.intake.known_awaiting():
                self.intake.awaiting.pop(known.session.name)  # what still waits is put back
                self._confirm_known(known)
        for name, runs in confirmations(released).items():
            session = self.intake.of(name)
            if session is not None:
                reign.reply(session.sender, Confirmed(session.session, reign.epoch, runs))
        reign.effects += [Publish(frame) for frame, _ in groups(released)]
        reign.counters.count("released", gate.released_seq - before)
        if before < reign.opened_seq <= gate.released_seq:
            self._beat()  # the first release of a reign: who waits for it is to know at once

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
        self._peering.on_time(now_ns)
        self._watch.on_time(now_ns, wall_ns)
        if (
            self.reign.level is not AckLevel.SYNCED
            and now_ns - self._sync_ns >= timing.sync_interval_ms * MS
        ):
            self._sync_ns = now_ns
            if self.reign.synced_seq < self.reign.written_seq:
                self.reign.effects.append(Sync())
        tick_ns = timing.tick_interval_ms * MS
        if tick_ns and now_ns - self.reign.record_ns >= tick_ns and self._may_tick():
            self.reign.take(self.reign.sequencer.tick(now_ns, wall_ns), now_ns)

    def _may_tick(self) -> bool:
        """Only while releases go on: in a stall, ticks would only add to what is pending."""
        reign = self.reign
        serves = reign.holder.state in (NodeState.GATED, NodeState.SOLO) and not reign.gate.pending
        return serves and not reign.draining and reign.room_bytes >= CHUNK_BYTES

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
