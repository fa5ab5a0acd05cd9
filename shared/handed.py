"""What one core of a node hands to the next when the node changes its role, and to its first one.

The log, the journal and the memory stay with the node; this is the rest that must not be lost.
"""

from __future__ import annotations

import msgspec

from .desk import Desk
from .epochs import Mode
from .roles import StateHolder
from .telemetry import Counters


class Opening(msgspec.Struct, frozen=True):
    """An epoch that a promoted node opens alone, at once."""

    number: int
    mode: Mode
    operator: str
    reason: str
    operation: str
    accepted_loss: bool


class Handed(msgspec.Struct):
    """released_seq: what this node knows as released. synced_seq: what is on its disk; None: all.
    link_session: the newest number of a session
    that it dialled. sessions: (routing id, session) of producers
    that are to be told where the leader is now. handover: the former leader has handed over, so the
    epoch will be open in a moment. reinstated: the journal was cut, or set aside, so that this node
    can follow; entry: the quarantine entry of what was cut, if anything was."""

    holder: StateHolder
    desk: Desk
    counters: Counters
    released_seq: int = 0
    synced_seq: int | None = None
    link_session: int = 0
    sessions: list[tuple[bytes, int]] = []
    opening: Opening | None = None
    handover: bool = False
    reinstated: bool = False
    entry: str = ""
