"""The messages of the control socket: what operators ask of a node, and what its peer asks.

Decides shapes and bounds, as `messages` does for the other sockets. What an operation needs is
`operations`; who answers what is in `nodeio` (questions) and in the cores (commands).
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from .epochs import Epoch, Relation
from .limits import MAX_EPOCHS_IN_HELLO, MAX_KEY_CHANGES
from .messages import U32, U64, Message, Name, Refused, Text
from .operations import Preflight, Receipt, Request, Risk
from .telemetry import NodeStatus
from .wire import Position

Token = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
Epochs = Annotated[list[Epoch], msgspec.Meta(max_length=MAX_EPOCHS_IN_HELLO)]

# Asked by anybody -----------------------------------------------------------------------------


class GetStatus(Message, frozen=True, tag="get-status"):
    """Asks for the node's status."""

    version: int


class Status(Message, frozen=True, tag="status"):
    """A node's status, as it also goes out on telemetry."""

    status: NodeStatus


# Asked by operators ---------------------------------------------------------------------------


class GetPreflight(Message, frozen=True, tag="get-preflight"):
    """Asks what an operation would need and do. Changes nothing."""

    version: int
    cluster: Text
    request: Request


class PreflightReport(Message, frozen=True, tag="preflight"):
    preflight: Preflight


class Execute(Message, frozen=True, tag="execute"):
    """Does what the token's preflight showed. Answered by an Outcome when it has ended, however
    long that takes, or by Refused if it was not begun."""

    version: int
    cluster: Text
    token: Token
    operator: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    reason: Annotated[str, msgspec.Meta(min_length=1, max_length=500)]
    confirm: Text
    attestation: Text = ""


class Approve(Message, frozen=True, tag="approve"):
    """Another operator agrees to what the token's preflight showed."""

    version: int
    cluster: Text
    token: Token
    operator: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]


class Approved(Message, frozen=True, tag="approved"):
    """The approvals of a token so far."""

    token: Token
    request: Request
    approvers: list[Name]


class GetOperation(Message, frozen=True, tag="get-operation"):
    """Asks what became of an operation. Refused(UNKNOWN_OPERATION) if this node does not know."""

    version: int
    token: Token


class Outcome(Message, frozen=True, tag="outcome"):
    """How an operation has ended."""

    receipt: Receipt


class UnderWay(Message, frozen=True, tag="under-way"):
    """The operation has not ended; `step` says what it waits for."""

    token: Token
    step: Text


class GetQuarantine(Message, frozen=True, tag="get-quarantine"):
    """Asks for the list of quarantined tails."""

    version: int


class QuarantineEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One quarantined tail: the bytes that were cut off this node's log, kept whole.

    `state`: "kept", "resubmitted" or "discarded" (the bytes are gone then, the entry stays).
    """

    name: str
    state: str
    cut_ns: int
    after: Position  # the log was cut after this
    first_seq: int
    last_seq: int
    records: int
    messages: int
    size_bytes: int
    producers: dict[str, int]
    why: str


class Quarantine(Message, frozen=True, tag="quarantine"):
    entries: list[QuarantineEntry]


class ReadQuarantine(Message, frozen=True, tag="read-quarantine"):
    """Asks for about a chunk of an entry's bytes from `offset`."""

    version: int
    entry: Text
    offset: U64


class QuarantineChunk(Message, frozen=True, tag="quarantine-chunk"):
    """Bytes of an entry from `offset`; none at its end."""

    entry: Text
    offset: U64
    data: bytes


class ReloadKeys(Message, frozen=True, tag="reload-keys"):
    """Asks the node to read the list of allowed keys, and its own key, now."""

    version: int


class KeysReloaded(Message, frozen=True, tag="keys-reloaded"):
    """The list that counts from now on (its digest), and what it changed, a sentence for each key:
    the first `MAX_KEY_CHANGES` of them."""

    digest: Text
    keys: U32
    changes: Annotated[list[Text], msgspec.Meta(max_length=MAX_KEY_CHANGES)]


# Asked by the other node of the pair -----------------------------------------------------------


class PeerCompare(Message, frozen=True, tag="peer-compare"):
    """Asks how the asker's log stands to the asked one's. Changes nothing."""

    version: int
    cluster: Text
    node: Name
    epochs: Epochs
    last: Position


class Compared(Message, frozen=True, tag="compared"):
    """How the asker's log stands to ours, the last record that both may hold, and what we hold
    beyond it. `common.hash` is our hash there: the asker checks it against its own."""

    status: NodeStatus
    relation: Relation
    common: Position
    epochs: Epochs
    last: Position
    beyond: Risk


class PeerYield(Message, frozen=True, tag="peer-yield"):
    """Asks the other node to give way to epoch `epoch`: to promise the number durably and be no
    candidate for promotion; with `surrender` also to stop leading for good. One that leads and is
    not to surrender refuses."""

    version: int
    cluster: Text
    node: Name
    epoch: U32
    surrender: bool
    why: Text


class Yielded(Message, frozen=True, tag="yielded"):
    """It is on the disk. `last` is where the log of the one that gave way ends."""

    epoch: U32
    last: Position


class PeerFetch(Message, frozen=True, tag="peer-fetch"):
    """Asks for records after `after`, which the asker holds as the end of its log."""

    version: int
    cluster: Text
    node: Name
    after: Position


class PeerTail(Message, frozen=True, tag="peer-tail"):
    """Records after what was asked, in order; empty when there are no more."""

    after: Position
    records: bytes


PeerQuestion = GetStatus | PeerCompare | PeerYield | PeerFetch
PeerAnswer = Status | Compared | Yielded | PeerTail | Refused
# What a node's role answers, and with it what its panel answers by itself.
RoleRequest = (
    GetStatus
    | GetPreflight
    | Execute
    | Approve
    | GetOperation
    | GetQuarantine
    | ReadQuarantine
    | PeerCompare
    | PeerYield
    | PeerFetch
)
ControlRequest = RoleRequest | ReloadKeys
# What a node's core decides about; the rest are questions that are answered from what is there.
Command = GetPreflight | Execute | Approve | GetOperation | PeerYield
ControlReply = (
    Status
    | PreflightReport
    | Outcome
    | UnderWay
    | Approved
    | Quarantine
    | QuarantineChunk
    | KeysReloaded
    | Compared
    | Yielded
    | PeerTail
    | Refused
)
