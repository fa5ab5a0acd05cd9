"""What a primary answers to a standby's hello: how the two logs stand, and who has to give way.

Decides by epoch history and hashes, never by lengths (`shared.epochs.compare`). Pure functions.
"""

from __future__ import annotations

from enum import Enum

from ..shared.epochs import Relation, compare
from ..shared.errors import Reason, RemoteError
from ..shared.log import LogState
from ..shared.messages import PROTOCOL_VERSION, LinkHello


class Verdict(Enum):
    """What follows from a hello."""

    JOIN = "join"  # their log is a prefix of ours: stream to them from its end
    FETCH = (
        "fetch"  # ours can be a prefix of theirs and no epoch is open here: fetch the tail first
    )
    FENCE = "fence"  # they have promised or seen a higher epoch of somebody else: we may not lead
    TAIL = "tail"  # their log leaves ours in an earlier epoch: they have to be reinstated
    WIPED = "wiped"  # our log is empty and theirs is not: we lost our disk and must not lead
    DIVERGE = "diverge"  # the same seq has two values


def check_identity(hello: LinkHello, cluster: str, peer: str, ack_level: str) -> None:
    """Raises RemoteError unless the hello comes from the peer of this pair in our protocol."""
    if hello.version != PROTOCOL_VERSION:
        raise RemoteError(
            Reason.WRONG_VERSION,
            f"link version {hello.version}; this node speaks version {PROTOCOL_VERSION}",
        )
    if hello.cluster != cluster:
        raise RemoteError(Reason.WRONG_CLUSTER, f"this is cluster {cluster}, not {hello.cluster}")
    if hello.node != peer:
        raise RemoteError(Reason.WRONG_NODE, f"node {hello.node}; the peer of this node is {peer}")
    # The end that a hello names counts as acked. Said at level written and taken for synced, it
    # would be released from a standby that can still lose it.
    if hello.ack_level != ack_level:
        raise RemoteError(
            Reason.WRONG_ACK_LEVEL,
            f"the ack level of node {hello.node} is {hello.ack_level}, this node's {ack_level}: "
            "both nodes must run with the same pair.ack_level",
        )


def judge(
    hello: LinkHello,
    log: LogState,
    node: str,
    epoch_is_open: bool,
    asked_epoch: int,
    own_hash: int | None,
    first_seq: int,
) -> Verdict:
    """The verdict on a hello. `own_hash` is the hash of our record that ends where their log ends,
    `asked_epoch` the highest number that we led or asked them to promise.

    Raises RemoteError(NOT_RETAINED) if what they lack is not in our journal any more.

    Why a promise above our open epoch fences us: the standby gave it to a later reign, so that
    reign may already have released; the acks that we could still collect would be of a lower epoch.
    """
    newest = hello.epochs[-1] if hello.epochs else None
    if newest and newest.number > log.history.number and newest.leader != node:
        return Verdict.FENCE
    if epoch_is_open and hello.promised_epoch > asked_epoch:
        return Verdict.FENCE
    if log.last_seq == 0 and hello.last.seq > 0:
        return Verdict.WIPED
    if hello.last.seq + 1 < first_seq:
        raise RemoteError(
            Reason.NOT_RETAINED,
            f"the standby's log ends at seq {hello.last.seq}, this journal begins at {first_seq}: "
            "what lies between is not retained; the standby needs a copy of this journal",
        )
    relation = compare(log.history, log.position, hello.epochs, hello.last, own_hash)
    if relation in (Relation.SAME, Relation.BEHIND):
        return Verdict.JOIN
    if relation is Relation.AHEAD and not epoch_is_open:
        return Verdict.FETCH
    if newest is None or newest.number < log.history.number:
        return Verdict.TAIL
    return Verdict.DIVERGE
