"""What operators ask the nodes for, as blocking calls for worker threads.

Decides what counts as an answer; how an operation goes on is `workflow`. Nothing here raises for
what a node or the network does: a console that falls over in an outage is of no use.
"""

from __future__ import annotations

from typing import Final

import msgspec

from ..client.control import ControlClient
from ..client.errors import ClientError, OperationRefused
from ..shared.commands import Approved, GetOperation, Outcome, QuarantineEntry, UnderWay
from ..shared.config import Config
from ..shared.errors import InterlockError, Reason
from ..shared.messages import PROTOCOL_VERSION, Refused
from ..shared.operations import Preflight, Receipt, Request
from .workflow import Typed

ANSWER_S: Final = 2.0
EXECUTE_S: Final = 30.0


class Trouble(msgspec.Struct, frozen=True):
    """It was not answered, or refused: why."""

    text: str


class NotBegun(msgspec.Struct, frozen=True):
    """The node refused to begin. `waits`: it only lacks another operator's approval."""

    text: str
    waits: bool


class NoAnswer(msgspec.Struct, frozen=True):
    """Nothing came: it may have happened."""

    text: str


class Fate(msgspec.Struct, frozen=True):
    """What both nodes say of an operation. `executor_denies`: the executing node, in the very run
    in which it gave the token, does not know it."""

    receipt: Receipt | None
    step: str
    executor_denies: bool
    text: str


class Hands:
    """Talks to the control sockets; keeps nothing between two calls, so any thread may use it."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self._control = ControlClient(config)

    def preflight(self, request: Request) -> Preflight | Trouble:
        try:
            return self._control.preflight(request, ANSWER_S)
        except OperationRefused as refused:
            return Trouble(f"{request.node} refused: {refused.text}")
        except InterlockError as error:
            return Trouble(str(error))

    def execute(self, preflight: Preflight, typed: Typed) -> Receipt | NotBegun | NoAnswer:
        node = preflight.request.node
        try:
            receipt = self._control.execute(
                node,
                preflight.token,
                typed.operator,
                typed.reason.strip(),
                typed.confirm,
                typed.attest if preflight.attestation else "",
                EXECUTE_S,
            )
        except OperationRefused as refused:
            waits = preflight.approvals > 1 and refused.reason is Reason.NOT_CONFIRMED
            return NotBegun(refused.text, waits)
        except InterlockError as error:
            return NoAnswer(str(error))
        return receipt or NoAnswer(f"{node} has not answered within {EXECUTE_S:g} s")

    def fate(self, preflight: Preflight, incarnation: int | None) -> Fate:
        """Asks both nodes what became of the operation. `incarnation`: of the executing node when
        it gave the token; None: not known."""
        node = preflight.request.node
        said, step, denies = [], "", False
        for name in sorted(self.config.nodes, key=lambda name: name != node):
            reply = self._ask_fate(name, preflight.token)
            if isinstance(reply, Outcome):
                return Fate(reply.receipt, "", False, "")
            if isinstance(reply, UnderWay):
                step = reply.step
                said.append(f"{name}: under way, {reply.step}")
            elif isinstance(reply, Refused) and reply.reason is Reason.UNKNOWN_OPERATION:
                if name == node:
                    denies = incarnation is not None and self._runs_still(node, incarnation)
                said.append(f"{name} does not know it")
            else:
                said.append(f"{name} does not answer")
        return Fate(None, step, denies, "; ".join(said))

    def _ask_fate(self, node: str, token: str) -> object:
        try:
            return self._control.ask(node, GetOperation(PROTOCOL_VERSION, token), ANSWER_S)
        except InterlockError:
            return None

    def _runs_still(self, node: str, incarnation: int) -> bool:
        try:
            status = self._control.statuses(ANSWER_S).get(node)
        except InterlockError:
            return False
        return status is not None and status.incarnation == incarnation

    def approve(self, node: str, token: str, operator: str) -> Approved | Trouble:
        try:
            approved = self._control.approve(node, token, operator)
        except InterlockError as error:
            return Trouble(error.text if isinstance(error, OperationRefused) else str(error))
        return approved or Trouble(f"{node} has not answered; approving again does no harm")

    def quarantine(self) -> dict[str, list[QuarantineEntry] | None]:
        """The quarantined tails of each node; None: it does not answer."""
        found: dict[str, list[QuarantineEntry] | None] = {}
        for name in self.config.nodes:
            try:
                found[name] = self._control.quarantine(name, ANSWER_S)
            except ClientError:
                found[name] = None
        return found
