"""Watches the predicate of a probe, in the way that its mode asks for."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from .conditions import Condition, Scene, holds, parse_condition, seen_text
from .verbs import Probe, ProbeMode

LOOK_EVERY_S = 0.02


def conditions_of(probe: Probe) -> list[Condition]:
    """Raises UserError for one that is none."""
    return [parse_condition(text) for text in probe.expect]


def title(probe: Probe) -> str:
    return probe.text or "; ".join(probe.expect)


def failing(conditions: Sequence[Condition], scene: Scene) -> str:
    """The conditions that do not hold, and what is seen instead; empty: all hold."""
    return "; ".join(seen_text(one, scene) for one in conditions if not holds(one, scene))


def watch(probe: Probe, scene_now: Callable[[], Scene]) -> tuple[bool, str]:
    """Whether the probe holds in time, and what was seen."""
    conditions = conditions_of(probe)
    name, goal = title(probe), probe.hold or 0.0
    began = time.monotonic()
    held_since = 0.0
    while True:
        wrong = failing(conditions, scene_now())
        now = time.monotonic()
        if probe.mode is ProbeMode.CONTINUOUS:
            if wrong:
                return False, f"{name}: not all the time: {wrong}"
            if now - began >= probe.within:
                return True, f"{name}: all the time for {probe.within:g} s"
        elif not wrong:
            held_since = held_since or now
            if probe.mode is ProbeMode.EDGE or now - held_since >= goal:
                return True, f"{name}: after {(held_since - began) * 1000:.0f} ms"
        else:
            held_since = 0.0
            if now - began > probe.within:
                return False, f"{name}: not within {probe.within:g} s: {wrong}"
        time.sleep(LOOK_EVERY_S)
