"""The runbooks that there are, each with the result of its last drill. Reads files: not for the
task that paints.

Decides what is shown of one that cannot be read: its fault, instead of the console's end.
"""

from __future__ import annotations

import msgspec

from ..runbooks import Result, Runbook, ids, last_result, load
from ..runbooks.verbs import Probe
from ..runbooks.watch import conditions_of
from ..shared.errors import UserError


class Book(msgspec.Struct, frozen=True):
    """One runbook. `result` None: never drilled by this user on this machine."""

    runbook: Runbook
    result: Result | None

    @property
    def has_changed(self) -> bool:
        """Whether its text is another one than was drilled."""
        return self.result is not None and self.result.sha256 != self.runbook.sha256


class Shelf:
    """All runbooks. Their texts are read once, their results each time."""

    def __init__(self) -> None:
        self.faults: list[str] = []
        self._runbooks: list[Runbook] | None = None

    def books(self) -> list[Book]:
        """By id."""
        if self._runbooks is None:
            self._runbooks = self._read()
        return [Book(one, self.result(one.id)) for one in self._runbooks]

    def result(self, name: str) -> Result | None:
        """How the last drill ended."""
        return last_result(name)

    def _read(self) -> list[Runbook]:
        found = []
        for name in ids():
            try:
                runbook = load(name)
                for step in runbook.steps:
                    if isinstance(step.what, Probe):
                        conditions_of(step.what)
                found.append(runbook)
            except UserError as error:
                self.faults.append(str(error))
        return found
