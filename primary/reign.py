"""What the steps of a primary share: its log, gate, standby and watermarks, and the effects so far.

Decides nothing by itself. One object, so that each step module can be read alone.
"""

from __future__ import annotations

from ..shared.config import Config
from ..shared.effects import Append, Effect, Note, Reply, SendLink
from ..shared.log import LogState
from ..shared.messages import IntakeReply, LinkFromPrimary
from ..shared.roles import NodeState, StateHolder
from ..shared.state import NodeMemory
from ..shared.telemetry import Counters
from .gate import Gate
from .replicate import Standby
from .sequence import Sequencer


class Reign:
    """The state of one primary from its start to its end."""

    def __init__(
        self, config: Config, node: str, memory: NodeMemory, log: LogState, now_ns: int
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
        self.holder = StateHolder(now_ns)
        self.counters = Counters()
        self.sequencer = Sequencer(log, node)
        self.gate = Gate()
        self.standby: Standby | None = None
        self.epoch = 0  # the epoch that this node leads; 0 until it has opened one
        self.written_seq = self.synced_seq = log.last_seq
        self.room_bytes = 0
        self.record_ns = now_ns  # when the last record was sequenced
        self.effects: list[Effect] = []

    def append(self, raws: list[bytes | memoryview], size: int, *, durable: bool = False) -> None:
        """Has records written that end the log now. Effects are performed in order, so all that is
        asked for afterwards happens after the write."""
        last_seq = self.log.last_seq
        self.effects.append(Append(raws, last_seq, durable))
        self.room_bytes -= size
        self.written_seq = last_seq
        if durable:
            self.synced_seq = last_seq

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
        """The session is over; without one nothing is released."""
        self.standby = None
        if self.holder.state is NodeState.GATED:
            self.enter(NodeState.STALLED, why, now_ns)
        elif self.holder.state is NodeState.RESUMING:
            self.enter(NodeState.RESUMING, why, now_ns)
