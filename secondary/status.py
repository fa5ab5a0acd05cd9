"""What a secondary says of itself, from its core and its process. Reads only."""

from __future__ import annotations

from ..shared.desk import under_way
from ..shared.log import closed_for
from ..shared.roles import Role
from ..shared.telemetry import (
    LinkStatus,
    NodeStatus,
    PendingStatus,
    ProcessStatus,
    Watermarks,
)
from .core import SecondaryCore

MS = 1_000_000


def secondary_status(
    core: SecondaryCore, process: ProcessStatus, now_ns: int, wall_ns: int
) -> NodeStatus:
    """The status as of now."""
    counters = core.counters + process.counters
    newest = core.log.history.last
    return NodeStatus(
        cluster=core.cluster,
        node=core.node,
        role=Role.SECONDARY.value,
        state=core.holder.state.value,
        why=core.holder.why,
        state_since_ns=wall_ns - (now_ns - core.holder.since_ns),
        time_ns=wall_ns,
        started_ns=process.started_ns,
        incarnation=core.memory.incarnation,
        pid=process.pid,
        version=process.version,
        epoch=core.log.history.number,
        mode=newest.mode.value if newest else "",
        leader=newest.leader if newest else "",
        promised_epoch=core.memory.promised_epoch,
        ack_level=core.level.value,
        watermarks=Watermarks(
            core.log.last_seq,
            core.written_seq,
            core.synced_seq,
            core.acked_seq,
            core.released_seq,
        ),
        pending=PendingStatus(),
        link=LinkStatus(
            peer=core.peer,
            up=core.link_up,
            heard_age_ms=(now_ns - core.heard_ns) / MS,
            peer_state=core.primary_state,
        ),
        journal=process.journal,
        producers=[],
        producers_known=len(core.log.producers),
        counters=dict(counters.counts),
        refused=dict(counters.refused_by_reason),
        events=process.events,
        promotable=core.is_promotable,
        doubt=core.memory.doubt,
        fenced=core.memory.fenced,
        paused=core.log.paused,
        closed_for=closed_for(core.log),
        divergence=core.divergence,
        operation=under_way(core.desk),
        environment=process.environment,
        approvals=process.approvals,
        memory_bytes=process.memory_bytes,
        security=process.security,
    )
