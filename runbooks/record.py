"""What a run leaves behind: its verdict, its timeline, what was measured. Shapes only."""

from __future__ import annotations

from enum import Enum

import msgspec

from .stage import Measures


class Verdict(Enum):
    """PASS: everything held. FAIL: something did not. UNKNOWN: it could not be told."""

    PASS = "PASS"
    FAIL = "FAIL"
    UNKNOWN = "UNKNOWN"


class Event(msgspec.Struct):
    """A line of the timeline. `ok` None: neither good nor bad. `line` of the runbook, or 0."""

    at_ms: float
    line: int
    what: str
    text: str
    ok: bool | None = None


class Report(msgspec.Struct):
    """What a run was and how it ended."""

    id: str
    title: str
    file: str
    sha256: str
    mode: str
    operator: str
    started_ns: int
    verdict: Verdict = Verdict.PASS
    reason: str = ""
    seconds: float = 0.0
    events: list[Event] = []
    before: dict[str, str] = {}
    after: dict[str, str] = {}
    measures: Measures | None = None
