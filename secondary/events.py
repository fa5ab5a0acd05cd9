"""What can happen to a secondary: the inputs of its core."""

from __future__ import annotations

import msgspec

from ..shared.messages import IntakeRequest, LinkFromPrimary


class FromPrimary(msgspec.Struct, frozen=True, gc=False):
    """A message on the link. For a fetch: the hash of our record that ends where their log ends,
    and the first seq that our journal retains."""

    message: LinkFromPrimary
    own_hash: int | None = None
    first_seq: int = 1


class FromProducer(msgspec.Struct, frozen=True, gc=False):
    """A message on the intake socket, which only a primary serves."""

    sender: bytes
    message: IntakeRequest


class Synced(msgspec.Struct, frozen=True, gc=False):
    """The journal is on the disk up to `seq`."""

    seq: int


class Room(msgspec.Struct, frozen=True, gc=False):
    """Bytes of records that the journal can take for certain."""

    bytes: int


Event = FromPrimary | FromProducer | Synced | Room
