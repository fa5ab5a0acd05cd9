"""Virtual time: an event queue, and processes that are generators.

Decides the order of events and nothing else: by time, then by the order of asking. Randomness is
not here, so a seed replays exactly.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator
from enum import Enum
from heapq import heappop, heappush
from typing import Any

from msgspec import Struct

from interlock.shared.epochs import Epoch
from interlock.shared.operations import Preflight, Receipt, Request
from interlock.shared.telemetry import NodeStatus
from interlock.shared.wire import Position

MS = 1_000_000
SHOWN_CHARS = 260
Process = Generator[int, Any, Any]


class Engine:
    """Runs callbacks at their virtual times."""

    def __init__(self, now: int) -> None:
        self.now = now
        self.steps = 0
        self._queue: list[tuple[int, int, Callable[..., None], tuple[Any, ...]]] = []
        self._count = 0

    def at(self, when: int, call: Callable[..., None], *args: Any) -> None:
        """Calls `call(*args)` at `when`, or now if that is past."""
        self._count += 1
        heappush(self._queue, (max(when, self.now), self._count, call, args))

    def after(self, delay: int, call: Callable[..., None], *args: Any) -> None:
        self.at(self.now + delay, call, *args)

    def spawn(self, process: Process, delay: int = 0) -> None:
        """Runs a generator that yields how long it sleeps, in ns."""
        self.after(delay, self._step, process)

    def _step(self, process: Process) -> None:
        try:
            delay = next(process)
        except StopIteration:
            return
        self.after(delay, self._step, process)

    def run_until(self, end: int, stop: Callable[[], bool] | None = None) -> None:
        """Runs events up to `end`, or until `stop()` after one of them."""
        queue = self._queue
        while queue and queue[0][0] <= end:
            self.now, _, call, args = heappop(queue)
            self.steps += 1
            call(*args)
            if stop is not None and stop():
                return
        self.now = max(self.now, end)


class Trace:
    """The last events, formatted only when somebody has to read them."""

    def __init__(self, engine: Engine, kept: int) -> None:
        self._engine = engine
        self._start = engine.now
        self._events: deque[tuple[int, str, str, Any]] = deque(maxlen=kept)

    def add(self, who: str, what: str, detail: Any = "") -> None:
        self._events.append((self._engine.now, who, what, detail))

    def lines(self) -> list[str]:
        return [
            f"{(when - self._start) / MS:12.3f} ms  {who:<5} {what:<9} {_shown(detail)}"
            for when, who, what, detail in self._events
        ]


def _shown(detail: Any) -> str:
    if isinstance(detail, tuple):
        return " ".join(_shown(each) for each in detail)
    if isinstance(detail, bytes | memoryview):
        return bytes(detail).decode("ascii", "replace") if len(detail) < 40 else f"{len(detail)} B"
    if isinstance(detail, Struct):
        fields = [f"{name}={_field(getattr(detail, name))}" for name in detail.__struct_fields__]
        text = f"{type(detail).__name__}({', '.join(each for each in fields if each[-1] != '=')})"
    else:
        text = str(detail)
    return text if len(text) <= SHOWN_CHARS else text[: SHOWN_CHARS - 3] + "..."


def _field(value: Any) -> str:
    """One field of a message, short; empty if it says nothing."""
    if isinstance(value, Enum):
        return str(value.value)
    if isinstance(value, Position):
        return f"{value.seq}/{value.hash % 0xFFFF:04x}"
    if isinstance(value, list) and value and isinstance(value[0], Epoch):
        return " ".join(f"{e.number}{e.leader}{e.mode.value[0]}@{e.first_seq}" for e in value)
    if isinstance(value, Receipt):
        return f"{value.request.operation.value} {value.result.value}: {value.text}"
    if isinstance(value, Preflight):
        failing = [f"{g.name}: {g.observed}" for g in value.guards if not g.passed]
        return f"{_field(value.request)} token {value.token[-4:]} {value.attestation} {failing}"
    if isinstance(value, Request):
        return f"{value.operation.value} {value.node}"
    if isinstance(value, NodeStatus):
        last_seq = value.watermarks.accepted_seq
        return f"{value.role} {value.state}, epoch {value.epoch}, last {last_seq}"
    if isinstance(value, str) and len(value) == 36:  # the cluster
        return ""
    return _shown(value) if value or value == 0 else ""
