"""The one place that reads clocks. Cores get time as an argument."""

from __future__ import annotations

import time


def wall_ns() -> int:
    """Nanoseconds since 1970: for records and for people. May step."""
    return time.time_ns()


def now_ns() -> int:
    """Nanoseconds that never step: for intervals and time-outs."""
    return time.monotonic_ns()
