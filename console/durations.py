"""Minutes that a person types into a dialog. Pure."""

from __future__ import annotations

from typing import Final

MAX_MINUTES: Final = 7 * 24 * 60


def parse_minutes_ms(text: str) -> int:
    """Milliseconds of a whole number of minutes, at most 7 days; 0 for anything else: no end."""
    minutes = int(text) if text.strip().isdecimal() else 0
    return min(minutes, MAX_MINUTES) * 60_000
