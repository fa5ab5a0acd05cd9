"""What has to hold before an operation of a primary begins, and what it will do: the preflight.

Decides nothing at execution but through the same functions: the desk asks them again. Pure.
"""

from __future__ import annotations

from ..shared.operations import Guard, Operation, Request, Risk
from ..shared.post import Assessment, PeerView
from ..shared.rejoin import assess_entry, assess_rejoin
from ..shared.roles import NodeState
from .reign import Reign

S = NodeState
LEADING = (S.GATED, S.STALLED, S.SOLO)

# In which states each operation makes sense, and what to do in another.
FITTING: dict[Operation, tuple[tuple[NodeState, ...], str]] = {
    Operation.SWITCHOVER: (
        (S.GATED,),
        "wait until the standby follows; if the primary is lost: interlock promote",
    ),
    Operation.DEMOTE: ((S.GATED, S.STALLED), "in solo, first: interlock gate"),
    Operation.SOLO: (
        (S.STALLED, S.RESUMING, S.DRAINING),
        "solo is for a primary that its standby does not follow",
    ),
    Operation.GATE: ((S.SOLO,), "the gate is engaged in every state but SOLO"),
    Operation.PAUSE: (LEADING, "only a node that leads can pause the intake"),
    Operation.RESUME: (LEADING, "only a node that leads can resume the intake"),
    Operation.SHUTDOWN: (
        (S.GATED, S.STALLED, S.RESUMING, S.DIVERGED),
        "in solo, first: interlock gate, or interlock switchover once the standby follows",
    ),
    Operation.REINSTATE: ((S.DIVERGED,), "reinstate is for the node that is fenced or diverged"),
}


def assess(reign: Reign, request: Request, peer: PeerView) -> Assessment:
    """The preflight of `request` on this primary."""
    operation = request.operation
    if operation is Operation.PROMOTE:
        return Assessment([_is_standby(reign)])
    if operation in (Operation.DISCARD, Operation.RESUBMIT):
        return assess_entry(request, reign.desk.entries)
    guards = [_fitting(reign, operation)]
    found = Assessment(guards)
    match operation:
        case Operation.SWITCHOVER:
            guards += [_standby_follows(reign), _peer_answers(peer)]
            found.consequences = [
                f"takes nothing new until {reign.gate.pending_messages} pending messages are acked",
                f"closes epoch {reign.log.history.number} and hands over to {reign.peer}",
                f"{reign.node} becomes its standby; nothing is lost",
            ]
        case Operation.DEMOTE:
            _assess_demote(reign, found)
        case Operation.SOLO:
            _assess_solo(reign, request, peer, found)
        case Operation.GATE:
            found.consequences = [_gate_consequence(reign)]
        case Operation.PAUSE:
            guards.append(_paused(reign, wanted=False))
            found.consequences = ["producers are told BUSY; what is pending is still released"]
        case Operation.RESUME:
            guards.append(_paused(reign, wanted=True))
            found.consequences = ["producers submit again"]
        case Operation.SHUTDOWN:
            found.risks = _tail_risk(reign, "in doubt")
            found.consequences = [_shutdown_consequence(reign)]
        case Operation.REINSTATE:
            rejoin = assess_rejoin(reign.log, reign.gate.released_seq, request, peer)
            guards += rejoin.guards
            found.risks, found.consequences = rejoin.risks, rejoin.consequences
    return found


def _is_standby(reign: Reign) -> Guard:
    return Guard(
        "role is secondary",
        False,
        f"{reign.node} is the primary ({reign.holder.state.value})",
        "a standby",
        f"interlock promote {reign.peer}, or interlock status",
    )


def _fitting(reign: Reign, operation: Operation) -> Guard:
    states, remedy = FITTING[operation]
    state = reign.holder.state
    fits = state in states
    if operation is Operation.SOLO and state is S.DRAINING:
        fits = reign.draining is not None and reign.draining.closed is not None
    return Guard(
        "state fits",
        fits,
        f"{reign.node} is {state.value}: {reign.holder.why}",
        " or ".join(each.value for each in states),
        "" if fits else remedy,
    )


