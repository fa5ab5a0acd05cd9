"""The stage of a guided run or a rehearsal: the live pair, and the person in front of it.

Decides nothing: faults are not made here, and what is done by hand is done by a hand.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import typer

from ..client.control import ControlClient
from ..runbooks.conditions import Value
from ..runbooks.stage import Measures, NobodyThereError, UnavailableError
from ..runbooks.verbs import Action, Decide, Do, FaultKind, Note
from ..shared.config import Config, Environment
from ..shared.operations import Preflight
from ..shared.telemetry import NodeStatus
from .operate_text import show_preflight

STATUS_S = 1.0


class LiveStage:
    """A `Stage` on a pair that others started."""

    def __init__(self, config: Config) -> None:
        self.control = ControlClient(config)
        names = sorted(config.nodes, key=lambda name: name != config.pair.primary)
        self.names = (names[0], names[1])
        self.is_drill = config.pair.environment is Environment.DRILL

    def nodes(self) -> Mapping[str, NodeStatus | None]:
        return self.control.statuses(STATUS_S)

    def flow(self) -> Mapping[str, Value] | None:
        return None

    def by_hand(self, do: Do, node: str) -> None:
        raise UnavailableError(f"{do.value} of {node} is for a person, on this pair")

    def fault(self, kind: FaultKind, node: str, by_ms: int) -> None:
        raise UnavailableError(f"{kind.value} is made on an embedded pair only")

    def note_action(self) -> None:
        """Nothing is measured here."""

    def undo_faults(self) -> list[str]:
        return []

    def measures(self) -> Measures | None:
        return None


def _ask(question: str, **options: Any) -> str:
    """What the person types. Raises NobodyThereError at the end of input."""
    try:
        typed: str = typer.prompt(question, **options)
    except typer.Abort:
        raise NobodyThereError from None
    return typed


class TerminalAsker:
    """Asks in the terminal."""

    def choose(self, decide: Decide) -> str:
        typer.secho(f"\n{decide.question}", bold=True)
        for name, meaning in decide.branches.items():
            typer.echo(f"  {name}: {meaning}")
        while True:
            chosen: str = _ask("your choice")
            if chosen in decide.branches:
                return chosen
            typer.echo(f"one of: {', '.join(decide.branches)}")

    def read(self, note: Note) -> None:
        typer.secho(f"\n{note.text}", bold=True)
        _ask("press Enter to go on", default="", show_default=False)

    def confirm(self, action: Action, preflight: Preflight) -> tuple[str, str] | None:
        node = preflight.request.node
        if action.text:
            typer.secho(f"\n{action.text}", bold=True)
        show_preflight(preflight)
        typed: str = _ask(
            f"type {node} to do it, anything else to stop", default="", show_default=False
        )
        if typed.strip() != node:
            return None
        if not preflight.attestation:
            return node, ""
        typer.echo(f"you attest, by typing it: {preflight.attestation}")
        while True:
            attested: str = _ask(
                "type that sentence, or nothing to stop", default="", show_default=False
            )
            if not attested.strip():
                return None
            if attested.casefold().split() == preflight.attestation.casefold().split():
                return node, attested
            typer.echo("this is not that sentence")

    def done_by_hand(self, action: Action, node: str) -> bool:
        what = action.text or f"{action.do.value} of node {node}"
        typer.secho(f"\nby hand, node {node}: {what}", bold=True)
        return _ask("is it done? [y/N]", default="", show_default=False).strip().lower() in (
            "y",
            "yes",
        )
