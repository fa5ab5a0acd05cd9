"""What can happen to a node in either role; what only one role sees is in its own `events`."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from .commands import Command, PeerAnswer
from .messages import IntakeRequest
from .operations import Risk


class FromProducer(msgspec.Struct, frozen=True, gc=False):
    """A message on the intake socket, and the proven key of its sender (empty: no keys are used).

    Whether the key may use the name of a hello has been decided by `policy`.
    """

    sender: bytes
    message: IntakeRequest
    key: str = ""


class Synced(msgspec.Struct, frozen=True, gc=False):
    """The journal is on the disk up to `seq`."""

    seq: int


class Room(msgspec.Struct, frozen=True, gc=False):
    """Bytes of records that the journal can take for certain."""

    bytes: int


class KeysChanged(msgspec.Struct, frozen=True):
    """The list of allowed keys is another one: its digest, what was changed, and by whom. `may`
    says whether a key may still submit under a producer name; `renewed`: this node has another key
    of its own, so what it has dialled is to be dialled again."""

    digest: str
    changes: list[str]
    by: str
    may: Callable[[str, str], bool]
    renewed: bool = False


class FromControl(msgspec.Struct, frozen=True, gc=False):
    """A command on the control socket, and the name of its sender's key (empty: no keys)."""

    sender: bytes
    message: Command
    key: str = ""


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
