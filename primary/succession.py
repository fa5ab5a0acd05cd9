"""Giving way: when a primary ends its reign because of the peer, and what it then remembers.

Decides who gives way when both nodes take themselves for the primary. Safer by itself (P5): a node
that finds a higher epoch fences itself, one that has handed over follows. It never takes a lead.

Stories behind the rules:
- B is promoted while A hangs. A wakes up, nobody acknowledges anything, and it would wait for ever:
  so a primary without a standby asks its peer on control, and fences itself before a higher epoch.
- A switchover's last ack is lost: B has taken the lead, A still waits for the ack of its closing
  record. A asks B on control, sees that B is the primary, and follows: the epoch was handed over.
- Both were solo (an attestation was false): both lead the same number. Neither may go on.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..shared.effects import Halt
from ..shared.epochs import Epoch, common_seq, describe
from ..shared.roles import NodeState
from ..shared.telemetry import Divergence, NodeStatus
from .reign import Reign


def give_way(reign: Reign, epoch: int, why: str, now_ns: int) -> None:
    """Fenced: follows nobody until an operator reinstates it, whatever it holds."""
    promised = max(epoch, reign.memory.promised_epoch)
    reign.enter(NodeState.FENCED, why, now_ns)
    reign.leave(fenced=why, target=None, doubt=why, promised_epoch=promised)


def follow(reign: Reign, why: str, now_ns: int) -> None:
    """Becomes the standby of a peer that took over what this node has handed over. With the closing
    record in its log it holds everything that was ever released before."""
    reign.enter(NodeState.ORPHANED, why, now_ns)
    if reign.log.closed is not None:
        reign.leave(target=reign.log.position, doubt="")
    else:
        reign.leave(target=None, doubt="its disk lost the end of the epoch that it handed over")


def diverge(
    reign: Reign, theirs: Sequence[Epoch], their_last_seq: int, why: str, now_ns: int
) -> None:
    """Both hold different records of one seq: nobody leads until an operator has chosen."""
    reign.epoch = 0
    reign.standby = None
    reign.solo = None
    reign.draining = None
    ours = reign.log.history.epochs
    common = common_seq(ours, reign.log.last_seq, theirs, their_last_seq)
    reign.divergence = Divergence(
        common,
        describe(ours, common, reign.log.last_seq),
        describe(theirs, common, their_last_seq),
    )
    reign.enter(NodeState.DIVERGED, why, now_ns)


def judge_peer(reign: Reign, peer: NodeStatus, now_ns: int) -> None:
    """What follows from what the peer says of itself on control, asked while it does not follow."""
    if peer.cluster != reign.cluster or peer.node != reign.peer or peer.role != "primary":
        return
    own = reign.log.history.number
    last = reign.log.history.last
    if reign.holder.state is NodeState.DIVERGED:
        return
    if peer.epoch > own:
        why = f"node {reign.peer} leads epoch {peer.epoch}; this node led {own}"
        give_way(reign, peer.epoch, why, now_ns)
    elif own and last is not None and peer.epoch == own and peer.leader != last.leader:
        why = (
            f"both nodes led epoch {own}: {last.leader} by the log of {reign.node}, {peer.leader} "
            f"by that of {reign.peer}"
        )
        diverge(reign, [], 0, why, now_ns)
    elif own == 0 and peer.epoch == 0 and peer.state == NodeState.RESUMING.value:
        reign.effects.append(
            Halt(
                f"nodes {reign.node} and {reign.peer} were both first started as primary; stop "
                f"one, empty its data directory, and start it with: interlock secondary"
            )
        )
    elif _handed_over(reign, peer):
        follow(reign, f"the epoch {own} was handed over to {reign.peer}", now_ns)


def _handed_over(reign: Reign, peer: NodeStatus) -> bool:
    """Whether the peer, which takes itself for the primary, does so because of our closing record.

    Ours may have been lost with the power while the peer's was not: then its word counts, for this
    node leads nothing and can lead nothing without that peer.
    """
    if peer.epoch != reign.log.history.number or reign.solo is not None:
        return False
    closed = reign.log.closed
    ours = closed is not None and closed.handover and closed.successor == reign.peer
    leads = reign.epoch > 0 and not (reign.draining and reign.draining.closed)
    return not leads and (ours or peer.closed_for == reign.peer)
