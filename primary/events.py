"""What can happen to a primary: the inputs of its core."""

from __future__ import annotations

import msgspec

from ..shared.events import (
    FromControl,
    FromProducer,
    KeysChanged,
    PeerAnswered,
    Quarantined,
    Room,
    Synced,
)
from ..shared.messages import LinkFromSecondary
from ..shared.wire import Position


class FromStandby(msgspec.Struct, frozen=True, gc=False):
    """A message on the link. For a hello: the hash of our record that ends where their log ends,
    and the first seq that our journal retains."""

    sender: bytes
    message: LinkFromSecondary
    own_hash: int | None = None
    first_seq: int = 1


class Streamed(msgspec.Struct, frozen=True, gc=False):
    """A StreamLink was performed: the frame ended at `last` and had `size` bytes."""

    session: int
    last: Position
    size: int


Event = (
    FromProducer
    | FromStandby
    | FromControl
    | KeysChanged
    | PeerAnswered
    | Quarantined
    | Streamed
    | Synced
    | Room
)
