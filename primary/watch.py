"""Watches the peer on control while it does not follow.

It may have been promoted, and then it never dials this node.

Decides when to ask. What follows from the answer is in `succession`.
"""

from __future__ import annotations

from ..shared.commands import GetStatus, Status
from ..shared.events import PeerAnswered
from ..shared.messages import PROTOCOL_VERSION
from ..shared.roles import NodeState
from .reign import Reign
from .succession import judge_peer

ASK_EVERY_NS = 500_000_000


class PeerWatch:
    """Asks while this primary has no standby that makes it GATED."""

    def __init__(self, reign: Reign, now_ns: int) -> None:
        self._reign = reign
        self._asked_ns = now_ns - ASK_EVERY_NS

    def on_time(self, now_ns: int, wall_ns: int) -> None:
        talk = self._reign.desk.talk
        talk.expire(now_ns, wall_ns)
        if self._follows() or now_ns - self._asked_ns < ASK_EVERY_NS:
            return
        self._asked_ns = now_ns
        talk.ask(GetStatus(PROTOCOL_VERSION), ASK_EVERY_NS, self._on_answer, now_ns)

    def _follows(self) -> bool:
        return self._reign.holder.state is NodeState.GATED or self._reign.become is not None

    def _on_answer(self, answered: PeerAnswered | None, now_ns: int, wall_ns: int) -> None:
        if answered and isinstance(answered.answer, Status) and not self._follows():
            judge_peer(self._reign, answered.answer.status, now_ns)
