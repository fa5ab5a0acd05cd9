"""What makes a runbook unfit, although it can be read.

Decides the rules below; `alarms` are the names of all alarms that there are, each with the runbook
that fits. Each complaint is one sentence with file and line.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from ..shared.errors import UserError
from .conditions import parse_condition
from .parse import Runbook, RunbookError, Step, read
from .verbs import BY_HAND, Action, Decide, Do, Fault, Probe, ProbeMode

DESTRUCTIVE = frozenset({Do.PROMOTE, Do.SOLO, Do.DEMOTE, Do.REINSTATE, Do.DISCARD, Do.SHUTDOWN})
SECTIONS = ("When", "Impact", "Who decides", "On paper", "Done", "Tell the users")


def lint(folder: Path, alarms: Mapping[str, str]) -> list[str]:
    """The complaints about all runbooks in `folder`; none: they are fit."""
    complaints: list[str] = []
    books: dict[str, Runbook] = {}
    for path in sorted(folder.glob("*.md")):
        if path.stem == "README":
            continue
        try:
            book = read(path)
        except RunbookError as error:
            complaints.append(str(error))
            continue
        books[path.stem] = book
        complaints += lint_one(book)
        complaints += [
            f"{path}:1: alarms: there is no alarm {alarm}"
            for alarm in book.front.alarms
            if alarm not in alarms
        ]
    for alarm, wanted in alarms.items():
        if wanted not in books:
            complaints.append(f"{folder}: the alarm {alarm} names the runbook {wanted}: not there")
        elif alarm not in books[wanted].front.alarms:
            path = books[wanted].path
            complaints.append(f"{path}:1: alarms: {alarm} names this runbook, and is not listed")
    return complaints


def lint_one(book: Runbook) -> list[str]:
    """The complaints about one runbook by itself."""
    complaints = []
    if book.front.id != book.path.stem:
        complaints.append(f"{book.path}:1: id: {book.front.id} is not the name of the file")
    if not book.front.alarms:
        complaints.append(f"{book.path}:1: alarms: a runbook answers an alarm; name one")
    complaints += [
        f"{book.path}:1: there is no section {section!r}"
        for section in SECTIONS
        if not any(heading.startswith(section) for heading in book.headings)
    ]
    if not any(isinstance(step.what, Probe) and step.what.steady for step in book.steps):
        complaints.append(f"{book.path}:1: no probe is of the steady state")
    branches = {
        name for step in book.steps if isinstance(step.what, Decide) for name in step.what.branches
    }
    for index, step in enumerate(book.steps):
        complaints += [f"{book.path}:{step.line}: {text}" for text in _of_step(step, branches)]
        if not _verified(book.steps[index:]):
            complaints.append(
                f"{book.path}:{step.line}: on_unknown: no probe after this action verifies it"
            )
    complaints += _dead_links(book)
    return complaints


def _verified(steps: Sequence[Step]) -> bool:
    """Whether a probe tells what became of the first step, if that can end without an answer."""
    first = steps[0].what
    if not isinstance(first, Action) or first.do in BY_HAND or first.on_unknown != "verify":
        return True
    return any(isinstance(step.what, Probe) and not step.what.steady for step in steps[1:])


def _of_step(step: Step, branches: set[str]) -> Iterator[str]:
    what = step.what
    if not isinstance(what, Decide) and what.branch and what.branch not in branches:
        yield f"branch: no question has the branch {what.branch!r}"
    match what:
        case Probe():
            yield from _of_probe(what)
        case Action():
            yield from _of_action(what)
        case Fault():
            if what.node is None and what.fault.value in ("kill", "freeze", "wipe", "damage"):
                yield f"node: {what.fault.value} needs a node"
        case Decide():
            if what.drill not in what.branches:
                yield f"drill: {what.drill!r} is none of the branches"


def _of_probe(probe: Probe) -> Iterator[str]:
    for text in probe.expect:
        try:
            parse_condition(text)
        except UserError as error:
            yield f"expect: {error}"
    if probe.mode is ProbeMode.STEADY and probe.hold is None:
        yield "hold: a steady probe says for how long"


def _of_action(action: Action) -> Iterator[str]:
    if action.do in DESTRUCTIVE and not action.destructive:
        yield f"destructive: {action.do.value} is, and the step does not say so"
    if action.destructive and action.confirm is None:
        yield "confirm: a destructive action is confirmed by a node's name"
    if action.do not in BY_HAND and action.on_unknown != "verify":
        yield "on_unknown: expected verify: an operation may end without an answer"
    if action.expect not in ("done", "refused"):
        yield f"expect: {action.expect!r} is neither done nor refused"
    unknown = set(action.options) - {"solo", "reseed", "accept_loss", "for_ms"}
    if unknown:
        yield f"options: unknown {', '.join(sorted(unknown))}"
    for text in action.rollback.when if action.rollback else ():
        try:
            parse_condition(text)
        except UserError as error:
            yield f"rollback.when: {error}"


def _dead_links(book: Runbook) -> Iterator[str]:
    for line, href in book.links:
        parts = urlsplit(href)
        if parts.scheme or not parts.path:
            continue
        if not (book.path.parent / parts.path).exists():
            yield f"{book.path}:{line}: dead link {href}"
