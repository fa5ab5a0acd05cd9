"""What a primary says of itself, from its core and its process. Reads only."""

from __future__ import annotations

from ..shared.desk import under_way
from ..shared.log import closed_for
from ..shared.roles import Role
from ..shared.telemetry import (
    LinkStatus,
    NodeStatus,
    PendingStatus,
    ProcessStatus,
    ProducerStatus,
    Unprotected,
    Watermarks,
)
from .core import PrimaryCore

MS = 1_000_000
PRODUCERS_SHOWN = 100


def primary_status(
    core: PrimaryCore, process: ProcessStatus, now_ns: int, wall_ns: int
) -> NodeStatus:
    """The status as of now."""
    reign = core.reign
    counters = reign.counters + process.counters
    newest = reign.log.history.last
    acked_seq = reign.standby.acked.seq if reign.standby else 0
    return NodeStatus(
        cluster=reign.cluster,
        node=reign.node,
        role=Role.PRIMARY.value,
        state=reign.holder.state.value,
        why=reign.holder.why,
        state_since_ns=wall_ns - (now_ns - reign.holder.since_ns),
        time_ns=wall_ns,
        started_ns=process.started_ns,
        incarnation=reign.memory.incarnation,
        pid=process.pid,
        version=process.version,
        epoch=reign.log.history.number,
        mode=newest.mode.value if newest else "",
        leader=newest.leader if newest else "",
        promised_epoch=reign.memory.promised_epoch,
        ack_level=reign.level.value,
        watermarks=Watermarks(
            reign.log.last_seq,
            reign.written_seq,
            reign.synced_seq,
            acked_seq,
            reign.gate.released_seq,
        ),
        pending=_pending(core, now_ns),
        link=_link(core, now_ns),
        journal=process.journal,
        producers=_producers(core, now_ns),
        producers_known=len(reign.log.producers),
        counters=dict(counters.counts),
        refused=dict(counters.refused_by_reason),
        events=process.events,
        doubt=reign.memory.doubt,
        fenced=reign.memory.fenced,
        paused=reign.log.paused,
        closed_for=closed_for(reign.log),
        unprotected=_unprotected(core, now_ns, wall_ns),
        divergence=reign.divergence,
        operation=under_way(reign.desk),
        environment=process.environment,
        approvals=process.approvals,
        stages=core.stages.report(now_ns),
        memory_bytes=process.memory_bytes,
        security=process.security,
    )


def _unprotected(core: PrimaryCore, now_ns: int, wall_ns: int) -> Unprotected | None:
    solo = core.reign.solo
    if solo is None:
        return None
    until_ns = wall_ns + solo.until_ns - now_ns if solo.until_ns else 0
    messages = max(0, core.reign.gate.released_seq - solo.from_seq)
    return Unprotected(wall_ns - (now_ns - solo.since_ns), messages, until_ns)


def _pending(core: PrimaryCore, now_ns: int) -> PendingStatus:
    gate, limits = core.reign.gate, core.reign.limits
    oldest = (now_ns - gate.pending[0].since_ns) / MS if gate.pending else 0.0
    return PendingStatus(
        gate.pending_messages,
        gate.pending_bytes,
        oldest,
        limits.pending_messages,
        limits.pending_bytes,
    )


def _link(core: PrimaryCore, now_ns: int) -> LinkStatus:
    reign = core.reign
    standby = reign.standby
    if standby is None:
        return LinkStatus(peer=reign.peer, lag_messages=reign.gate.pending_messages)
    oldest = standby.unacked[0].sent_ns if standby.unacked else now_ns
    return LinkStatus(
        peer=reign.peer,
        up=standby.welcomed,
        heard_age_ms=(now_ns - standby.heard_ns) / MS,
        peer_state=standby.state,
        peer_incarnation=standby.incarnation,
        lag_messages=reign.log.last_seq - standby.acked.seq,
        lag_bytes=standby.unacked_bytes,
        lag_ms=(now_ns - oldest) / MS,
    )


def _producers(core: PrimaryCore, now_ns: int) -> list[ProducerStatus]:
    reign = core.reign
    shown = []
    for session in core.intake.sessions()[:PRODUCERS_SHOWN]:
        entry = reign.log.producers.get(session.name)
        shown.append(
            ProducerStatus(
                session.name,
                True,
                entry.last_producer_seq if entry else 0,
                entry.released_up_to(reign.gate.released_seq) if entry else 0,
                session.duplicates,
                session.refused,
                (now_ns - session.seen_ns) / MS,
            )
        )
    return shown
