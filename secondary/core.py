"""The standby without I/O: events in, effects out.

It dials the primary, proves where its log ends, takes the stream in and acknowledges it. Decides
what is acknowledged when: at the ack level, in the session in which it came, and nothing of an
epoch below one that this node has promised. What may be taken in is decided by `stream`, when the
lead was handed over by `handover`, what operators ask of a standby by `duties`.
"""

from __future__ import annotations

from collections import deque
from typing import Any, assert_never

import msgspec

from ..shared.config import AckLevel, Config
from ..shared.effects import (
    Append,
    Become,
    Dial,
    Effect,
    HangUp,
    Note,
    Reply,
    SaveMemory,
    SendLink,
    Sync,
)
from ..shared.errors import Reason
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
from ..shared.limits import MAX_EPOCHS_IN_HELLO, TURN_HEADROOM_BYTES
from ..shared.log import LogState
from ..shared.messages import (
    PROTOCOL_VERSION,
    IntakeRequest,
    LinkAck,
    LinkBeat,
    LinkFromSecondary,
    LinkHello,
    LinkReceipts,
    Refused,
    Submit,
)
from ..shared.roles import NodeState
from ..shared.state import NodeMemory
from ..shared.telemetry import Divergence
from ..shared.wire import Position
from .duties import Duties
from .events import Event, FromPrimary, LinkDenied
from .handover import Handover
from .parting import Parting
from .promotion import is_promotable
from .stream import Stream

MS = 1_000_000
TIMER_NS = 2 * MS  # how often the timers are looked at while messages keep coming
SESSIONS_PER_INCARNATION = 1 << 24


