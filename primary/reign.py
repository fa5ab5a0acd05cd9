"""What the steps of a primary share: its log, gate, standby and watermarks, and the effects so far.

Decides nothing by itself. One object, so that each step module can be read alone.
"""

from __future__ import annotations

from typing import Any

import msgspec

from ..shared.config import AckLevel, Config
from ..shared.effects import Append, Become, Effect, Note, Reply, SaveMemory, SendLink, Sync
from ..shared.epochs import EpochClosed, Mode
from ..shared.handed import Handed, Opening
from ..shared.log import LogState
from ..shared.messages import IntakeReply, LinkFromPrimary, LinkRecords
from ..shared.roles import NodeState, Role
from ..shared.state import NodeMemory
from ..shared.telemetry import Divergence
from ..shared.wire import Position
from .gate import Gate
from .replicate import Standby
from .sequence import Sequenced, Sequencer, groups


class Solo(msgspec.Struct, frozen=True):
    """Releasing alone: since when, from which seq, and until when (0: until the gate engages)."""

    since_ns: int
    from_seq: int
    until_ns: int


class Draining(msgspec.Struct):
    """The epoch is being closed. `closing` is what its last record will say; `closed` is where that
    record is, once written: from then on this reign is over, whoever leads next."""

    closing: EpochClosed
    since_ns: int
    closed: Position | None = None


class Reign:
    """The state of one primary from its start to its end."""

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
        self.limits = config.limits
        self.memory = memory
        self.log = log
        self.holder = handed.holder
        self.counters = handed.counters
        self.desk = handed.desk
        self.sequencer = Sequencer(log, node)
        self.gate = Gate(handed.released_seq)
        self.standby: Standby | None = None
        self.epoch = 0  # the epoch that this node leads; 0 until it has opened one
        self.mode = Mode.GATED  # of that epoch
        self.opened_seq = 0  # of the record that opened it
        self.solo: Solo | None = None  # while this node releases alone
        self.draining: Draining | None = None
        self.divergence: Divergence | None = None
        self.peer_acked_seq = 0  # the most that the peer has acknowledged to this reign
        self.written_seq = log.last_seq
        self.synced_seq = log.last_seq if handed.synced_seq is None else handed.synced_seq
        self.room_bytes = 0
        self.turn: list[Sequenced] = []  # sequenced in this turn, to be written at its end
        self.turn_bytes = 0
        self.record_ns = now_ns  # when the last record was sequenced
        self.effects: list[Effect] = []
        self.become: Become | None = None  # this reign has ended; the last effect

    def append(
        self, raws: list[bytes | memoryview], size: int, last_seq: int, *, durable: bool = False
    ) -> None:
        """Has records written, up to `last_seq`. Effects are performed in order, so all that is
        asked for afterwards happens after the write."""
        self.effects.append(Append(raws, last_seq, durable))
        self.room_bytes -= size
        self.written_seq = last_seq
        if durable:
            self.synced_seq = last_seq

    def take(self, record: Sequenced, now_ns: int) -> None:
        """A sequenced record joins this turn: it is written and replicated with the others."""
        self.gate.hold(record)
        self.turn.append(record)
        self.turn_bytes += len(record.raw)
        self.record_ns = now_ns

    def ship(self, now_ns: int) -> None:
        """Sends the turn's records to a standby that is at their start, and has them written."""
        turn, self.turn = self.turn, []
        standby = self.standby
        if standby and standby.takes_live(turn[0].first_seq):
            for group, last in groups(turn):
                records = memoryview(group)
                self.link(standby, LinkRecords(standby.session, self.gate.released_seq, records))
                standby.note_sent(last, len(group), now_ns)
        self.append([record.raw for record in turn], self.turn_bytes, turn[-1].last.seq)
        if self.level is AckLevel.SYNCED or self.solo is not None:
            self.effects.append(Sync())
        counts = self.counters.counts
        counts["records"] += len(turn)
        counts["messages"] += self.written_seq - turn[0].first_seq + 1
        counts["bytes"] += self.turn_bytes
        self.turn_bytes = 0

    def append_control(self, record: Sequenced, now_ns: int) -> None:
        """Writes one control record, durably, and only then sends it to the standby. What was
        sequenced before it in this turn goes first."""
        if self.turn:
            self.ship(now_ns)
        self.gate.hold(record)
        self.append([record.raw], len(record.raw), record.last.seq, durable=True)
        self.record_ns = now_ns
        standby = self.standby
        if standby and standby.takes_live(record.first_seq):
            records = memoryview(record.raw)
            self.link(standby, LinkRecords(standby.session, self.gate.released_seq, records))
            standby.note_sent(record.last, len(record.raw), now_ns)

    def open_epoch(self, opening: Opening, now_ns: int, wall_ns: int) -> Position:
        """Opens an epoch whose number was promised, or taken alone. Where its record ends.

        The record is on the disk before the memory says that this node leads: a promotion has
        happened if and only if its opening is in the log (`shared.boot`).
        """
        record = self.sequencer.open_epoch(opening, now_ns, wall_ns)
        self.epoch, self.mode = opening.number, opening.mode
        self.opened_seq = record.last.seq
        self.draining = None
        self.append_control(record, now_ns)
        promised = max(opening.number, self.memory.promised_epoch)
        self.save(role=Role.PRIMARY, promised_epoch=promised, target=None, doubt="", fenced="")
        self.note(
            f"opened epoch {opening.number} ({opening.mode.value}) at seq {record.last.seq}: "
            f"{opening.reason}"
        )
        return record.last

    def save(self, **changes: Any) -> None:
        """Changes the memory, durably before what follows; nothing if it says that already."""
        memory = msgspec.structs.replace(self.memory, **changes)
        if memory != self.memory:
            self.memory = memory
            self.effects.append(SaveMemory(memory))

    def link(self, standby: Standby, message: LinkFromPrimary) -> None:
        self.effects.append(SendLink(standby.sender, message))

    def reply(self, to: bytes, message: IntakeReply) -> None:
        self.effects.append(Reply(to, message))

    def enter(self, state: NodeState, why: str, now_ns: int) -> None:
        if self.holder.enter(state, why, now_ns):
            self.effects.append(Note(f"{state.value}: {why}"))

    def note(self, text: str) -> None:
        self.effects.append(Note(text))

    def lose_standby(self, why: str, now_ns: int) -> None:
        """The session is over; without one nothing is released, but in solo."""
        self.standby = None
        state = self.holder.state
        if state is NodeState.GATED or (
            state is NodeState.DRAINING and self.draining and self.draining.closed is None
        ):
            self.enter(NodeState.STALLED, why, now_ns)
        elif state in (NodeState.RESUMING, NodeState.STALLED, NodeState.DRAINING):
            self.enter(state, why, now_ns)

    def leave(self, **memory: Any) -> None:
        """This reign is over: the node goes on as a secondary, with these changes of its memory."""
        self.epoch = 0
        self.standby = None
        self.solo = None
        self.save(role=Role.SECONDARY, **memory)
        self.become = Become(Role.SECONDARY)
