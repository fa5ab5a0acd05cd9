"""An operator for measurements: asks for an operation, attests what is asked for, and waits."""

from __future__ import annotations

import time

from ..client.control import ControlClient
from ..shared.errors import InterlockError
from ..shared.operations import Operation, Receipt, Request, Result
from .pair import Nodes


def operate(
    nodes: Nodes, operation: Operation, node: str, *, solo: bool = False
) -> tuple[int, Receipt]:
    """When the execution was asked for, and its receipt. What is attested has to be true.

    Raises InterlockError unless it ends as done.
    """
    control = ControlClient(nodes.config)
    found = control.preflight(Request(operation, node, solo=solo))
    if not found.passed:
        raise InterlockError(f"{operation.value} {node} is not possible: {found.guards}")
    begin_ns = time.monotonic_ns()
    receipt = control.execute(
        node, found.token, "bench", "a measurement", found.confirm, found.attestation
    )
    if receipt is None or receipt.result is not Result.DONE:
        raise InterlockError(f"{operation.value} {node} did not end as done: {receipt}")
    return begin_ns, receipt
