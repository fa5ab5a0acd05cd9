"""How old a value is, and what that means for showing it and for acting on it. Pure.

Decides when a value is fresh, late, stale or unknown. A console that shows an old number like a new
one is worse than none: at 3 a.m. nobody checks whether the picture still moves.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

import msgspec

from .words import MISSING, age_text

LEAST_LATE_S: Final = 1.0
LEAST_STALE_S: Final = 3.0
LATE_INTERVALS: Final = 4.0
STALE_INTERVALS: Final = 12.0


class Freshness(Enum):
    """What a value's age means."""

    FRESH = "fresh"  # as new as it can be
    LATE = "late"  # something is missing; shown dimmed, with its age
    STALE = "stale"  # of the past; shown as `~value 12s`, and nothing may be decided on it
    UNKNOWN = "unknown"  # never seen; shown as `---`

    @property
    def usable(self) -> bool:
        """Whether an operator may act on it."""
        return self in (Freshness.FRESH, Freshness.LATE)


class Patience(msgspec.Struct, frozen=True):
    """From which age on a value is late, and stale."""

    late_s: float
    stale_s: float

    @classmethod
    def of_interval(cls, interval_s: float) -> Patience:
        """For a value that is sent each `interval_s`."""
        return cls(
            max(LEAST_LATE_S, LATE_INTERVALS * interval_s),
            max(LEAST_STALE_S, STALE_INTERVALS * interval_s),
        )

    def judge(self, age_s: float | None) -> Freshness:
        """`age_s` None: never seen. The bounds belong to the worse side."""
        if age_s is None:
            return Freshness.UNKNOWN
        if age_s >= self.stale_s:
            return Freshness.STALE
        return Freshness.LATE if age_s >= self.late_s else Freshness.FRESH


def aged(text: str, freshness: Freshness, age_s: float | None) -> str:
    """The value as it is shown: `12`, `12 (2s)`, `~12 14s` or `---`."""
    if freshness is Freshness.UNKNOWN:
        return MISSING
    if freshness is Freshness.STALE:
        return f"~{text} {age_text(age_s)}"
    return f"{text} ({age_text(age_s)})" if freshness is Freshness.LATE else text
