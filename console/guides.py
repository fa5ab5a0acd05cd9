"""The runbooks that are followed in this console, and the operations that their steps have opened.

Decides which operation belongs to which step: the next one of the same kind on the same node after
the step was opened, whatever flags are set in its dialog. Pure; time is that of the picture.
"""

from __future__ import annotations

from typing import Final

import msgspec

from ..shared.operations import Request
from ..shared.wording import request_text
from .conduct import Conductor
from .guide import Guide, Mark
from .view import View
from .workflow import Stage

MARKS: Final = {
    Stage.DONE: Mark.DONE,
    Stage.REFUSED: Mark.REFUSED,
    Stage.UNKNOWN: Mark.DOUBTFUL,
    Stage.SETTLED: Mark.NO_TRACE,
}


class Opened(msgspec.Struct):
    """The operation of a step: who carries it out, and what was noted of it last. `before`: what
    was under way when the step was opened, which is another one."""

    guide: Guide
    index: int
    request: Request
    before: Conductor | None
    conductor: Conductor | None = None
    stage: Stage | None = None


class Guides:
    """One run at most of each runbook; the last one is kept until it is opened anew."""

    def __init__(self) -> None:
        self._guides: dict[str, Guide] = {}
        self._opened: dict[tuple[str, int], Opened] = {}

    def of(self, name: str) -> Guide | None:
        """The run of this runbook, also one that was ended."""
        return self._guides.get(name)

    def begin(self, guide: Guide) -> None:
        """This run is followed from now on."""
        self._guides[guide.runbook.id] = guide

    def opens(self, guide: Guide, index: int, request: Request, before: Conductor | None) -> None:
        """A step is about to open the dialog of an operation."""
        self._opened[guide.runbook.id, index] = Opened(guide, index, request, before)

    def look(self, view: View, active: Conductor | None) -> None:
        """A new picture. `active`: the operation that was opened last in this console."""
        for guide in self._guides.values():
            if not guide.ended:
                guide.look(view.nodes, view.at)
        for opened in self._opened.values():
            if opened.conductor is None and active is not None and active is not opened.before:
                opened.conductor = active if _fits(opened, active) else None
            if opened.conductor is not None and not opened.guide.ended:
                _follow(opened, opened.conductor, view)


def _fits(opened: Opened, conductor: Conductor) -> bool:
    request, wanted = conductor.workflow.request, opened.request
    return (request.operation, request.node) == (wanted.operation, wanted.node)


def _follow(opened: Opened, conductor: Conductor, view: View) -> None:
    """Notes each stage that the operation comes to once it was sent."""
    flow = conductor.workflow
    stage = flow.stage(view.at)
    if flow.sent_at is None or stage is opened.stage:
        return
    opened.stage = stage
    text = flow.text or (flow.steps[-1][1] if flow.steps else "")
    if stage is Stage.RUNNING:
        text = f"token {flow.token}: {flow.typed.reason}"
    mark = MARKS.get(stage, Mark.RUNNING)
    who = flow.typed.operator
    opened.guide.ran(opened.index, mark, request_text(flow.request), text, view.at, who)
    opened.guide.look(view.nodes, view.at)
