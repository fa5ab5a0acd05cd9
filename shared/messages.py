"""The messages of every socket but the records themselves.

Each is a MessagePack array whose first element is its name; `decode_*` turns the bytes of a frame
into a message of that socket or raises RemoteError, whatever the bytes are. A frame of records is
told apart by its first byte (`wire.MAGIC`), which starts no MessagePack value.

Decides shapes and bounds. What a message means where is with the cores; `docs/protocol.md` tells
the flows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Final, Generic, TypeVar

import msgspec

from .epochs import Epoch
from .errors import Reason, RemoteError
from .limits import (
    MAX_EPOCHS_IN_HELLO,
    MAX_PRODUCER_RECORDS,
    MAX_RECEIPTS,
    MAX_RECORD_MESSAGES,
    MAX_TEXT_CHARS,
)
from .operations import Receipt
from .producers import Run
from .wire import Position

PROTOCOL_VERSION: Final = 3

U64 = Annotated[
    int, msgspec.Meta(ge=0)
]  # msgspec bounds must fit an int64; MessagePack ends at u64
U32 = Annotated[int, msgspec.Meta(ge=0, lt=2**32)]
Text = Annotated[str, msgspec.Meta(max_length=MAX_TEXT_CHARS)]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]


class Message(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Base of all messages: settings only."""


# Every socket that answers ------------------------------------------------------------------


class Refused(Message, frozen=True, tag="refused"):
    """An answer: why something was not done, and nothing of it was.

    To a producer, `attempt` and `expected` say which attempt is refused and the producer_seq to go
    on from; both are 0 where they mean nothing. `leader` lists intake endpoints to try instead.
    """

    reason: Reason
    text: Text
    session: U64 = 0
    attempt: U32 = 0
    expected: U64 = 0
    leader: list[Text] = []


# Intake: producers and node -----------------------------------------------------------------


class ProducerHello(Message, frozen=True, tag="hello"):
    """Opens (or, after a lost connection, resumes) a session. `cluster` may be empty: any.

    A session is a random number that the client draws once. `resume` is false the first time:
    then this session takes the name over from any other; a resumed one never does.
    """

    version: int
    cluster: Text
    producer: Text
    session: U64
    resume: bool


class ProducerWelcome(Message, frozen=True, tag="welcome"):
    """The session stands. `accepted_producer_seq` is the last number that is in the log,
    `confirmed_producer_seq` the last that is released; bounds for what may be submitted."""

    session: U64
    cluster: Text
    node: Name
    epoch: U32
    accepted_producer_seq: U64
    confirmed_producer_seq: U64
    max_message_bytes: U32
    heartbeat_ms: U32


class Submit(Message, frozen=True, tag="submit", gc=False):
    """`count` messages numbered from `producer_seq`; `messages` is an array of byte strings.

    `attempt` is raised by the client each time it goes back to an earlier number, so that
    refusals of what it sent before going back can be told from new ones.
    """

    session: U64
    attempt: U32
    producer_seq: Annotated[int, msgspec.Meta(ge=1, lt=2**62)]
    count: Annotated[int, msgspec.Meta(ge=1, le=MAX_RECORD_MESSAGES)]
    messages: msgspec.Raw


class Confirmed(Message, frozen=True, tag="confirmed", gc=False):
    """These messages are released: number in the producer's count, seq in the log, how many."""

    session: U64
    epoch: U32
    runs: Annotated[list[Run], msgspec.Meta(max_length=2 * MAX_PRODUCER_RECORDS)]


class ProducerPing(Message, frozen=True, tag="ping"):
    """Sent by an idle or waiting client each heartbeat interval."""

    session: U64


class ProducerPong(Message, frozen=True, tag="pong"):
    """The node lives and knows the session; `state` is its NodeState, so that waiting is
    explained.
    """

    session: U64
    state: Name


class ProducerBye(Message, frozen=True, tag="bye"):
    """The client closes its session for good."""

    session: U64


# Link: secondary and primary ----------------------------------------------------------------


class LinkHello(Message, frozen=True, tag="link-hello"):
    """The secondary dials: who it is and where its log ends. `session` is new for each dialling."""

    version: int
    cluster: Text
    node: Name
    incarnation: U64
    session: U64
    epochs: Annotated[list[Epoch], msgspec.Meta(max_length=MAX_EPOCHS_IN_HELLO)]
    last: Position
    promised_epoch: U32
    ack_level: Name


class LinkFetch(Message, frozen=True, tag="link-fetch"):
    """The primary lacks what follows `after` and asks for it (it restarted shorter than its
    peer).
    """

    session: U64
    after: Position


class LinkTail(Message, frozen=True, tag="link-tail"):
    """Records that answer a fetch, in order; empty when there are no more."""

    session: U64
    records: bytes


