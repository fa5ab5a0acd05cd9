"""Step 5, the gate: the one place where `released_seq` moves.

Decides what is released: no more than this node holds at the ack level and no more than the standby
has acknowledged at it. No time-out, no load and no request moves it otherwise (P1, P5). In solo,
which only an operator begins, the disk of this node takes the standby's place (rule 6).
"""

from __future__ import annotations

from collections import deque

from ..shared.errors import LocalError
from .sequence import Sequenced


class Gate:
    """Pending records in log order, and the watermarks that release them."""

    def __init__(self, released_seq: int = 0) -> None:
        """`released_seq`: what is known as released before this core."""
        self.released_seq = released_seq
        self.pending: deque[Sequenced] = deque()
        self.pending_messages = 0
        self.pending_bytes = 0
        self.bytes_of: dict[str, int] = {}  # the same by producer, of those that have some

    def hold(self, record: Sequenced) -> None:
        """Takes a sequenced record in. It stays until `advance` releases it."""
        self.pending.append(record)
        self.pending_messages += record.count
        size = len(record.raw)
        self.pending_bytes += size
        self.bytes_of[record.producer] = self.bytes_of.get(record.producer, 0) + size

    def advance(self, own_seq: int, acked_seq: int) -> list[Sequenced]:
        """Releases what both nodes hold; returns the pending records that this let out, in order.

        Records of an earlier run of this node are not pending here, they are only in the journal:
        they are released without being returned, and consumers fetch them by replay.
        """
        limit = min(own_seq, acked_seq)
        if limit <= self.released_seq:
            return []
        released = []
        pending = self.pending
        while pending and pending[0].last.seq <= limit:
            record = pending.popleft()
            self.pending_messages -= record.count
            size = len(record.raw)
            self.pending_bytes -= size
            if self.bytes_of[record.producer] == size:
                del self.bytes_of[record.producer]
            else:
                self.bytes_of[record.producer] -= size
            released.append(record)
        if pending and pending[0].first_seq <= limit:
            raise LocalError(f"seq {limit} is within a record that ends at {pending[0].last.seq}")
        self.released_seq = limit
        return released
