"""Taking over what the leader has handed over: its epoch is closed for this node, which holds the
closing record at the ack level and has promised nobody anything since.

Decides when that record alone is enough. It is in the process that received it: while that lives,
the one that wrote the record goes on only with this node's promise, which ends the matter. It is
not after a restart: meanwhile the other node may have been put in solo, truly attesting that this
one was stopped. Then the other node is asked, and has to give way first (rule 1), with a log that
goes no further than ours. If it is silent, an operator promotes this node.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..shared.commands import PeerYield, Yielded
from ..shared.config import AckLevel
from ..shared.desk import PATIENCE_NS
from ..shared.effects import Become
from ..shared.epochs import EpochClosed
from ..shared.events import PeerAnswered
from ..shared.messages import PROTOCOL_VERSION
from ..shared.roles import Role

if TYPE_CHECKING:
    from .core import SecondaryCore

ASK_EVERY_NS = 500_000_000


class Handover:
    """The successor's side, for one core. `received`: the newest records came in this life."""

    def __init__(self, core: SecondaryCore, now_ns: int) -> None:
        self._core = core
        self._asked_ns = now_ns - ASK_EVERY_NS
        self.received = False

    def on_turn(self, now_ns: int) -> None:
        """Once a turn, after its records are written."""
        closed = self._to_take_over()
        if closed is None:
            return
        if self.received:
            self._take_over(closed, now_ns)
        elif self._core.desk.order is None and now_ns - self._asked_ns >= ASK_EVERY_NS:
            self._asked_ns = now_ns
            question = self._core.desk.compare_question()
            self._core.desk.talk.ask(question, PATIENCE_NS, self._on_compared, now_ns)

    def _to_take_over(self) -> EpochClosed | None:
        core = self._core
        closed = core.log.closed
        if closed is None or not closed.handover or core.become is not None:
            return None
        ours = closed.successor == core.node and closed.number == core.log.history.number
        if not ours or core.memory.promised_epoch > closed.number or core.memory.fenced:
            return None
        if core.level is AckLevel.SYNCED and core.synced_seq < core.log.last_seq:
            return None
        return closed

    def _on_compared(self, answered: PeerAnswered | None, now_ns: int, wall_ns: int) -> None:
        core = self._core
        peer = core.desk.view(answered)
        compared, closed = peer.compared, self._to_take_over()
        if compared is None or closed is None or core.desk.order is not None:
            return
        if not peer.common_held or compared.common.seq < compared.last.seq:
            return  # it went on beyond our log, or was never where we are: nothing by itself
        number = max(closed.number, compared.status.promised_epoch) + 1
        why = f"it handed epoch {closed.number} over to {core.node}"
        question = PeerYield(PROTOCOL_VERSION, core.cluster, core.node, number, True, why)
        core.desk.talk.ask(question, PATIENCE_NS, self._on_yielded, now_ns)

    def _on_yielded(self, answered: PeerAnswered | None, now_ns: int, wall_ns: int) -> None:
        closed = self._to_take_over()
        if closed is not None and answered and isinstance(answered.answer, Yielded):
            self._take_over(closed, now_ns)

    def _take_over(self, closed: EpochClosed, now_ns: int) -> None:
        core = self._core
        why = f"{core.peer} handed epoch {closed.number} over: {closed.reason}"
        if core.dialled:
            core.hang_up(why, now_ns)
        core.save(role=Role.PRIMARY, target=None, doubt="")
        core.note(why)
        core.become = Become(Role.PRIMARY)