def _standby_follows(reign: Reign) -> Guard:
    standby = reign.standby
    lag = reign.log.last_seq - standby.acked.seq if standby else 0
    follows = standby is not None and standby.welcomed and standby.acked.seq >= standby.caught_up_at
    return Guard(
        "standby has caught up",
        follows,
        f"{reign.peer} follows, {lag} messages behind" if standby else f"{reign.peer} is not there",
        f"{reign.peer} follows and has caught up once",
        "" if follows else f"start {reign.peer}, or wait until it has caught up",
    )


def _peer_answers(peer: PeerView) -> Guard:
    return Guard(
        "peer answers on control",
        peer.compared is not None,
        str(peer),
        f"{peer.name} answers",
        "" if peer.compared else f"check the control endpoint of {peer.name} and its network",
    )


def _tail_risk(reign: Reign, what: str) -> list[Risk]:
    gate = reign.gate
    if reign.log.last_seq <= gate.released_seq:
        return []
    producers: dict[str, int] = {}
    for record in gate.pending:
        if record.producer:
            producers[record.producer] = producers.get(record.producer, 0) + record.count
    first, last = gate.released_seq + 1, reign.log.last_seq
    return [Risk(what, first, last, last - first + 1, producers)]


def _assess_demote(reign: Reign, found: Assessment) -> None:
    number = reign.log.history.number
    if reign.holder.state is S.GATED:
        found.guards.append(_standby_follows(reign))
        found.consequences = [
            f"drains and closes epoch {number}; {reign.node} becomes a standby; nothing is lost",
            f"nobody leads until: interlock promote {reign.peer}",
        ]
        return
    found.risks = _tail_risk(reign, "in doubt")
    found.consequences = [
        f"{reign.node} stops leading without the ack of {reign.peer}",
        f"what is not released stays in its log, and is quarantined if {reign.peer} leads without",
        f"nobody leads until: interlock promote {reign.peer}",
    ]


def _assess_solo(reign: Reign, request: Request, peer: PeerView, found: Assessment) -> None:
    status = peer.status
    if peer.compared is None:
        found.attestation = peer.stopped if request.accept_loss else peer.led_nothing
    elif status is not None:
        leads = status.role == "primary" and status.epoch >= reign.log.history.number
        found.guards.append(
            Guard(
                "peer does not lead",
                not leads,
                str(peer),
                f"{peer.name} is no primary",
                f"interlock demote {peer.name} first" if leads else "",
            )
        )
        ahead = peer.compared.last.seq > reign.log.last_seq
        found.guards.append(
            Guard(
                "holds what the peer holds",
                not ahead,
                f"{peer.name} ends at seq {peer.compared.last.seq}, {reign.node} at seq "
                f"{reign.log.last_seq}",
                f"{reign.node} holds all that {peer.name} holds",
                "mend the link: what is missing is then fetched by itself" if ahead else "",
            )
        )
    doubt = reign.memory.doubt
    if peer.compared is None and not reign.log.last_seq:
        doubt = doubt or "its log is empty: if this pair ever ran, its disk was replaced"
    if doubt and not reign.epoch and not request.accept_loss:
        found.guards.append(
            Guard(
                "holds all that was released",
                False,
                doubt,
                "a log that can have lost nothing",
                f"bring {reign.peer} back; or --accept-loss",
            )
        )
    found.consequences = [
        f"UNPROTECTED: {reign.node} releases alone, each message once it is on its own disk",
        f"{reign.peer} cannot be promoted until the gate has engaged again",
        "the gate engages by itself when the standby has caught up",
    ]
    if request.for_ms:
        found.consequences.append(
            f"after {request.for_ms / 1000:g} s without the standby the primary stalls"
        )
    found.risks = _tail_risk(reign, "unprotected")


def _gate_consequence(reign: Reign) -> str:
    if reign.standby is not None and reign.standby.welcomed:
        return f"the gate engages as soon as {reign.peer} has caught up"
    return f"nothing more is released until {reign.peer} follows and has caught up"


def _shutdown_consequence(reign: Reign) -> str:
    if reign.holder.state is S.GATED:
        return f"drains, closes epoch {reign.log.history.number}, and ends; nothing is lost"
    return "ends at once; what is not released stays in its log"


def _paused(reign: Reign, *, wanted: bool) -> Guard:
    is_paused = bool(reign.log.paused)
    return Guard(
        "intake is paused" if wanted else "intake is not paused",
        is_paused is wanted,
        reign.log.paused or "the intake takes submissions",
        "a paused intake" if wanted else "an intake that takes submissions",
    )
