"""What the console is told: the inputs of its model, and the lines of a flight recording.

Decides shapes only. `at` is the console's own time in seconds since 1970 that never steps (its
clock at the start plus what a monotonic clock has counted since), so ages and orders can be trusted
and a recording can be read by a person.
"""

from __future__ import annotations

import msgspec

from ..shared.telemetry import NodeStatus


class Heard(msgspec.Struct, frozen=True, tag="heard"):
    """A node has told its status: by itself on telemetry, or asked on control, which took
    `took_ms`."""

    at: float
    node: str
    status: NodeStatus
    took_ms: float | None = None


class Silent(msgspec.Struct, frozen=True, tag="silent"):
    """A node was asked on control, and has not answered in time or not what was asked. `denied`: it
    does not let this console's key in."""

    at: float
    node: str
    why: str
    denied: bool = False


class HeadSeen(msgspec.Struct, frozen=True, tag="head"):
    """The release feed of a node has said where it stands."""

    at: float
    node: str
    epoch: int
    released_seq: int


class FeedShut(msgspec.Struct, frozen=True, tag="feed-shut"):
    """The release feed of a node is not to be read with this console's key, and why."""

    at: float
    node: str
    why: str


class Acted(msgspec.Struct, frozen=True, tag="acted"):
    """An operator has done something in the console, or it was answered: for the recording."""

    at: float
    operator: str
    what: str
    text: str


Input = Heard | Silent | HeadSeen | FeedShut | Acted
