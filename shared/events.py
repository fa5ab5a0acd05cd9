"""What can happen to a node in either role; what only one role sees is in its own `events`."""

from __future__ import annotations

import msgspec

from .commands import Command, PeerAnswer
from .messages import IntakeRequest
from .operations import Risk


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


class FromControl(msgspec.Struct, frozen=True, gc=False):
    """A command on the control socket."""

    sender: bytes
    message: Command


class PeerAnswered(msgspec.Struct, frozen=True, gc=False):
    """The peer has answered an AskPeer. For a comparison: the hash of our record that ends where
    the answer says that both logs are common, and what we hold beyond it."""

    number: int
    answer: PeerAnswer
    own_hash: int | None = None
    beyond: Risk | None = None


class Quarantined(msgspec.Struct, frozen=True, gc=False):
    """The quarantine entries of this node by name, each with its state."""

    entries: dict[str, str]
