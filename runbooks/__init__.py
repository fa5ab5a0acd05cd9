"""Runbooks: Markdown that people follow, that the console shows, and that drills execute.

`parse` reads them, `lint` judges them, `run` executes them against a `Stage`, `report` writes down
what happened. The format is described in `README.md`, beside the runbooks.

For a console: `ids()`, `load(id)` (its `front`, `text` and `steps`), `name_old(nodes)` and
`evaluate(probe, nodes, old)` for live ticks, `last_result(id)` for badges.
"""

from __future__ import annotations

from .cast import evaluate, name_old
from .library import folder, ids, load
from .parse import Runbook, Step, parse
from .results import Result, last_result

__all__ = [
    "Result",
    "Runbook",
    "Step",
    "evaluate",
    "folder",
    "ids",
    "last_result",
    "load",
    "name_old",
    "parse",
]
