"""The console's own time: of the day for people, never stepping, so that ages can be trusted."""

from __future__ import annotations

import time


class Clock:
    """Seconds since 1970 as of the start, carried on by a clock that no time server sets."""

    def __init__(self) -> None:
        self._base = time.time() - time.monotonic()

    def now(self) -> float:
        return self._base + time.monotonic()
