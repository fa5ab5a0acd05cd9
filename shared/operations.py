"""Operations: what an operator can ask of the pair, and the words in which it is answered.

Decides shapes only. Every operation is two steps. Preflight returns every guard with what was
observed and what would make it pass, what is at risk, and a token bound to the state of both nodes.
Execute carries the token, who, why and what was typed. It ends in a receipt, which is a record of
the log. Who may do what when is decided by the guards (`primary.duties`, `secondary.promotion`,
`shared.rejoin`), tokens and approvals by `desk`.
"""

from __future__ import annotations

from enum import Enum
from typing import Annotated

import msgspec

from .errors import Reason, RemoteError
from .limits import MAX_APPROVERS, MAX_CHECKS, MAX_TEXT_CHARS
from .telemetry import Watermarks
from .wire import Record

Text = Annotated[str, msgspec.Meta(max_length=MAX_TEXT_CHARS)]
Name = Annotated[str, msgspec.Meta(max_length=64)]


class Operation(Enum):
    """What can be asked. Each is executed by one node; the command line finds out which."""

    SWITCHOVER = "switchover"  # the leader drains, closes its epoch and hands over; nothing is lost
    DEMOTE = "demote"  # the leader drains, closes its epoch and becomes a standby; nobody leads
    PROMOTE = "promote"  # the standby takes the lead
    SOLO = "solo"  # the leader releases without its standby
    GATE = "gate"  # the leader releases nothing more without its standby
    REINSTATE = "reinstate"  # a fenced node cuts its unreleased tail and follows the leader
    PAUSE = "pause"  # the pair takes no submissions
    RESUME = "resume"  # the pair takes submissions again
    SHUTDOWN = "shutdown"  # drain, close the epoch, end the process
    DISCARD = "discard"  # a quarantined tail is given up
    RESUBMIT = "resubmit"  # a quarantined tail was submitted again through intake
    KEYS = "keys"  # the list of allowed keys has changed; recorded, never asked for at the desk


class Result(Enum):
    """How an operation ends. Never "failed" for something that may have happened."""

    DONE = "done"
    REFUSED = "refused"  # nothing was changed, and the text says which guard and why
    UNKNOWN = "unknown"  # it may have happened; the text says what to check


class Request(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An operation with its arguments. `node` executes it.

    solo: promote, release alone from the start. accept_loss: promote and reinstate, give up what
    the preflight lists. reseed: reinstate with nothing of the own journal. for_ms: solo, until the
    primary stalls (0: until the gate engages). entry: the quarantine entry, with detail.
    """

    operation: Operation
    node: Name
    solo: bool = False
    accept_loss: bool = False
    reseed: bool = False
    for_ms: Annotated[int, msgspec.Meta(ge=0, le=7 * 86_400_000)] = 0
    entry: Text = ""
    detail: Text = ""


class Guard(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A condition: what was observed, what is needed, and what would make it pass."""

    name: str
    passed: bool
    observed: str
    needed: str
    remedy: str = ""


class Risk(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Messages that an operation concerns. `producers`: messages by name; empty: not known here."""

    what: str  # "lost", "quarantined", "in doubt" or "unprotected"
    first_seq: int
    last_seq: int
    messages: int
    producers: dict[str, int] = {}


class Preflight(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The answer to a preflight. `token` is empty when a guard fails.

    `attestation` is a sentence that has to be typed as it stands; empty: none is needed. `confirm`
    is what has to be typed as confirmation. `approvals` counts operators, the executing one too.
    """

    request: Request
    cluster: str
    epoch: int
    guards: list[Guard]
    risks: list[Risk]
    consequences: list[str]
    watermarks: Watermarks
    peer: str
    confirm: str
    attestation: str
    approvals: int
    token: str
    expires_ms: int

    @property
    def passed(self) -> bool:
        return all(guard.passed for guard in self.guards)


class Check(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What was verified after an operation."""

    name: Text
    passed: bool
    observed: Text


class Receipt(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What came of an operation: the payload of an operation record.

    `id` is its token. Times are nanoseconds since 1970 by the executing node's clock; `pause_ms`:
    for how long nothing was released, 0 where nothing paused.
    """

    id: Name
    request: Request
    operator: Name
    approvers: Annotated[list[Name], msgspec.Meta(max_length=MAX_APPROVERS)]
    reason: Text
    attestation: Text
    result: Result
    text: Text
    checks: Annotated[list[Check], msgspec.Meta(max_length=MAX_CHECKS)]
    epoch: int
    started_ns: int
    finished_ns: int
    pause_ms: float = 0.0


_receipts = msgspec.msgpack.Decoder(Receipt)


def decode_receipt(record: Record) -> Receipt:
    """The payload of an operation record. Raises RemoteError(MALFORMED) if it is not one."""
    try:
        return _receipts.decode(record.payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise RemoteError(
            Reason.MALFORMED, f"an operation record that cannot be read: {error}"
        ) from None
