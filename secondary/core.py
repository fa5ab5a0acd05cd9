"""The standby without I/O: events in, effects out.

It dials the primary, proves where its log ends, takes the stream in and acknowledges it. Decides
what may be acknowledged: only what continues this log, byte for byte, and is held at the ack level.
It acknowledges no epoch below one that it has promised, and that promise is on its disk first.

A broken stream is never patched: anything unexpected ends the session, and a new one (on a new
socket, so that nothing of the old can arrive late) starts from the last record held.
"""

from __future__ import annotations

from collections import deque
from typing import assert_never

import msgspec

from ..shared.config import AckLevel, Config
from ..shared.effects import (
    Append,
    Dial,
    Effect,
    HangUp,
    Note,
    Reply,
    SaveMemory,
    SendLink,
    SendTail,
    Sync,
)
from ..shared.errors import Reason, RemoteError
from ..shared.events import FromProducer, Room, Synced
from ..shared.limits import CHUNK_BYTES, MAX_EPOCHS_IN_HELLO, TURN_HEADROOM_BYTES
from ..shared.log import LogState
from ..shared.messages import (
    PROTOCOL_VERSION,
    IntakeRequest,
    LinkAck,
    LinkBeat,
    LinkFetch,
    LinkFromSecondary,
    LinkHello,
    LinkPromise,
    LinkPromised,
    LinkRecords,
    LinkWelcome,
    Refused,
    Submit,
)
from ..shared.roles import NodeState, StateHolder
from ..shared.state import NodeMemory
from ..shared.telemetry import Counters
from ..shared.wire import Position, parse_records
from .events import Event, FromPrimary

MS = 1_000_000
TIMER_NS = 2 * MS  # how often the timers are looked at while messages keep coming
SESSIONS_PER_INCARNATION = 1 << 24


