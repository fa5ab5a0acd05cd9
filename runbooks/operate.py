"""Carries an action of a runbook out over the control socket.

Decides what an outcome means for the run. No answer is not a failure: the token is asked for until
some node knows what became of it, and otherwise it is UNKNOWN.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from enum import Enum

import msgspec

from ..client.control import ControlClient
from ..client.errors import ClientError, OperationRefused
from ..shared.errors import Reason
from ..shared.operations import Operation, Preflight, Receipt, Request, Result
from .verbs import Action, Do

SETTLE_S = 5.0
APPROVAL_POLL_S = 0.5
MOMENT_S = 1.0
AGAIN_S = 0.05

OPERATIONS = {
    Do.SWITCHOVER: Operation.SWITCHOVER,
    Do.PROMOTE: Operation.PROMOTE,
    Do.DEMOTE: Operation.DEMOTE,
    Do.SOLO: Operation.SOLO,
    Do.GATE: Operation.GATE,
    Do.REINSTATE: Operation.REINSTATE,
    Do.PAUSE: Operation.PAUSE,
    Do.RESUME: Operation.RESUME,
    Do.SHUTDOWN: Operation.SHUTDOWN,
    Do.DISCARD: Operation.DISCARD,
    Do.RESUBMIT: Operation.RESUBMIT,
}


class End(Enum):
    """How an action ended."""

    DONE = "done"
    REFUSED = "refused"
    UNKNOWN = "unknown"


class Outcome(msgspec.Struct):
    """With `guard`, the first guard that failed, if that is why. `silent`: no node answered."""

    end: End
    text: str
    guard: str = ""
    silent: bool = False
    receipt: Receipt | None = None


def request_of(control: ControlClient, action: Action, node: str) -> Request:
    """The request; for a quarantine entry, the newest that is still kept. Raises ClientError."""
    operation = OPERATIONS[action.do]
    entry = ""
    if operation in (Operation.DISCARD, Operation.RESUBMIT):
        kept = [one for one in control.quarantine(node) if one.state != "discarded"]
        entry = kept[-1].name if kept else ""
    return Request(operation, node, entry=entry, **action.options)  # type: ignore[arg-type]


def look(control: ControlClient, action: Action, node: str) -> Preflight | Outcome:
    """The preflight; an Outcome if the node gave none."""
    try:
        return control.preflight(request_of(control, action, node))
    except OperationRefused as refused:
        return Outcome(End.REFUSED, refused.text)
    except ClientError as error:
        return Outcome(End.REFUSED, f"{error}; nothing was begun", silent=True)


def look_again(control: ControlClient, action: Action, node: str) -> Preflight | Outcome:
    """As `look`, but a guard that fails is given a moment: a standby says that it is in sync before
    its primary has heard it."""
    end = time.monotonic() + MOMENT_S
    while True:
        found = look(control, action, node)
        fails = not isinstance(found, Outcome) and not found.passed
        if not fails or action.expect != "done" or time.monotonic() >= end:
            return found
        time.sleep(AGAIN_S)


def refusal(preflight: Preflight) -> Outcome:
    """The outcome of a preflight that does not pass."""
    failing = next(guard for guard in preflight.guards if not guard.passed)
    text = f"{failing.name}: observed {failing.observed}; needed {failing.needed}"
    return Outcome(
        End.REFUSED, text + (f"; {failing.remedy}" if failing.remedy else ""), failing.name
    )


class Order(msgspec.Struct, frozen=True):
    """Who wants it and why, what was typed, and for how long it is waited. `expires` is the
    preflight's end, of time.monotonic."""

    operator: str
    reason: str
    confirm: str
    attestation: str
    within: float
    expires: float


def execute(
    control: ControlClient, preflight: Preflight, order: Order, wait_for: Callable[[str], None]
) -> Outcome:
    """Executes what the preflight showed. If another operator has to approve it, `wait_for` is told
    so once, and it is tried until the preflight expires."""
    node, told = preflight.request.node, False
    while True:
        try:
            receipt = control.execute(
                node,
                preflight.token,
                order.operator,
                order.reason,
                order.confirm,
                order.attestation,
                order.within,
            )
            break
        except OperationRefused as refused:
            waits = preflight.approvals > 1 and refused.reason is Reason.NOT_CONFIRMED
            if not waits or time.monotonic() >= order.expires:
                return Outcome(End.REFUSED, refused.text)
        if not told:
            told = True
            wait_for(
                f"waits for another operator than {order.operator} to run: "
                f"interlock approve {preflight.token} --node {node} --operator OTHER"
            )
        time.sleep(APPROVAL_POLL_S)
    if receipt is None:
        found = control.settle(node, preflight.token, SETTLE_S)
        if not isinstance(found, Receipt):
            what = "is still under way" if found else "is not known: no node answers for it"
            return Outcome(End.UNKNOWN, f"what became of token {preflight.token} {what}")
        receipt = found
    ends = {Result.DONE: End.DONE, Result.REFUSED: End.REFUSED, Result.UNKNOWN: End.UNKNOWN}
    return Outcome(ends[receipt.result], receipt.text, receipt=receipt)
