"""A change of roles in the middle of a demo, through the control commands that operators use.

Decides the steps of each drill and what has to be true before each. The load goes on all the time;
what its consumers saw is judged by the demo.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from ..client.control import ControlClient
from ..shared.errors import InterlockError
from ..shared.operations import Operation, Receipt, Request, Result
from .demo import FailoverKind
from .embedded import EmbeddedPair

DOWN_S = 1.0  # how long a killed node stays down, at least
WAIT_S = 30.0  # for a state that has to come by itself
OPERATOR = "demo"


class Failover:
    """One drill. `steps` is advanced a step at a time by whoever watches the run."""

    def __init__(self, pair: EmbeddedPair, kind: FailoverKind) -> None:
        self.receipts: list[Receipt] = []
        self._pair = pair
        self._kind = kind
        self._control = ControlClient(pair.config)

    def steps(self) -> Iterator[None]:
        """Raises InterlockError if an operation does not end as DONE."""
        leader, standby = self._pair.config.pair.primary, self._pair.config.secondary()
        match self._kind:
            case FailoverKind.SWITCHOVER:
                self._operate(Operation.SWITCHOVER, leader)
            case FailoverKind.KILL_PRIMARY:
                yield from self._kill_primary(leader, standby)
            case FailoverKind.KILL_STANDBY:
                yield from self._kill_standby(leader, standby)
        yield from self._until("both nodes to work together", self._is_gated)

    def _kill_primary(self, leader: str, standby: str) -> Iterator[None]:
        self._pair.kill(leader)
        yield from self._until(f"{standby} to miss it", lambda: self._is(standby, "ORPHANED"))
        self._operate(Operation.PROMOTE, standby, solo=True)
        back = time.monotonic() + DOWN_S
        while time.monotonic() < back:
            yield
        self._pair.start(leader)
        yield from self._until(f"{leader} to be fenced", lambda: self._is(leader, "FENCED"))
        self._operate(Operation.REINSTATE, leader)

    def _kill_standby(self, leader: str, standby: str) -> Iterator[None]:
        self._pair.kill(standby)
        yield from self._until(f"{leader} to stall", lambda: self._is(leader, "STALLED"))
        self._operate(Operation.SOLO, leader)
        back = time.monotonic() + DOWN_S
        while time.monotonic() < back:
            yield
        self._pair.start(standby)

    def _operate(self, operation: Operation, node: str, *, solo: bool = False) -> None:
        """Preflight, then execution with what the preflight asks for: here it is true."""
        preflight = self._control.preflight(Request(operation, node, solo=solo))
        failing = [guard for guard in preflight.guards if not guard.passed]
        if failing:
            one = failing[0]
            raise InterlockError(
                f"{operation.value} {node} was refused: {one.name}: {one.observed}; {one.remedy}"
            )
        receipt = self._control.execute(
            node,
            preflight.token,
            OPERATOR,
            f"interlock demo --failover {self._kind.value}",
            preflight.confirm,
            preflight.attestation,
        )
        if receipt is None or receipt.result is not Result.DONE:
            text = f"{receipt.result.value}: {receipt.text}" if receipt else "no answer"
            raise InterlockError(f"{operation.value} {node} did not end as done: {text}")
        self.receipts.append(receipt)

    def _is(self, node: str, state: str) -> bool:
        status = self._control.statuses(0.5)[node]
        return status is not None and status.state == state

    def _is_gated(self) -> bool:
        states = [node.state for node in self._control.statuses(0.5).values() if node]
        return sorted(states) == ["GATED", "IN_SYNC"]

    def _until(self, what: str, look: Callable[[], bool]) -> Iterator[None]:
        end = time.monotonic() + WAIT_S
        while not look():
            if time.monotonic() > end:
                raise InterlockError(f"waited {WAIT_S:g} s for {what}")
            yield