class LinkPromise(Message, frozen=True, tag="link-promise"):
    """Asks the standby to promise durably that it will never serve an epoch below `epoch`."""

    session: U64
    epoch: U32


class LinkPromised(Message, frozen=True, tag="link-promised"):
    """The promise is on the standby's disk."""

    session: U64
    epoch: U32


class LinkWelcome(Message, frozen=True, tag="link-welcome"):
    """The stream of `epoch` begins after `common`. The standby is in sync once it holds `target`,
    which it stores durably first; None: the primary is in solo, and no target can be named."""

    session: U64
    node: Name
    incarnation: U64
    epoch: U32
    common: Position
    target: Position | None
    ack_level: Name


class LinkEngage(Message, frozen=True, tag="link-engage"):
    """The primary has opened gated epoch `epoch` within the session: acks are of it from now on,
    and the standby is in sync once it holds `target`, the record that opened it."""

    session: U64
    epoch: U32
    target: Position


class LinkReceipts(Message, frozen=True, tag="link-receipts"):
    """Receipts of what the standby was asked to do, for the log."""

    session: U64
    receipts: Annotated[list[Receipt], msgspec.Meta(max_length=MAX_RECEIPTS)]


class LinkRecords(Message, frozen=True, tag="link-records", gc=False):
    """Records in log order, with the primary's released watermark at sending."""

    session: U64
    released_seq: U64
    records: memoryview


class LinkAck(Message, frozen=True, tag="link-ack", gc=False):
    """Cumulative: the standby holds the log up to and including `last` at the ack level."""

    session: U64
    epoch: U32
    last: Position


class LinkBeat(Message, frozen=True, tag="link-beat"):
    """Application heartbeat, both ways, with the sender's watermarks.

    `last_seq` is, from the primary, the last seq that it has sent on this session; from the
    standby, the last that it holds.
    """

    session: U64
    epoch: U32
    last_seq: U64
    synced_seq: U64
    released_seq: U64
    state: Name


# Feed: released records, and the head while there are none ------------------------------------


class Head(Message, frozen=True, tag="head"):
    """Published with each heartbeat: where the released log ends, to show a loss at the tail."""

    cluster: Text
    node: Name
    epoch: U32
    released_seq: U64


# Replay: past records -------------------------------------------------------------------------


class ReplayRequest(Message, frozen=True, tag="replay"):
    """Released records from the one that covers `from_seq`, about `max_bytes` of them.

    `cluster` may be empty: any. `request` is echoed.
    """

    version: int
    cluster: Text
    request: U64
    from_seq: Annotated[int, msgspec.Meta(ge=1, lt=2**62)]
    max_bytes: U32


class ReplayChunk(Message, frozen=True, tag="chunk", gc=False):
    """Whole records in log order, the first covering `from_seq`; none if `from_seq` is the next
    seq.
    """

    request: U64
    cluster: Text
    node: Name
    released_seq: U64
    first_seq: U64
    records: memoryview


class ReplayRefused(Message, frozen=True, tag="replay-refused"):
    """`first_seq` and `released_seq` bound what this node can replay now."""

    request: U64
    reason: Reason
    text: Text
    first_seq: U64
    released_seq: U64


IntakeRequest = ProducerHello | Submit | ProducerPing | ProducerBye
IntakeReply = ProducerWelcome | Confirmed | Refused | ProducerPong
LinkFromSecondary = (
    LinkHello | LinkAck | LinkBeat | LinkPromised | LinkTail | LinkReceipts | Refused
)
LinkFromPrimary = (
    LinkRecords | LinkBeat | LinkWelcome | LinkEngage | LinkPromise | LinkFetch | Refused
)
ReplayReply = ReplayChunk | ReplayRefused

# The bytes of a message: one frame.
encode: Final[Callable[[Message], bytes]] = msgspec.msgpack.Encoder().encode


M = TypeVar("M")


class Codec(Generic[M]):
    """Decodes the frames of one direction of one socket."""

    def __init__(self, messages: Any) -> None:
        self._decoder: msgspec.msgpack.Decoder[M] = msgspec.msgpack.Decoder(messages)

    def decode(self, frame: bytes | memoryview) -> M:
        """The message in a frame. Raises RemoteError(MALFORMED) for any other bytes."""
        try:
            return self._decoder.decode(frame)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise RemoteError(Reason.MALFORMED, f"not a message of this socket: {error}") from None

    def decode_only(self, frames: list[bytes]) -> M:
        """The message in the one frame of what came. Raises RemoteError(MALFORMED) for more frames,
        or other bytes."""
        if len(frames) != 1:
            raise RemoteError(Reason.MALFORMED, f"a message of {len(frames)} frames; expected one")
        return self.decode(frames[0])
