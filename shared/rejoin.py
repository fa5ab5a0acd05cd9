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
from .wire import Position


def assess_rejoin(log: LogState, released_seq: int, request: Request, peer: PeerView) -> Assessment:
    """Guards, risks and consequences of reinstating this node under its peer.

    `released_seq`: what this node knows as released.
    """
    compared = peer.compared
    leads = compared is not None and compared.status.role == "primary"
    guards = [
        Guard(
            "the other node leads",
            leads,
            str(peer),
            f"{peer.name} is the primary",
            "" if leads else f"start {peer.name}, or first: interlock promote {peer.name}",
        )
    ]
    if compared is None:
        return Assessment(guards)
    if request.reseed:
        risks = [Risk("quarantined", 1, log.last_seq, log.last_seq)] if log.last_seq else []
        text = (
            f"sets this node's whole journal aside ({log.last_seq} messages) and streams "
            f"{compared.last.seq} messages from {peer.name}"
        )
        return Assessment(guards, risks, [text])
    common = compared.common
    guards.append(
        Guard(
            "a common point is proven",
            peer.common_held,
            f"{peer.name} names seq {common.seq}; this node "
            + ("holds the same record there" if peer.common_held else "holds another record there"),
            "the same record on both nodes",
            "" if peer.common_held else "add --reseed: stream the whole log from the leader",
        )
    )
    loss = why_loss(log, released_seq, common, peer)
    guards.append(
        Guard(
            "nothing released is cut",
            not loss or request.accept_loss,
            loss or "the tail was never released",
            "a tail of gated epochs that the leader's log can lack",
            "" if not loss or request.accept_loss else "DIVERGED: see the risks; --accept-loss",
        )
    )
    cut = log.last_seq - common.seq
    risks = []
    if cut:
        known = peer.beyond.producers if peer.beyond else {}
        what = "lost" if loss else "quarantined"
        risks.append(Risk(what, common.seq + 1, log.last_seq, cut, known))
    text = f"cuts {cut} messages after seq {common.seq} and keeps them in quarantine"
    return Assessment(
        guards,
        risks,
        [text if cut else "cuts nothing", f"follows {peer.name} and catches up from its log"],
    )


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