class SecondaryCore:
    """The protocol of a secondary node."""

    def __init__(
        self,
        config: Config,
        node: str,
        memory: NodeMemory,
        log: LogState,
        handed: Handed,
        now_ns: int,
    ) -> None:
        self.node = node
        self.peer = config.peer_of(node)
        self.peer_intake = config.node(self.peer).intake
        self.cluster = config.cluster
        self.level = config.pair.ack_level
        self.timing = config.timing
        self.memory = memory
        self.log = log
        self.counters = handed.counters
        self.holder = handed.holder
        self.released_seq = handed.released_seq  # as far as the primary has told
        self.written_seq = log.last_seq
        self.synced_seq = log.last_seq if handed.synced_seq is None else handed.synced_seq
        self.acked_seq = 0
        self.room_bytes = 0
        self.epoch = 0  # the epoch of the stream; 0 while there is none
        self.primary_state = ""
        self.divergence: Divergence | None = None
        self.heard_ns = now_ns
        self.redial_ns = now_ns  # when to dial again
        self.effects: list[Effect] = []
        self.become: Become | None = None  # the last effect of this core
        self.session = max(memory.incarnation * SESSIONS_PER_INCARNATION, handed.link_session)
        self.dialled = False
        self.promised = 0  # asked for by this session and not opened yet: acks wait for that
        self.turn: list[bytes | memoryview] = []
        self.turn_bytes = 0
        self.unsynced: deque[Position] = deque()
        self._beat_ns = self._sync_ns = self._roomy_ns = self._look_ns = now_ns
        self.desk = handed.desk
        if handed.reinstated:
            self.save(fenced="", target=None, doubt="reinstated, and has not caught up since")
        self._stream = Stream(self)
        self._parting = Parting(self, now_ns)
        self._handover = Handover(self, now_ns)
        self.duties = Duties(self, handed, now_ns)
        self._redirect(handed.sessions)
        if memory.fenced and not handed.reinstated:
            self.enter(NodeState.FENCED, memory.fenced, now_ns)
        else:
            self.enter(NodeState.ORPHANED, f"dialling the primary {self.peer}", now_ns)

    # Events -----------------------------------------------------------------------------------

    def handle(self, event: Event, now_ns: int, wall_ns: int) -> None:
        """Takes one event in. What follows from it is in the effects of `end_turn`."""
        match event:
            case FromPrimary():
                self._stream.handle(event, now_ns)
            case Room():
                self.room_bytes = event.bytes
            case FromProducer(sender, message, _):
                self._on_producer(sender, message)
            case LinkDenied(text):
                if self.dialled:
                    self.hang_up(text, now_ns)
            case KeysChanged():
                self.desk.on_keys_changed(event, now_ns, wall_ns)
                self.save(keys=event.digest)
                if event.renewed and self.dialled:
                    self.hang_up(f"the key of {self.node} has changed", now_ns)
            case Synced(seq):
                self.synced_seq = max(self.synced_seq, seq)
            case FromControl():
                self.desk.on_control(event, now_ns, wall_ns)
            case Quarantined(entries):
                self.desk.entries = entries
            case PeerAnswered():
                self.desk.talk.on_answered(event, now_ns, wall_ns)
            case _:
                assert_never(event)

    def end_turn(self, now_ns: int, wall_ns: int) -> list[Effect]:
        """Closes the turn: writes and acknowledges its records, and does what is due by time.

        Returns the effects since the last call, to be performed in order.
        """
        self._write_and_ack()
        self._handover.on_turn(now_ns)
        if now_ns >= self._look_ns:
            self._look_ns = now_ns + TIMER_NS
            self._on_time(now_ns)
            self._parting.on_time(now_ns)
            self.desk.talk.expire(now_ns, wall_ns)
        self.duties.resume_order(now_ns, wall_ns)
        effects, self.effects = self.effects, []
        effects += self.desk.take_effects()
        if self.become is not None:
            effects.append(self.become)
        return effects

    @property
    def is_promotable(self) -> bool:
        """Whether this node certainly holds everything that was ever released."""
        return is_promotable(self.memory, self.log)

    @property
    def link_up(self) -> bool:
        """Whether a stream from the primary stands."""
        return self.epoch > 0

    def turn_is_full(self) -> bool:
        """Whether no more of the stream may be taken in this turn: the journal has room for what
        was taken, and must say first what room is left."""
        return self.turn_bytes + TURN_HEADROOM_BYTES > self.room_bytes

    # Writing and acknowledging ----------------------------------------------------------------

    def _write_and_ack(self) -> None:
        if self.turn:
            raws, self.turn, self.turn_bytes = self.turn, [], 0
            self._handover.received = True
            position = self.log.position
            # The ack of a closing record makes the primary surrender: at no level may it be lost
            # with this process, or nobody would lead.
            early = self.level is AckLevel.RECEIVED and self.log.closed is None
            if early:
                self.ack(position)
            self.append(raws)
            if self.level is not AckLevel.SYNCED:
                if not early:
                    self.ack(position)
            else:
                self.unsynced.append(position)
                self.effects.append(Sync())
        held: Position | None = None
        while self.unsynced and self.unsynced[0].seq <= self.synced_seq:
            held = self.unsynced.popleft()
        if held:
            self.ack(held)

    def append(self, raws: list[bytes | memoryview]) -> None:
        """Has records written that end the log now."""
        last_seq = self.log.last_seq
        self.effects.append(Append(raws, last_seq))
        self.counters.count("records", len(raws))
        self.counters.count("messages", last_seq - self.written_seq)
        self.room_bytes -= sum(map(len, raws))
        self.written_seq = last_seq

    def ack(self, position: Position) -> None:
        if self.epoch and not self.promised:
            self.acked_seq = position.seq
            self.send(LinkAck(self.session, self.epoch, position))

    def judge_sync(self, now_ns: int) -> None:
        target = self.memory.target
        if target is not None and self.acked_seq >= target.seq:
            self.enter(NodeState.IN_SYNC, f"holds all that {self.peer} may have released", now_ns)
        elif target is None:
            self.enter(NodeState.CATCHING_UP, f"follows {self.peer}, which is in solo", now_ns)
        else:
            missing = target.seq - self.acked_seq
            self.enter(NodeState.CATCHING_UP, f"{missing} messages behind {self.peer}", now_ns)

    # Dialling ---------------------------------------------------------------------------------

    def _dial(self, now_ns: int) -> None:
        """A new session on a new socket. At level synced, only what is on the disk is claimed."""
        self.session += 1
        self.dialled = True
        self.heard_ns = now_ns
        self.redial_ns = now_ns + self.timing.link_timeout_ms * MS
        self.counters.count("dials")
        if self.level is AckLevel.SYNCED:
            self.effects.append(Sync(wait=True))
        self.effects.append(Dial())
        self.send(
            LinkHello(
                PROTOCOL_VERSION,
                self.cluster,
                self.node,
                self.memory.incarnation,
                self.session,
                self.log.history.epochs[-MAX_EPOCHS_IN_HELLO:],
                self.log.position,
                self.memory.promised_epoch,
                self.level.value,
            )
        )

    def hang_up(self, why: str, now_ns: int, *, diverged: bool = False) -> None:
        """Ends the session; a new one is dialled in a moment, unless both logs differ."""
        self.epoch = self.promised = 0
        self.dialled = False
        self.primary_state = ""
        self.unsynced.clear()
        self.effects.append(HangUp())
        if self.holder.state is not NodeState.FENCED:
            self.enter(NodeState.DIVERGED if diverged else NodeState.ORPHANED, why, now_ns)

    def _on_time(self, now_ns: int) -> None:
        timing = self.timing
        if self.holder.state in (NodeState.DIVERGED, NodeState.FENCED) or self.become is not None:
            return
        self._mind_room(now_ns)
        if self.dialled and now_ns - self.heard_ns > timing.link_timeout_ms * MS:
            self.hang_up(f"nothing heard from the primary {self.peer}", now_ns)
        elif self.holder.state is NodeState.CATCHING_UP:
            self.judge_sync(now_ns)
        if not self.dialled and now_ns >= self.redial_ns and self.room_bytes >= TURN_HEADROOM_BYTES:
            self._dial(now_ns)
        if now_ns - self._beat_ns >= timing.heartbeat_ms * MS:
            self._beat_ns = now_ns
            if self.dialled:
                self._beat()
        if now_ns - self._sync_ns >= timing.sync_interval_ms * MS:
            self._sync_ns = now_ns
            if self.level is not AckLevel.SYNCED and self.synced_seq < self.written_seq:
                self.effects.append(Sync())

    def _mind_room(self, now_ns: int) -> None:
        """Without room nothing is taken from the link. A moment is normal (the next segment is
        being prepared); for longer the disk is full: hang up, and dial again once there is room."""
        if self.room_bytes >= TURN_HEADROOM_BYTES:
            self._roomy_ns = now_ns
        elif now_ns - self._roomy_ns >= self.timing.link_timeout_ms * MS:
            why = f"no disk space for the next segment on node {self.node}"
            if self.dialled:
                self.hang_up(why, now_ns)
            else:
                self.enter(self.holder.state, why, now_ns)

    def _beat(self) -> None:
        self.send(
            LinkBeat(
                self.session,
                self.epoch,
                self.written_seq,
                self.synced_seq,
                self.released_seq,
                self.holder.state.value,
            )
        )

    # Producers, memory, effects ---------------------------------------------------------------

    def _on_producer(self, sender: bytes, message: IntakeRequest) -> None:
        self.counters.refused("intake", Reason.NOT_PRIMARY)
        attempt = message.attempt if isinstance(message, Submit) else 0
        text = f"node {self.node} is the secondary ({self.holder.state.value}); try {self.peer}"
        refused = Refused(
            Reason.NOT_PRIMARY, text, message.session, attempt, leader=[self.peer_intake]
        )
        self.effects.append(Reply(sender, refused))

    def _redirect(self, sessions: list[tuple[bytes, int]]) -> None:
        """Tells the producers of the primary that this node was where to go now."""
        for sender, session in sessions:
            text = f"node {self.node} gave the lead away; try {self.peer}"
            refused = Refused(Reason.NOT_PRIMARY, text, session, leader=[self.peer_intake])
            self.effects.append(Reply(sender, refused))

    def send_receipts(self) -> None:
        """Tells the leader what this node was asked to do, for the log."""
        if self.epoch and self.memory.receipts:
            self.send(LinkReceipts(self.session, self.memory.receipts))

    def save(self, **changes: Any) -> None:
        """Changes the memory, durably before what follows; nothing if it says that already."""
        memory = msgspec.structs.replace(self.memory, **changes)
        if memory != self.memory:
            self.memory = memory
            self.effects.append(SaveMemory(memory))

    def send(self, message: LinkFromSecondary) -> None:
        self.effects.append(SendLink(b"", message))

    def enter(self, state: NodeState, why: str, now_ns: int) -> None:
        if self.holder.enter(state, why, now_ns):
            self.note(f"{state.value}: {why}")

    def note(self, text: str) -> None:
        self.effects.append(Note(text))
