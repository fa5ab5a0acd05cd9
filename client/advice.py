"""What an operator can do now: the commands that fit what both nodes say of themselves.

Decides which command to name for which combination of states. Decides nothing about whether the
command may run: its preflight does, with more than a status tells. Pure: used by `interlock status`
and by the console.

The advice names the least drastic way first, and never a way that gives something up without
saying what.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..shared.telemetry import NodeStatus

Nodes = Mapping[str, NodeStatus | None]

LEADING = frozenset({"GATED", "STALLED", "SOLO", "DRAINING"})
FOLLOWING = frozenset({"IN_SYNC", "CATCHING_UP"})


def leads(status: NodeStatus | None) -> bool:
    """Whether the node has an open epoch of its own."""
    return status is not None and status.role == "primary" and status.state in LEADING


def advise(nodes: Nodes) -> list[str]:
    """What to do now, the most pressing first; never empty."""
    up = {name: status for name, status in nodes.items() if status is not None}
    if not up:
        what = f"neither {' nor '.join(nodes)} answers: start both, with interlock primary and "
        return [what + "interlock secondary; if they run, check their control endpoints"]
    lines = [
        f"{name} is at work ({status.operation}): wait for its end"
        for name, status in up.items()
        if status.operation
    ]
    lines += _situation(nodes, up)
    lines += [
        f"{name} takes no submissions ({status.paused}): interlock resume"
        for name, status in up.items()
        if status.paused and leads(status)
    ]
    return lines


def describe(nodes: Nodes) -> str:
    """What each node says, in one sentence."""
    return "; ".join(_told(name, status) for name, status in nodes.items())


def _told(name: str, status: NodeStatus | None) -> str:
    if status is None:
        return f"{name} does not answer"
    return f"{name} is {status.state} as {status.role} in epoch {status.epoch}"


def _situation(nodes: Nodes, up: dict[str, NodeStatus]) -> list[str]:
    failed = [status for status in up.values() if status.state == "FAILED"]
    if failed:
        return [_failed(status, *_other(nodes, status.node)) for status in failed]
    if any(status.state == "DIVERGED" for status in up.values()):
        return [_diverged(nodes, up)]
    leaders = [status for status in up.values() if leads(status)]
    if len(leaders) > 1:
        return [_two_leaders(leaders)]
    if leaders:
        leader = leaders[0]
        return _led(leader, *_other(nodes, leader.node))
    return _leaderless(nodes, up)


def _other(nodes: Nodes, name: str) -> tuple[str, NodeStatus | None]:
    return next((each, status) for each, status in nodes.items() if each != name)


# Nobody may go on by itself -------------------------------------------------------------------


def _diverged(nodes: Nodes, up: dict[str, NodeStatus]) -> str:
    one, two = nodes
    first = next(
        (status.divergence.common_seq + 1 for status in up.values() if status.divergence), 0
    )
    where = f" from seq {first} on" if first else ""
    leader = next((name for name, status in up.items() if leads(status)), "")
    if leader:
        other = two if leader == one else one
        return (
            f"the logs differ{where}, and {leader} leads: interlock preflight reinstate {other} "
            f"shows what would be cut, interlock reinstate {other} --accept-loss gives it up"
        )
    primary = next((name for name, status in up.items() if status.role == "primary"), one)
    other = two if primary == one else one
    return (
        f"the logs differ{where}, so a person decides which one stays; the other is cut there and "
        f"kept in quarantine. To keep that of {primary}: interlock reinstate {other} --accept-loss."
        f" To keep that of {other}: interlock promote {other} --accept-loss, then interlock "
        f"reinstate {primary} --accept-loss"
    )


def _two_leaders(leaders: list[NodeStatus]) -> str:
    older, newer = sorted(leaders, key=lambda status: status.epoch)
    stop = "gate" if older.state == "SOLO" else "demote"
    return (
        f"BOTH NODES LEAD: {newer.node} in epoch {newer.epoch}, {older.node} in epoch "
        f"{older.epoch}. At once: interlock {stop} {older.node}; then look again"
    )


def _failed(status: NodeStatus, other: str, peer: NodeStatus | None) -> str:
    """A node that cannot open its journal: what the other one is decides how it gets a new one."""
    name = status.node
    repair = (
        f"repair it from the copy of {other}: interlock shutdown {name}, interlock log repair "
        f"{name}, and start it"
    )
    if peer is None:
        first = f"start {other} first; then {repair}"
    elif peer.state == "FAILED":
        first = f"neither node can go on; if one cannot be mended by what it says, {repair}"
    elif leads(peer):
        first = f"let it stream the log again: interlock reinstate {name} --reseed; or {repair}"
        if peer.state == "STALLED":
            first += f". To go on without it meanwhile, unprotected: interlock solo {other}"
    elif peer.role == "secondary":
        first = f"{repair}; if that takes too long, {other} can lead: interlock promote {other}"
    else:
        first = f"{other} waits for it: {repair}; to go on without it: interlock solo {other}"
    return f"{name} cannot go on ({status.why}): {first}"


# Somebody leads -------------------------------------------------------------------------------


def _led(leader: NodeStatus, other: str, peer: NodeStatus | None) -> list[str]:
    name = leader.node
    if peer is not None and peer.state == "FENCED":
        first = (
            f"{other} is fenced ({peer.fenced or peer.why}) and follows nobody: interlock "
            f"reinstate {other} makes it the standby; what only it holds is kept in quarantine"
        )
    elif leader.state == "GATED":
        first = _gated(leader, other, peer)
    elif leader.state == "STALLED":
        first = _stalled(leader, other, peer)
    elif leader.state == "SOLO":
        first = _solo(leader, other, peer)
    else:
        first = (
            f"{name} closes its epoch ({leader.why}): wait; if {other} is lost meanwhile: "
            f"interlock solo {name}"
        )
    lines = [first]
    if leader.unprotected or leader.state == "SOLO":
        lines.append(
            f"{name} releases alone: what it releases is on one disk only. To stop that without "
            f"waiting for {other}: interlock gate {name}"
        )
    return lines


def _gated(leader: NodeStatus, other: str, peer: NodeStatus | None) -> str:
    if peer is None:
        return (
            f"{leader.node} is gated, so {other} follows it, but {other} does not answer here: "
            "check its control endpoint and the way to it"
        )
    if peer.state == "IN_SYNC":
        return "nothing to do; for a planned exchange of roles: interlock switchover"
    return (
        f"wait: {other} catches up ({leader.link.lag_messages:,} messages behind) and cannot be "
        "promoted before"
    )


def _stalled(leader: NodeStatus, other: str, peer: NodeStatus | None) -> str:
    alone = (
        f"to release without {other}, unprotected, until it is back: interlock solo {leader.node}"
    )
    if peer is None:
        return (
            f"{leader.node} releases nothing without {other}, which does not answer: start "
            f"{other}, or mend its network; {alone}"
        )
    if peer.role == "primary":
        return (
            f"{leader.node} and {other} are both primaries: wait until one of them is fenced, then "
            "reinstate that one"
        )
    if peer.state in FOLLOWING:
        return f"wait: {other} is about to follow {leader.node}; {alone}"
    return (
        f"both nodes run, and {other} does not reach {leader.node}: check the link endpoint of "
        f"{leader.node} and the network between them; {alone}"
    )


def _solo(leader: NodeStatus, other: str, peer: NodeStatus | None) -> str:
    if peer is None:
        return f"start {other}, or mend its network: the gate then engages by itself"
    if peer.state in FOLLOWING:
        return (
            f"wait: {other} follows {leader.node}, and the gate engages by itself when it has "
            "caught up"
        )
    return (
        f"{other} runs and does not reach {leader.node}: check the link endpoint of {leader.node} "
        "and the network between them; the gate then engages by itself"
    )


# Nobody leads ---------------------------------------------------------------------------------


def _leaderless(nodes: Nodes, up: dict[str, NodeStatus]) -> list[str]:
    if any(status.state == "STARTING" for status in up.values()):
        return ["wait: a node is starting"]
    standbys = [status for status in up.values() if status.role == "secondary"]
    primaries = [status for status in up.values() if status.role == "primary"]
    if len(up) == 1:
        (status,) = up.values()
        other = _other(nodes, status.node)[0]
        return [_alone(status, other)]
    if len(standbys) == 2:
        return [_both_standby(standbys)]
    if len(primaries) == 2:
        return [_both_primary(primaries)]
    return [_link_down(primaries[0], standbys[0])]


def _alone(status: NodeStatus, other: str) -> str:
    """Only one node answers, and it does not lead."""
    name = status.node
    if status.state == "FENCED":
        return f"{name} is fenced ({status.fenced or status.why}): start {other}, which leads"
    if status.role == "primary":
        return (
            f"{name} waits for {other} before it leads again: start {other}; if {other} is lost, "
            f"to go on without it, unprotected: interlock solo {name}"
        )
    if status.state in FOLLOWING:
        return (
            f"{other} does not answer here, but {name} hears it: check the control endpoint of "
            f"{other} and the way to it"
        )
    if status.promotable:
        return (
            f"{other} does not answer. If it is lost: interlock promote {name} (you attest that "
            f"{other} is stopped). Otherwise start {other}: {name} follows it by itself"
        )
    return (
        f"{other} does not answer, and {name} may lack released messages "
        f"({status.doubt or status.why}): start {other}. Only if {other} is lost for good: "
        f"interlock promote {name} --accept-loss"
    )


def _both_standby(standbys: list[NodeStatus]) -> str:
    named = {status.closed_for for status in standbys if status.closed_for}
    fit = [status.node for status in standbys if status.promotable]
    if len(named) == 1 and (successor := named.pop()) in {status.node for status in standbys}:
        fit = [successor]
    if fit:
        return f"nobody leads: {' or '.join(f'interlock promote {name}' for name in fit)}"
    fenced = [status.node for status in standbys if status.state == "FENCED"]
    choices = [status.node for status in standbys if status.node not in fenced] or fenced
    looks = " and ".join(f"interlock preflight promote {name}" for name in choices)
    return f"nobody leads, and no node is known to hold everything: {looks} show what is missing"


def _both_primary(primaries: list[NodeStatus]) -> str:
    fenced = [status.node for status in primaries if status.state == "FENCED"]
    if len(fenced) == 1:
        other = next(status.node for status in primaries if status.node not in fenced)
        return (
            f"{fenced[0]} is fenced and {other} does not lead yet: interlock reinstate {fenced[0]} "
            f"makes it the standby of {other}"
        )
    older, newer = sorted(primaries, key=lambda status: status.epoch)
    return (
        f"both nodes are primaries and neither leads: wait, they ask each other; if it stays so, "
        f"the older one follows the newer one: interlock reinstate {older.node} (epoch "
        f"{older.epoch}; {newer.node} has epoch {newer.epoch})"
    )


def _link_down(primary: NodeStatus, standby: NodeStatus) -> str:
    if primary.state == "FENCED":
        return (
            f"{primary.node} is fenced ({primary.fenced or primary.why}) and nobody leads: "
            f"interlock promote {standby.node}, then interlock reinstate {primary.node}"
        )
    if standby.state == "FENCED":
        return (
            f"{standby.node} is fenced ({standby.fenced or standby.why}): interlock reinstate "
            f"{standby.node} makes it the standby of {primary.node}"
        )
    if standby.state in FOLLOWING or standby.link.up:
        return f"wait: {primary.node} opens its epoch with {standby.node}"
    return (
        f"{primary.node} waits for {standby.node}, which does not reach it: check the link "
        f"endpoint of {primary.node} and the network between them; to go on without "
        f"{standby.node}, unprotected: interlock solo {primary.node}"
    )
