"""How a thread waits for its descriptors: parked, or looking again and again for a while.

Waking a parked thread costs more than all that Python does for a message, and it costs that at each
of the four hops of a round trip. A thread that looks again answers sooner and burns a core
meanwhile, which it shares by yielding: with fewer cores than such threads, one that never yields is
ruinous for all.

Decides when to look again and when to park. `adaptive` looks for a short while only, and only while
that has paid lately: a quiet process parks at once.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from enum import Enum
from typing import Final, TypeVar

from .errors import UserError

SPIN_NS: Final = 100_000  # adaptive: a round trip of a pair at rest takes about as long
MISSES: Final = 8  # looks in vain, one after the other, before it parks at once again

T = TypeVar("T")


class Idle(Enum):
    """The idle strategy of a process."""

    BLOCK = "block"  # park at once
    ADAPTIVE = "adaptive"  # look for a while if that has paid lately, then park
    SPIN = "spin"  # never park: for a core of its own


def idle_of(text: str) -> Idle:
    """The strategy of that name. Raises UserError for any other text."""
    try:
        return Idle(text)
    except ValueError:
        names = ", ".join(each.value for each in Idle)
        raise UserError(f"idle is {text!r}; expected one of {names}") from None


class Idler:
    """Waits for one thread. `poll(timeout_ms)` returns what is ready, empty if nothing is."""

    def __init__(self, idle: Idle) -> None:
        self._idle = idle
        self._misses = MISSES

    def wait(self, poll: Callable[[float], list[T]], timeout_ms: float) -> list[T]:
        """What is ready within `timeout_ms`."""
        if self._idle is Idle.BLOCK or timeout_ms <= 0:
            return poll(timeout_ms)
        spins = self._idle is Idle.SPIN
        if not spins and self._misses >= MISSES:
            return self._parked(poll, timeout_ms)
        begun_ns = time.monotonic_ns()
        until_ns = begun_ns + (int(timeout_ms * 1e6) if spins else SPIN_NS)
        while not (found := poll(0)):
            if time.monotonic_ns() >= until_ns:
                break
            os.sched_yield()
        if found or spins:
            self._misses = 0
            return found
        self._misses += 1
        return poll(max(0.0, timeout_ms - SPIN_NS / 1e6))

    def _parked(self, poll: Callable[[float], list[T]], timeout_ms: float) -> list[T]:
        """Parks; what comes sooner than looking would have taken says that looking pays."""
        begun_ns = time.monotonic_ns()
        found = poll(timeout_ms)
        if found and time.monotonic_ns() - begun_ns < 2 * SPIN_NS:
            self._misses = 0
        return found
