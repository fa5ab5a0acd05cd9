"""What can happen to a secondary: the inputs of its core."""

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
from ..shared.messages import LinkFromPrimary


class FromPrimary(msgspec.Struct, frozen=True, gc=False):
    """A message on the link. For a fetch: the hash of our record that ends where their log ends,
    and the first seq that our journal retains."""

    message: LinkFromPrimary
    own_hash: int | None = None
    first_seq: int = 1


class LinkDenied(msgspec.Struct, frozen=True, gc=False):
    """The link's connection was refused by a key, on either side; the text says why."""

    text: str


Event = (
    FromPrimary
    | LinkDenied
    | FromProducer
    | FromControl
    | KeysChanged
    | PeerAnswered
    | Quarantined
    | Synced
    | Room
)