class SecondaryCore:
    """The protocol of a secondary node."""

    def __init__(
        self, config: Config, node: str, memory: NodeMemory, log: LogState, now_ns: int
    ) -> None:
        self.node = node
        self.peer = config.peer_of(node)
        self.peer_intake = config.node(self.peer).intake
        self.cluster = config.cluster
        self.level = config.pair.ack_level
        self.timing = config.timing
        self.memory = memory
        self.log = log
        self.counters = Counters()
        self.holder = StateHolder(now_ns)
        self.released_seq = 0  # as far as the primary has told
        self.written_seq = self.synced_seq = log.last_seq
        self.acked_seq = 0
        self.room_bytes = 0
        self.epoch = 0  # the epoch of the stream; 0 while there is none
        self.primary_state = ""
        self.heard_ns = now_ns
        self.dialled_ns = now_ns - config.timing.link_timeout_ms * MS
        self._session = memory.incarnation * SESSIONS_PER_INCARNATION
        self._dialled = False
        self._turn: list[bytes | memoryview] = []
        self._turn_bytes = 0
        self._unsynced: deque[Position] = deque()
        self._effects: list[Effect] = []
        self._beat_ns = self._sync_ns = self._roomy_ns = self._look_ns = now_ns
        self._enter(NodeState.ORPHANED, f"dialling the primary {self.peer}", now_ns)

    # Events -----------------------------------------------------------------------------------

    def handle(self, event: Event, now_ns: int) -> None:
        """Takes one event in. What follows from it is in the effects of `end_turn`."""
        match event:
            case FromPrimary():
                self._on_primary(event, now_ns)
            case FromProducer(sender, message):
                self._on_producer(sender, message)
            case Synced(seq):
                self.synced_seq = max(self.synced_seq, seq)
            case Room(size):
                self.room_bytes = size
            case _:
                assert_never(event)

    def end_turn(self, now_ns: int) -> list[Effect]:
        """Closes the turn: writes and acknowledges its records, and does what is due by time.

        Returns the effects since the last call, to be performed in order.
        """
        self._write_and_ack()
        if now_ns >= self._look_ns:
            self._look_ns = now_ns + TIMER_NS
            self._on_time(now_ns)
        effects, self._effects = self._effects, []
        return effects

    @property
    def link_up(self) -> bool:
        """Whether a stream from the primary stands."""
        return self.epoch > 0

    def turn_is_full(self) -> bool:
        """Whether no more of the stream may be taken in this turn: the journal has room for what
        was taken, and must say first what room is left."""
        return self._turn_bytes + TURN_HEADROOM_BYTES > self.room_bytes

    # The link ---------------------------------------------------------------------------------

    def _on_primary(self, event: FromPrimary, now_ns: int) -> None:
        message = event.message
        if not self._dialled or message.session != self._session:
            self.counters.count("stale-link-messages")
            return
        self.heard_ns = now_ns
        try:
            match message:
                case LinkRecords():
                    self._on_records(message, now_ns)
                case LinkBeat():
                    self._on_beat(message)
                case LinkWelcome():
                    self._on_welcome(message, now_ns)
                case LinkPromise(_, epoch):
                    self._on_promise(epoch)
                case LinkFetch(_, after):
                    self._on_fetch(after, event)
                case Refused(reason, text):
                    self._on_refused(reason, text, now_ns)
                case _:
                    assert_never(message)
        except RemoteError as error:
            self.counters.refused("link", error.reason)
            self._send(Refused(error.reason, error.text, self._session))
            diverged = error.reason is Reason.DIFFERENT_HISTORY
            self._hang_up(str(error), now_ns, diverged=diverged)

    def _on_records(self, message: LinkRecords, now_ns: int) -> None:
        if not self.epoch:
            raise RemoteError(Reason.NO_SESSION, "records before a welcome")
        size = len(message.records)
        if self._turn_bytes + size > self.room_bytes:
            raise RemoteError(
                Reason.DISK_FULL, f"node {self.node} has no disk space for the next segment"
            )
        for record in parse_records(message.records):
            self.log.apply(record)
            self._turn.append(record.raw)
            self._turn_bytes += len(record.raw)
        self._note_released(message.released_seq)

    def _on_beat(self, beat: LinkBeat) -> None:
        """What the primary has sent was sent before the beat: if it is not here, it is lost. A gap
        in mid-stream shows by the next record; this one shows a loss at the tail of the stream."""
        if self.epoch and beat.last_seq > self.log.last_seq:
            raise RemoteError(
                Reason.GAP, f"sent up to seq {beat.last_seq}, received up to {self.log.last_seq}"
            )
        self.primary_state = beat.state
        self._note_released(beat.released_seq)

    def _note_released(self, released_seq: int) -> None:
        self.released_seq = max(self.released_seq, min(released_seq, self.log.last_seq))

    def _on_welcome(self, welcome: LinkWelcome, now_ns: int) -> None:
        """The stream begins. The target is stored first: until this node holds it, it lacks
        something that may be released, and a restart must not forget that."""
        if welcome.node != self.peer:
            raise RemoteError(Reason.WRONG_NODE, f"welcomed by {welcome.node}, not {self.peer}")
        if welcome.epoch < self.memory.promised_epoch:
            raise RemoteError(
                Reason.WRONG_EPOCH,
                f"a stream of epoch {welcome.epoch}, after epoch {self.memory.promised_epoch} "
                "was promised",
            )
        if welcome.common != self.log.position:
            raise RemoteError(
                Reason.GAP, f"a stream after seq {welcome.common.seq}, not {self.log.last_seq}"
            )
        if welcome.ack_level != self.level.value:
            raise RemoteError(
                Reason.WRONG_ACK_LEVEL,
                f"the primary's ack level is {welcome.ack_level}, this node's {self.level.value}: "
                "both nodes must run with the same pair.ack_level",
            )
        self._save(promised_epoch=welcome.epoch, target=welcome.target)
        self.epoch = welcome.epoch
        self.acked_seq = self.log.last_seq
        self._unsynced.clear()
        self._judge_sync(now_ns)

    def _on_promise(self, epoch: int) -> None:
        if epoch <= self.memory.promised_epoch:
            raise RemoteError(
                Reason.WRONG_EPOCH, f"epoch {self.memory.promised_epoch} is promised already"
            )
        self._save(promised_epoch=epoch, target=None)
        self._send(LinkPromised(self._session, epoch))

    def _on_fetch(self, after: Position, event: FromPrimary) -> None:
        if 0 <= after.seq < event.first_seq - 1:
            raise RemoteError(
                Reason.NOT_RETAINED,
                f"the log of {self.peer} ends at seq {after.seq}, this journal begins at "
                f"{event.first_seq}: what lies between is not retained",
            )
        if event.own_hash != after.hash:
            raise RemoteError(
                Reason.DIFFERENT_HISTORY,
                f"the logs differ: node {self.node} does not hold the record with which the log of "
                f"{self.peer} ends at seq {after.seq}",
            )
        self._effects.append(SendTail(self._session, after.seq, CHUNK_BYTES))

    def _on_refused(self, reason: Reason, text: str, now_ns: int) -> None:
        diverged = reason is Reason.DIFFERENT_HISTORY
        self._hang_up(f"the primary {self.peer} refused: {text}", now_ns, diverged=diverged)

    def _write_and_ack(self) -> None:
        if self._turn:
            raws, self._turn, self._turn_bytes = self._turn, [], 0
            position = self.log.position
            if self.level is AckLevel.RECEIVED:
                self._ack(position)
            self._effects.append(Append(raws, position.seq))
            self.counters.count("records", len(raws))
            self.counters.count("messages", position.seq - self.written_seq)
            self.written_seq = position.seq
            if self.level is AckLevel.WRITTEN:
                self._ack(position)
            elif self.level is AckLevel.SYNCED:
                self._unsynced.append(position)
                self._effects.append(Sync())
        held: Position | None = None
        while self._unsynced and self._unsynced[0].seq <= self.synced_seq:
            held = self._unsynced.popleft()
        if held:
            self._ack(held)

    def _ack(self, position: Position) -> None:
        if self.epoch:
            self.acked_seq = position.seq
            self._send(LinkAck(self._session, self.epoch, position))

    def _judge_sync(self, now_ns: int) -> None:
        target = self.memory.target
        if target is not None and self.acked_seq >= target.seq:
            self._enter(NodeState.IN_SYNC, f"holds all that {self.peer} may have released", now_ns)
        else:
            missing = (target.seq if target else 0) - self.acked_seq
            self._enter(NodeState.CATCHING_UP, f"{missing} messages behind {self.peer}", now_ns)

    # Dialling ---------------------------------------------------------------------------------

    def _dial(self, now_ns: int) -> None:
        """A new session on a new socket. At level synced, only what is on the disk is claimed."""
        self._session += 1
        self._dialled = True
        self.dialled_ns = self.heard_ns = now_ns
        self.counters.count("dials")
        if self.level is AckLevel.SYNCED:
            self._effects.append(Sync(wait=True))
        self._effects.append(Dial())
        self._send(
            LinkHello(
                PROTOCOL_VERSION,
                self.cluster,
                self.node,
                self.memory.incarnation,
                self._session,
                self.log.history.epochs[-MAX_EPOCHS_IN_HELLO:],
                self.log.position,
                self.memory.promised_epoch,
                self.level.value,
            )
        )

    def _hang_up(self, why: str, now_ns: int, *, diverged: bool = False) -> None:
        self.epoch = 0
        self._dialled = False
        self.primary_state = ""
        self._unsynced.clear()
        self._effects.append(HangUp())
        self._enter(NodeState.DIVERGED if diverged else NodeState.ORPHANED, why, now_ns)

    def _on_time(self, now_ns: int) -> None:
        timing = self.timing
        if self.holder.state is NodeState.DIVERGED:
            return
        self._mind_room(now_ns)
        if self._dialled and now_ns - self.heard_ns > timing.link_timeout_ms * MS:
            self._hang_up(f"nothing heard from the primary {self.peer}", now_ns)
        elif self.holder.state is NodeState.CATCHING_UP:
            self._judge_sync(now_ns)
        due = now_ns - self.dialled_ns >= timing.link_timeout_ms * MS
        if not self._dialled and due and self.room_bytes >= TURN_HEADROOM_BYTES:
            self._dial(now_ns)
        if now_ns - self._beat_ns >= timing.heartbeat_ms * MS:
            self._beat_ns = now_ns
            if self._dialled:
                self._beat()
        if now_ns - self._sync_ns >= timing.sync_interval_ms * MS:
            self._sync_ns = now_ns
            if self.level is not AckLevel.SYNCED and self.synced_seq < self.written_seq:
                self._effects.append(Sync())

    def _mind_room(self, now_ns: int) -> None:
        """Without room nothing is taken from the link. A moment is normal (the next segment is
        being prepared); for longer the disk is full: hang up, and dial again once there is room."""
        if self.room_bytes >= TURN_HEADROOM_BYTES:
            self._roomy_ns = now_ns
        elif now_ns - self._roomy_ns >= self.timing.link_timeout_ms * MS:
            why = f"no disk space for the next segment on node {self.node}"
            if self._dialled:
                self._hang_up(why, now_ns)
            else:
                self._enter(self.holder.state, why, now_ns)

    def _beat(self) -> None:
        self._send(
            LinkBeat(
                self._session,
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
        self._effects.append(Reply(sender, refused))

    def _save(self, *, promised_epoch: int, target: Position | None) -> None:
        self.memory = msgspec.structs.replace(
            self.memory, promised_epoch=promised_epoch, target=target
        )
        self._effects.append(SaveMemory(self.memory))

    def _send(self, message: LinkFromSecondary) -> None:
        self._effects.append(SendLink(b"", message))

    def _enter(self, state: NodeState, why: str, now_ns: int) -> None:
        if self.holder.enter(state, why, now_ns):
            self._effects.append(Note(f"{state.value}: {why}"))
