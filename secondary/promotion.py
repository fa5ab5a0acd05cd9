"""Promotion: what has to hold before a standby takes the lead. The guards are the table below.

Decides nothing but that; the steps are in `duties`. Pure.

What makes it safe (DESIGN section 7): a gated primary cannot release without this node's ack, and
once promoted this node acknowledges nothing lower. The hole is a primary in solo. So a node is
promotable only while it holds its target, which a promise, a solo or a doubtful start withdraws;
and a peer that answers is asked to surrender first, one that is silent is attested for.
"""

from __future__ import annotations

from collections.abc import Callable

from ..shared.epochs import Relation
from ..shared.log import LogState
from ..shared.operations import Guard, Request, Risk
from ..shared.post import Assessment, PeerView
from ..shared.roles import NodeState
from ..shared.state import NodeMemory

S = NodeState


def is_promotable(memory: NodeMemory, log: LogState) -> bool:
    """Whether this node certainly holds everything that was ever released (rule 2)."""
    target = memory.target
    return target is not None and not memory.fenced and log.last_seq >= target.seq


class Candidate:
    """What the guards look at."""

    def __init__(
        self,
        node: str,
        memory: NodeMemory,
        log: LogState,
        state: NodeState,
        why: str,
        request: Request,
        peer: PeerView,
    ) -> None:
        self.node, self.memory, self.log = node, memory, log
        self.state, self.why, self.request, self.peer = state, why, request, peer

    @property
    def can_fetch(self) -> bool:
        """Whether the peer answers and its log is ours and more: what we lack can be fetched."""
        compared = self.peer.compared
        return (
            compared is not None
            and self.peer.common_held
            and compared.relation in (Relation.SAME, Relation.BEHIND)
        )

    @property
    def lacks_released(self) -> bool:
        """Whether the peer says that it released something that this log does not hold, and that
        cannot be fetched: the logs part before it."""
        compared = self.peer.compared
        if compared is None or self.can_fetch:
            return False
        return compared.status.watermarks.released_seq > compared.common.seq

    @property
    def is_certain(self) -> bool:
        """Whether this node holds everything that was ever released, as it is."""
        promotable = is_promotable(self.memory, self.log) or self.was_handed_over
        return promotable and not self.lacks_released

    @property
    def was_handed_over(self) -> bool:
        """Whether the last epoch was closed for this node and nothing was promised since."""
        closed = self.log.closed
        return (
            closed is not None
            and closed.successor == self.node
            and self.memory.promised_epoch <= closed.number
        )


def _state_fits(one: Candidate) -> Guard:
    fits = one.state in (S.ORPHANED, S.FENCED, S.DIVERGED)
    return Guard(
        "the primary does not serve this standby",
        fits,
        f"{one.node} is {one.state.value}: {one.why}",
        "a standby without its primary",
        "" if fits else "interlock switchover: both nodes are well, and it loses nothing",
    )


def _peer_does_not_lead_on(one: Candidate) -> Guard:
    status = one.peer.status
    leads_later = (
        status is not None
        and status.role == "primary"
        and status.epoch > one.log.history.number
        and status.leader == one.peer.name
    )
    passed = (
        not leads_later or one.request.accept_loss or (one.state is S.ORPHANED and one.can_fetch)
    )
    return Guard(
        "the other node leads no later epoch",
        passed,
        str(one.peer),
        f"no epoch above {one.log.history.number}, or one whose log can be fetched",
        "" if passed else f"let it follow: interlock reinstate {one.node}",
    )


def _holds_released(one: Candidate) -> Guard:
    promotable = one.is_certain
    target = one.memory.target
    if promotable:
        observed = f"holds seq {one.log.last_seq}" + (
            f", its target is {target.seq}" if target else ", handed over to it"
        )
    elif target is not None and not one.memory.fenced and one.log.last_seq < target.seq:
        observed = f"holds seq {one.log.last_seq}, its target is {target.seq}"
    elif one.lacks_released:
        observed = f"{one.peer.name} released records that this log does not hold"
    else:
        observed = one.memory.doubt or one.memory.fenced or "it never followed a gated primary"
    passed = promotable or one.can_fetch or one.request.accept_loss
    if not promotable and one.can_fetch:
        observed += f"; {one.peer.name} answers, and what is missing is fetched from it"
    return Guard(
        "holds all that was released",
        passed,
        observed,
        "everything that was ever released",
        ""
        if passed
        else f"start {one.peer.name}, or mend the network, so that it can be fetched; or "
        "--accept-loss",
    )


def _has_room(room_bytes: int, needed: int, node: str) -> Guard:
    return Guard(
        "disk space",
        room_bytes >= needed,
        f"{room_bytes} bytes are prepared",
        f"{needed} bytes",
        "" if room_bytes >= needed else f"free space on {node}",
    )


GUARDS: tuple[Callable[[Candidate], Guard], ...] = (
    _state_fits,
    _peer_does_not_lead_on,
    _holds_released,
)


def assess_promotion(one: Candidate, room_bytes: int, needed_bytes: int) -> Assessment:
    """The preflight of a promotion."""
    found = Assessment([guard(one) for guard in GUARDS])
    found.guards.append(_has_room(room_bytes, needed_bytes, one.node))
    peer, request = one.peer, one.request
    if peer.compared is None:
        found.attestation = peer.stopped if request.accept_loss else peer.led_nothing
    found.risks = _risks(one)
    if peer.compared is not None and peer.compared.status.role == "primary":
        found.consequences.append(f"{peer.name} answers: it stops leading first, durably")
    if request.solo:
        found.consequences.append(
            f"UNPROTECTED: {one.node} leads in solo and releases alone until {peer.name} has "
            "caught up again"
        )
    else:
        found.consequences.append(
            f"{one.node} leads, gated: it releases nothing until {peer.name} follows "
            "(add --solo to release without it)"
        )
    return found


def _risks(one: Candidate) -> list[Risk]:
    compared, target = one.peer.compared, one.memory.target
    if one.is_certain:
        if compared is not None and compared.beyond.messages and not one.can_fetch:
            return [compared.beyond]
        return []
    if one.can_fetch or not one.request.accept_loss:
        return []
    if compared is not None:
        return [compared.beyond] if compared.beyond.messages else []
    first = one.log.last_seq + 1
    last = target.seq if target is not None and target.seq >= first else 0
    return [Risk("lost", first, last, max(0, last - first + 1))]
