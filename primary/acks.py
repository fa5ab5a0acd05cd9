"""Step 4, acks: what the standby holds, as far as it can be believed.

Decides whether an ack counts: of this session and epoch, never falling, never beyond what was sent,
at the end of a frame that was sent, with that record's hash. Anything else is the peer's bug.

Why the hash: a standby that kept another record at the same seq would otherwise release ours while
holding its own (ZooKeeper 1154 compared offsets only).
"""

from __future__ import annotations

from ..shared.errors import Reason, RemoteError
from ..shared.messages import LinkAck
from .replicate import Standby


def take_ack(standby: Standby, ack: LinkAck, epoch: int) -> bool:
    """Moves the standby's ack on; true if it moved. Raises RemoteError if it cannot be."""
    if ack.session != standby.session:
        return False  # of an earlier session: void, not wrong
    if ack.epoch != epoch:
        raise RemoteError(Reason.WRONG_EPOCH, f"an ack of epoch {ack.epoch} in epoch {epoch}")
    if ack.last.seq < standby.acked.seq:
        raise RemoteError(
            Reason.GAP, f"an ack of seq {ack.last.seq} after one of seq {standby.acked.seq}"
        )
    if ack.last.seq > standby.sent.seq:
        raise RemoteError(Reason.GAP, f"an ack of seq {ack.last.seq}, sent were {standby.sent.seq}")
    if ack.last == standby.acked:
        return False
    frames = standby.unacked
    while frames and frames[0].last.seq < ack.last.seq:
        standby.unacked_bytes -= frames.popleft().size
    if not frames or frames[0].last != ack.last:
        raise RemoteError(
            Reason.DIFFERENT_HISTORY,
            f"an ack of seq {ack.last.seq} with hash {ack.last.hash:016x}, which was never sent",
        )
    standby.unacked_bytes -= frames.popleft().size
    standby.acked = ack.last
    return True
