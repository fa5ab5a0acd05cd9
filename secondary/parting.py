"""Where the log of a node that may not follow parts from the leader's, and whether that was seen.

Decides when a FENCED node is in truth DIVERGED: when what lies beyond the common point may have
been released, so that somebody may have read both histories. Only an operator can leave that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..shared.desk import PATIENCE_NS
from ..shared.epochs import describe
from ..shared.events import PeerAnswered
from ..shared.rejoin import why_loss
from ..shared.roles import NodeState
from ..shared.telemetry import Divergence

if TYPE_CHECKING:
    from .core import SecondaryCore

ASK_EVERY_NS = 1_000_000_000
APART = (NodeState.FENCED, NodeState.DIVERGED)


class Parting:
    """Asks the peer how the logs stand, while this node may not follow."""

    def __init__(self, core: SecondaryCore, now_ns: int) -> None:
        self._core = core
        self._asked_ns = now_ns - ASK_EVERY_NS

    def on_time(self, now_ns: int) -> None:
        core = self._core
        if core.holder.state not in APART or now_ns - self._asked_ns < ASK_EVERY_NS:
            return
        self._asked_ns = now_ns
        core.desk.talk.ask(core.desk.compare_question(), PATIENCE_NS, self._on_compared, now_ns)

    def _on_compared(self, answered: PeerAnswered | None, now_ns: int, wall_ns: int) -> None:
        core = self._core
        peer = core.desk.view(answered)
        compared = peer.compared
        if compared is None or core.holder.state not in APART or core.become is not None:
            return
        common, log = compared.common, core.log
        core.divergence = Divergence(
            common.seq,
            describe(log.history.epochs, common.seq, log.last_seq),
            describe(compared.epochs, common.seq, compared.last.seq),
        )
        loss = why_loss(log, core.released_seq, common, peer)
        if loss and core.holder.state is NodeState.FENCED and compared.status.role == "primary":
            why = f"both nodes went on after seq {common.seq}, and {loss}"
            core.enter(NodeState.DIVERGED, why, now_ns)
