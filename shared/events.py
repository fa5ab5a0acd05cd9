"""What can happen to a node in either role; what only one role sees is in its own `events`."""

from __future__ import annotations

import msgspec

from .messages import IntakeRequest


class FromProducer(msgspec.Struct, frozen=True, gc=False):
    """A message on the intake socket."""

    sender: bytes
    message: IntakeRequest


class Synced(msgspec.Struct, frozen=True, gc=False):
    """The journal is on the disk up to `seq`."""

    seq: int


class Room(msgspec.Struct, frozen=True, gc=False):
    """Bytes of records that the journal can take for certain."""

    bytes: int
