"""What a core asks of its shell. The shell performs effects in the order in which they were asked.

That order is part of every proof: an effect that fails ends the node, so a core may count on
whatever it asked for earlier (a message sent after an Append leaves after the bytes are written).
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from .commands import PeerQuestion
from .messages import Message
from .roles import Role
from .state import NodeMemory
from .wire import Position


class Append(msgspec.Struct, frozen=True, gc=False):
    """Write these records to the journal. `durable`: and sync them before anything else is done."""

    records: list[bytes | memoryview]
    last_seq: int
    durable: bool = False


class Sync(msgspec.Struct, frozen=True, gc=False):
    """Sync the journal: in the background (a `Synced` event tells how far it came), or now."""

    wait: bool = False


class SaveMemory(msgspec.Struct, frozen=True, gc=False):
    """Store the node's memory durably before anything else is done."""

    memory: NodeMemory


class SendLink(msgspec.Struct, frozen=True, gc=False):
    """Send a message to the peer; `to` is its routing id (empty on the dialling side)."""

    to: bytes
    message: Message


class StreamLink(msgspec.Struct, frozen=True, gc=False):
    """Send about `max_bytes` of records after `after_seq`, read from the journal, to the standby.

    Answered by a `Streamed` event in the same turn.
    """

    to: bytes
    session: int
    after_seq: int
    max_bytes: int


class SendTail(msgspec.Struct, frozen=True, gc=False):
    """Send the primary one LinkTail of records after `after_seq`, read from the journal."""

    session: int
    after_seq: int
    max_bytes: int


class Reply(msgspec.Struct, frozen=True, gc=False):
    """Send a message to a producer on the intake socket."""

    to: bytes
    message: Message


class Publish(msgspec.Struct, frozen=True, gc=False):
    """Publish a frame on the feed."""

    frame: bytes


class Dial(msgspec.Struct, frozen=True, gc=False):
    """Open a new link socket to the primary; the old one is dropped with all it holds."""


class HangUp(msgspec.Struct, frozen=True, gc=False):
    """Close the link socket, after what was sent on it. Until a Dial there is none."""


class Note(msgspec.Struct, frozen=True, gc=False):
    """An event for the operator's log and telemetry."""

    text: str


class Halt(msgspec.Struct, frozen=True, gc=False):
    """End the node: a person must mend something first."""

    text: str


class AskPeer(msgspec.Struct, frozen=True, gc=False):
    """Ask the peer on its control socket. Answered by `PeerAnswered` with the same number, or not
    at all. After `patience_ns` nobody waits for the answer, and the question must not arrive any
    more: a peer that is started later would give way to an operation that has long ended."""

    number: int
    question: PeerQuestion
    patience_ns: int


class Answer(msgspec.Struct, frozen=True, gc=False):
    """Send an answer to an operator, or to the peer, on the control socket."""

    to: bytes
    message: Message


class Become(msgspec.Struct, frozen=True, gc=False):
    """The last effect of this core: go on with a core of `role`. First cut the journal after
    `cut_after`, if that is named, and quarantine what is beyond, because of `why`; with `reseed`
    set the whole journal aside."""

    role: Role
    cut_after: Position | None = None
    reseed: bool = False
    why: str = ""


class MarkQuarantine(msgspec.Struct, frozen=True, gc=False):
    """A quarantine entry was "resubmitted", or is "discarded": its bytes are then deleted."""

    entry: str
    state: str


class Quit(msgspec.Struct, frozen=True, gc=False):
    """End the process in good order: an operator asked for it."""

    text: str


Effect = (
    Append
    | Sync
    | SaveMemory
    | SendLink
    | StreamLink
    | SendTail
    | Reply
    | Publish
    | Dial
    | HangUp
    | Note
    | Halt
    | AskPeer
    | Answer
    | Become
    | MarkQuarantine
    | Quit
)
Effects = Sequence[Effect]
