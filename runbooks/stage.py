"""What a run needs of the pair that it is about. Shapes only.

A stage is a live pair (guided, rehearse) or one made for a drill; `cli` has both.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import msgspec

from ..client.control import ControlClient
from ..shared.operations import Preflight
from ..shared.telemetry import NodeStatus
from .conditions import Value
from .verbs import Action, Decide, Do, FaultKind, Note


class UnavailableError(Exception):
    """This machine cannot do what the drill asks for (no root, a tool is missing): UNKNOWN."""


class NobodyThereError(Exception):
    """The person in front of a guided run has gone: the end of input, or Ctrl-C at a question."""


class Measures(msgspec.Struct):
    """What a drill measured at its producers and its consumer, in milliseconds and messages.

    `rto_ms`: from the fault to the first release after the longest pause. `rto_decision_ms`: from
    the first action to it. None: nothing was measured. `lost`: confirmed and never delivered.
    """

    rto_ms: float | None = None
    rto_decision_ms: float | None = None
    pause_ms: float | None = None
    confirmed: int = 0
    delivered: int = 0
    lost: int = 0
    in_doubt: int = 0
    quarantined: int = 0
    failure: str = ""  # what the checking consumer found wrong first

    @property
    def problem(self) -> str:
        """Why the run cannot have passed, by what was measured; empty: nothing is wrong."""
        if self.failure:
            return self.failure
        if self.lost:
            return f"RPO is not 0: {self.lost} confirmed messages were never delivered"
        return ""


class Stage(Protocol):
    """The pair."""

    control: ControlClient
    names: tuple[str, str]
    is_drill: bool

    def nodes(self) -> Mapping[str, NodeStatus | None]:
        """What each node says of itself now; None: it does not answer."""

    def flow(self) -> Mapping[str, Value] | None:
        """What producers and the consumer see; None: there are none."""

    def by_hand(self, do: Do, node: str) -> None:
        """Does what a person would do. Raises UnavailableError, or UserError if it failed."""

    def fault(self, kind: FaultKind, node: str, by_ms: int) -> None:
        """Breaks something, or mends it. Raises UnavailableError."""

    def note_action(self) -> None:
        """The first action begins: the decision was made."""

    def undo_faults(self) -> list[str]:
        """Mends all that is still broken; what was mended."""

    def measures(self) -> Measures | None:
        """Ends the load and says what it saw; None: there was none."""


class Asker(Protocol):
    """The person in front of a guided run. A drill answers by itself."""

    def choose(self, decide: Decide) -> str:
        """The branch."""

    def read(self, note: Note) -> None:
        """Shows it, and waits until it was read and done."""

    def confirm(self, action: Action, preflight: Preflight) -> tuple[str, str] | None:
        """What was typed as confirmation and attestation; None: it is not to be done."""

    def done_by_hand(self, action: Action, node: str) -> bool:
        """Whether the person did it."""
