"""Step 3, replicate: what has been sent to the standby, and what is sent next.

Decides whether a new group goes straight to the standby or is caught up from the journal. There is
no catch-up mode: a standby that is behind, or whose window is full, is simply streamed to from
where it is, and the gate follows its acks.
"""

from __future__ import annotations

from collections import deque

import msgspec

from ..shared.limits import CATCH_UP_WINDOW_BYTES, LINK_WINDOW_BYTES
from ..shared.messages import LinkHello
from ..shared.wire import Position


class SentFrame(msgspec.Struct, frozen=True, gc=False):
    """A frame on its way: where it ends, how long it is, when it left."""

    last: Position
    size: int
    sent_ns: int


class Standby:
    """The progress of one session of the standby. A new hello makes a new one."""

    def __init__(self, sender: bytes, hello: LinkHello, now_ns: int) -> None:
        """Progress starts at the hello's `last`, which the caller has found to be common."""
        self.sender = sender
        self.session = hello.session
        self.incarnation = hello.incarnation
        self.promised_epoch = hello.promised_epoch
        self.sent = hello.last
        self.acked = hello.last
        self.unacked: deque[SentFrame] = deque()
        self.unacked_bytes = 0
        self.heard_ns = now_ns
        self.welcomed = False
        self.caught_up_at = 0  # where our log ended at the welcome
        self.state = ""

    def takes_live(self, first_seq: int) -> bool:
        """Whether a group that begins at `first_seq` can be sent right away."""
        return (
            self.sent.seq + 1 == first_seq
            and self.welcomed
            and self.unacked_bytes < LINK_WINDOW_BYTES
        )

    def can_catch_up(self, written_seq: int) -> bool:
        """Whether the standby is behind, and can be sent what it lacks from the journal."""
        return (
            self.sent.seq < written_seq
            and self.welcomed
            and self.unacked_bytes < CATCH_UP_WINDOW_BYTES
        )

    def has_all(self, written_seq: int) -> bool:
        """Whether everything that is written is on its way or there: the stream is live."""
        return self.sent.seq >= written_seq

    def note_sent(self, last: Position, size: int, now_ns: int) -> None:
        """A frame that ends at `last` was sent."""
        self.sent = last
        self.unacked.append(SentFrame(last, size, now_ns))
        self.unacked_bytes += size
