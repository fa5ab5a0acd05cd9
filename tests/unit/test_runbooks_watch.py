"""Watching a probe: once, steadily, or all the time. No time passes but the clock's of the test."""

from __future__ import annotations

import pytest

from interlock.runbooks.cast import scene_of
from interlock.runbooks.conditions import Scene
from interlock.runbooks.verbs import Probe, ProbeMode
from interlock.runbooks.watch import LOOK_EVERY_S, watch
from interlock.tests.unit.operate_kit import status
from interlock.tests.unit.runbook_kit import Clock, install_clock

GOOD, BAD = "GATED", "STALLED"
EXPECT = ["old.state is GATED"]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return install_clock(monkeypatch)


class Pair:
    """In the state that `states` says for each moment: from that second on, since its beginning."""

    def __init__(self, clock: Clock, states: dict[float, str]) -> None:
        self._clock, self._states, self._began = clock, states, clock.now
        self.looks = 0

    def __call__(self) -> Scene:
        self.looks += 1
        passed = self._clock.now - self._began + 1e-9
        state = [state for since, state in self._states.items() if since <= passed][-1]
        return scene_of({"a": status("a", "primary", state), "b": None}, "a")


def test_an_edge_holds_at_the_first_moment(clock: Clock) -> None:
    pair = Pair(clock, {0: GOOD, 0.01: BAD})
    assert watch(Probe(EXPECT, 1), pair) == (True, "old.state is GATED: after 0 ms")
    assert pair.looks == 1
    assert clock.naps == 0


def test_an_edge_is_waited_for(clock: Clock) -> None:
    held, told = watch(Probe(EXPECT, 1, text="it is gated"), Pair(clock, {0: BAD, 0.5: GOOD}))
    assert held
    assert told == "it is gated: after 500 ms"


def test_an_edge_that_comes_too_late_does_not_hold(clock: Clock) -> None:
    began = clock.now
    held, told = watch(Probe(EXPECT, 1), Pair(clock, {0: BAD, 1.5: GOOD}))
    assert not held
    assert told == ("old.state is GATED: not within 1 s: old.state is GATED: it is STALLED")
    assert clock.now - began == pytest.approx(1, abs=2 * LOOK_EVERY_S)


def test_steady_is_for_the_whole_time(clock: Clock) -> None:
    began = clock.now
    probe = Probe(EXPECT, 1, mode=ProbeMode.STEADY, hold=2)
    held, told = watch(probe, Pair(clock, {0: BAD, 0.4: GOOD}))
    assert held
    assert told.endswith("after 400 ms")
    assert clock.now - began == pytest.approx(2.4, abs=2 * LOOK_EVERY_S)


def test_steady_begins_again_when_it_broke(clock: Clock) -> None:
    began = clock.now
    states = {0: GOOD, 0.5: BAD, 0.8: GOOD}
    probe = Probe(EXPECT, 1, mode=ProbeMode.STEADY, hold=2)
    held, told = watch(probe, Pair(clock, states))
    assert held
    assert told.endswith("after 800 ms")
    assert clock.now - began == pytest.approx(2.8, abs=2 * LOOK_EVERY_S)


def test_steady_that_breaks_after_its_time_does_not_hold(clock: Clock) -> None:
    probe = Probe(EXPECT, 1, mode=ProbeMode.STEADY, hold=2)
    held, told = watch(probe, Pair(clock, {0: GOOD, 1.5: BAD}))
    assert not held
    assert "not within 1 s" in told
    assert "it is STALLED" in told


def test_continuous_holds_at_every_look(clock: Clock) -> None:
    began = clock.now
    pair = Pair(clock, {0: GOOD, 3.5: BAD})
    held, told = watch(Probe(EXPECT, 3, mode=ProbeMode.CONTINUOUS), pair)
    assert held
    assert told == "old.state is GATED: all the time for 3 s"
    assert pair.looks >= 3 / LOOK_EVERY_S
    assert clock.now - began == pytest.approx(3, abs=2 * LOOK_EVERY_S)


@pytest.mark.parametrize("states", [{0: BAD, 0.1: GOOD}, {0: GOOD, 1: BAD, 1.1: GOOD}])
def test_continuous_ends_at_the_first_look_that_differs(
    states: dict[float, str], clock: Clock
) -> None:
    began = clock.now
    held, told = watch(Probe(EXPECT, 3, mode=ProbeMode.CONTINUOUS), Pair(clock, states))
    assert not held
    assert told == "old.state is GATED: not all the time: old.state is GATED: it is STALLED"
    assert clock.now - began < 1.5


def test_all_conditions_have_to_hold_at_once(clock: Clock) -> None:
    both = [*EXPECT, "new.answers is yes"]
    held, told = watch(Probe(both, 1), Pair(clock, {0: GOOD}))
    assert not held
    assert told.endswith("not within 1 s: new.answers is yes: it is no")
