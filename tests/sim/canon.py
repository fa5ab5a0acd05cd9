"""The canonical form of a world's state: equal for two states from which the same can happen.

Decides what counts as the state: everything that a core, a desk, a journal or a queue holds, by
walking the objects; not counters, notes and reasons, which decide nothing. Times count as distances
from now, to a quarter of a second: that is a little coarser than the truth (two states whose timers
differ by less are taken for one).
"""

from __future__ import annotations

from collections import deque
from enum import Enum
from types import FunctionType, MethodType
from typing import Any

import msgspec

from interlock.shared.log import LogState

QUARTER_NS = 250_000_000
FAR = 10  # quarters; further away is all the same
NEAR_NS = 100 * 1_000_000_000  # a number so near to now is a time; a hash is so by chance only
ATOMS = (str, bytes, bool, float, type(None))
SKIPPED = {"config", "_config", "timing", "limits", "cluster", "_cluster"}  # never change
SKIPPED |= {"counters", "notes", "events", "why", "text", "reason", "refused"}  # decide nothing
SKIPPED |= {"since_ns", "_since_ns", "state_since_ns", "time_ns", "started_ns", "effects"}
SKIPPED |= {"record_ns", "sent_ns", "_look_ns", "_sync_ns", "_roomy_ns", "link", "pending"}
SKIPPED |= {"world", "net", "_world", "journal", "room_bytes"}  # counted apart


class Canon:
    """Walks one state; `now_ns` is its present."""

    def __init__(self, now_ns: int) -> None:
        self._now = now_ns
        self._seen: dict[int, int] = {}

    def of(self, value: Any) -> Any:
        """Nested tuples of plain values."""
        kind = type(value)
        if kind is int:
            return self._time(value) if abs(value - self._now) < NEAR_NS else value
        if kind in ATOMS:
            return value
        if isinstance(value, Enum):
            return value.name
        if kind is memoryview or kind is msgspec.Raw:
            return bytes(value)
        if kind in (list, tuple, deque):
            return tuple([self.of(each) for each in value])
        if kind is dict:
            return tuple([(self.of(key), self.of(each)) for key, each in value.items()])
        if kind in (set, frozenset):
            return tuple(sorted(map(str, value)))
        if isinstance(value, LogState):
            return (value.position.hash, value.paused, value.closed is None)
        if isinstance(value, msgspec.Struct):
            return self._fields(value, value.__struct_fields__)
        known = self._seen.setdefault(id(value), len(self._seen))
        if known != len(self._seen) - 1:
            return known
        if kind is FunctionType:
            cells = [cell.cell_contents for cell in value.__closure__ or ()]
            return (value.__qualname__, self.of(cells))
        if kind is MethodType:
            return value.__qualname__
        names = vars(value) if hasattr(value, "__dict__") else kind.__slots__
        return self._fields(value, names)

    def _fields(self, value: Any, names: Any) -> Any:
        parts = [type(value).__name__]
        for name in names:
            if name not in SKIPPED:
                each = getattr(value, name)
                parts.append(self._time(each) if name[-3:] == "_ns" else self.of(each))
        return tuple(parts)

    def _time(self, value: Any) -> Any:
        if not isinstance(value, int) or not value:
            return value
        quarters = round((value - self._now) / QUARTER_NS)
        return ("t", max(-FAR, min(FAR, quarters)))
