"""Reinstating: whether a node's log can follow the leader's, and what has to be cut for that.

Decides where the two logs part and whether what lies beyond was certainly never released. Pure.

Why a gated tail may go and a solo tail may not: a gated primary releases what its standby has
acknowledged. A standby that is promoted by the rules holds all that it acknowledged, so what is
beyond its log was never acknowledged, and never released. A primary in solo released alone. And a
standby that was promoted although it lacked something (`accepted_loss`) proves nothing.
"""

from __future__ import annotations

from .epochs import Mode
from .log import LogState
from .operations import Guard, Operation, Request, Risk
from .post import Assessment, PeerView
from .roles import NodeState
from .wire import Position

S = NodeState
LEADING = tuple(state.value for state in (S.GATED, S.STALLED, S.SOLO, S.DRAINING))


def assess_rejoin(log: LogState, released_seq: int, request: Request, peer: PeerView) -> Assessment:
    """Guards, risks and consequences of reinstating this node under its peer.

    `released_seq`: what this node knows as released.
    """
    guards = [_leads(log, peer)]
    compared = peer.compared
    if compared is None:
        return Assessment(guards)
    proven = peer.common_held or not log.last_seq
    if not request.reseed:
        guards.append(_common_point(peer))
    if proven:
        loss = why_loss(log, released_seq, compared.common, peer)
    else:
        loss = "no common point is proven: what this node holds may be nowhere else"
    guards.append(
        Guard(
            "nothing released is cut",
            not loss or request.accept_loss,
            loss or "what goes was never released, or is held by the other node",
            "a tail of gated epochs that the leader's log can lack",
            "" if not loss or request.accept_loss else "DIVERGED: see the risks; --accept-loss",
        )
    )
    first = 1 if request.reseed else compared.common.seq + 1
    cut = log.last_seq - first + 1
    risks = []
    if cut:
        known = peer.beyond.producers if peer.beyond and not request.reseed else {}
        risks.append(Risk("lost" if loss else "quarantined", first, log.last_seq, cut, known))
    return Assessment(guards, risks, _consequences(request, peer, log.last_seq, cut))


def _leads(log: LogState, peer: PeerView) -> Guard:
    """The peer leads an open epoch. Or it has gone on in one after the logs parted and was started
    again; or this node loses nothing: then it does not matter what the peer still lacks. A primary
    that merely waits for a promise may have lost what only this node holds."""
    compared = peer.compared
    leads = compared is not None and compared.status.role == "primary"
    observed = str(peer)
    if leads and compared is not None and compared.status.state not in LEADING:
        common, epochs = compared.common, compared.epochs
        went_on = bool(epochs) and epochs[-1].first_seq > common.seq and peer.common_held
        leads = went_on or not log.last_seq or (peer.common_held and log.last_seq == common.seq)
        observed += "" if leads else f", and may lack what this node holds after seq {common.seq}"
    return Guard(
        "the other node leads",
        leads,
        observed,
        f"{peer.name} is the primary and has opened its epoch",
        ""
        if leads
        else f"start {peer.name}, mend its link, or first: interlock promote {peer.name}",
    )


def _common_point(peer: PeerView) -> Guard:
    seq = peer.compared.common.seq if peer.compared else 0
    holds = "holds the same record there" if peer.common_held else "holds another record there"
    return Guard(
        "a common point is proven",
        peer.common_held,
        f"{peer.name} names seq {seq}; this node {holds}",
        "the same record on both nodes",
        "" if peer.common_held else "add --reseed: stream the whole log from the leader",
    )


def _consequences(request: Request, peer: PeerView, last_seq: int, cut: int) -> list[str]:
    assert peer.compared is not None
    if request.reseed:
        streams = f"streams {peer.compared.last.seq} messages from {peer.name}"
        return [f"sets this node's whole journal aside ({last_seq} messages) and {streams}"]
    text = f"cuts {cut} messages after seq {peer.compared.common.seq} and keeps them in quarantine"
    follows = f"follows {peer.name} and catches up from its log"
    return [text if cut else "cuts nothing", follows]


def why_loss(log: LogState, released_seq: int, common: Position, peer: PeerView) -> str:
    """Why something that is cut may have been released; empty if it cannot have been."""
    if log.last_seq == common.seq:
        return ""
    if released_seq > common.seq:
        return f"this node has released up to seq {released_seq}, the logs part after {common.seq}"
    epochs = log.history.epochs
    for index, epoch in enumerate(epochs):
        end = epochs[index + 1].first_seq - 1 if index + 1 < len(epochs) else log.last_seq
        if end > common.seq and epoch.mode is Mode.SOLO:
            return f"epoch {epoch.number} was solo: {epoch.leader} released alone up to seq {end}"
    if peer.compared is not None:
        for epoch in peer.compared.epochs:
            if epoch.first_seq > common.seq and epoch.accepted_loss:
                return f"epoch {epoch.number} of {epoch.leader} was opened accepting loss"
    return ""


def assess_entry(request: Request, entries: dict[str, str]) -> Assessment:
    """The preflight of giving up a quarantined tail, or of noting that it was submitted again."""
    state = entries.get(request.entry)
    passed = state is not None and state != "discarded"
    guard = Guard(
        "the entry is there",
        passed,
        f"{request.entry or 'no entry'} is {state or 'not known here'}",
        "a quarantine entry of this node that was not discarded",
        "" if passed else "see: interlock quarantine list",
    )
    discards = request.operation is Operation.DISCARD
    text = (
        f"the bytes of {request.entry} are deleted for good; the entry stays in the list"
        if discards
        else f"{request.entry} is marked as resubmitted; its bytes stay"
    )
    return Assessment([guard], consequences=[text])
