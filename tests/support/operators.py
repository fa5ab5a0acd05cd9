"""An operator for tests with real nodes: preflight, then execution with what it asks for.

Decides nothing: what is refused here was refused by a node.
"""

from __future__ import annotations

from typing import Any

from interlock.cli.embedded import EmbeddedPair
from interlock.client.control import ControlClient
from interlock.client.errors import OperationRefused
from interlock.shared.epochs import EpochOpened, decode_epoch_opened
from interlock.shared.journal import JournalReader
from interlock.shared.operations import Operation, Preflight, Receipt, Request, Result
from interlock.shared.wire import Kind


def preflight(pair: EmbeddedPair, operation: Operation, node: str, **arguments: Any) -> Preflight:
    """What the operation would need; `arguments` are those of a Request."""
    return ControlClient(pair.config).preflight(Request(operation, node, **arguments))


def failing(pair: EmbeddedPair, operation: Operation, node: str, **arguments: Any) -> list[str]:
    """The names of the guards that fail."""
    found = preflight(pair, operation, node, **arguments)
    return [guard.name for guard in found.guards if not guard.passed]


def operate(
    pair: EmbeddedPair,
    operation: Operation,
    node: str,
    *,
    operator: str = "ann",
    reason: str = "a test",
    **arguments: Any,
) -> Receipt:
    """Does it, and fails unless it ends as DONE with every check passed."""
    found = preflight(pair, operation, node, **arguments)
    wrong = [guard for guard in found.guards if not guard.passed]
    assert not wrong, f"{operation.value} {node} is not possible: {wrong}"
    receipt = execute(pair, found, operator, reason)
    assert isinstance(receipt, Receipt), f"{operation.value} {node}: {receipt}"
    assert receipt.result is Result.DONE, f"{operation.value} {node}: {receipt.text}"
    assert all(check.passed for check in receipt.checks), receipt.checks
    return receipt


def execute(
    pair: EmbeddedPair, found: Preflight, operator: str = "ann", reason: str = "a test"
) -> Receipt | OperationRefused | None:
    """Executes what a preflight has shown: how it ended, why it was not begun, or no answer."""
    try:
        return ControlClient(pair.config).execute(
            found.request.node, found.token, operator, reason, found.confirm, found.attestation
        )
    except OperationRefused as refused:
        return refused


def epochs(pair: EmbeddedPair, node: str) -> list[EpochOpened]:
    """The epochs that were opened in a node's log, as its journal has them, oldest first."""
    records = JournalReader(pair.config.data_dir(node)).records()
    return [decode_epoch_opened(one) for one in records if one.kind is Kind.EPOCH_OPENED]
