"""How the console words numbers, times, requests and risks. Pure; decides nothing else.

One rule for what is not known: it is `---`, never 0 and never an empty cell.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

MISSING: Final = "---"
SECOND_NS: Final = 1_000_000_000


def count_text(number: int | None) -> str:
    """All digits, in groups: `1,234,567`."""
    return MISSING if number is None else f"{number:,}"


def short_text(number: float | None) -> str:
    """Three digits or so: `950`, `12.3k`, `4.56M`."""
    if number is None:
        return MISSING
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(number) >= size:
            scaled = number / size
            digits = 2 if abs(scaled) < 10 else 1 if abs(scaled) < 100 else 0
            return f"{scaled:.{digits}f}{unit}"
    return f"{number:.0f}" if number >= 100 or number == int(number) else f"{number:.1f}"


def bytes_text(number: float | None) -> str:
    """`512 B`, `4.0 MiB`."""
    if number is None:
        return MISSING
    for size, unit in ((2**40, "TiB"), (2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if abs(number) >= size:
            return f"{number / size:.1f} {unit}"
    return f"{number:.0f} B"


def age_text(seconds: float | None) -> str:
    """How long ago, or for how long, in at most two units: `0.4s`, `12s`, `3m20s`, `2h05m`."""
    if seconds is None:
        return MISSING
    seconds = max(0.0, seconds)
    if seconds < 1:
        return f"{seconds:.1f}s"
    whole = int(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3_600:
        return f"{whole // 60}m{whole % 60:02d}s"
    if whole < 86_400:
        return f"{whole // 3_600}h{whole % 3_600 // 60:02d}m"
    return f"{whole // 86_400}d{whole % 86_400 // 3_600:02d}h"


def heard_text(ms: float) -> str:
    """How long ago something was heard. A figure that jumps with each heartbeat tells nothing, and
    would have the screen painted for it."""
    return "heard just now" if ms < 500 else f"heard {age_text(ms / 1_000)} ago"


def ms_text(ms: float | None) -> str:
    """Milliseconds with as many digits as tell something: `0.08 ms`, `12 ms`, `3.2 s`."""
    if ms is None:
        return MISSING
    if ms >= 1_000:
        return f"{ms / 1_000:.1f} s"
    digits = 2 if ms < 1 else 1 if ms < 10 else 0
    return f"{ms:.{digits}f} ms"


def us_text(us: float | None) -> str:
    """Microseconds: `85 us`, `1.2 ms`."""
    if us is None:
        return MISSING
    return f"{us:.0f} us" if us < 1_000 else ms_text(us / 1_000)


def clock_text(time_ns: int) -> str:
    """The time of day in UTC: `03:14:15Z`."""
    return f"{datetime.fromtimestamp(time_ns / SECOND_NS, UTC):%H:%M:%SZ}"


def date_text(time_ns: int) -> str:
    """Day and time in UTC, as the nodes' own logs have it: `2026-11-25T03:14:15Z`."""
    return f"{datetime.fromtimestamp(time_ns / SECOND_NS, UTC):%Y-%m-%dT%H:%M:%SZ}"
