"""How a thread waits: whether it parks at once or looks for a while, on the test's own clock."""

from __future__ import annotations

import pytest

from interlock.shared import idling
from interlock.shared.errors import UserError
from interlock.shared.idling import MISSES, SPIN_NS, Idle, Idler, idle_of

LOOK_NS = 10_000  # what one look takes here


class Descriptors:
    """What an idler polls: something is ready from `ready_ns` on. `parked`: the waits that were
    more than a look, in milliseconds."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_ns = 0
        self.ready_ns = 0
        self.looks = self.yields = 0
        self.parked: list[float] = []
        monkeypatch.setattr(idling.time, "monotonic_ns", lambda: self.now_ns)
        monkeypatch.setattr(idling.os, "sched_yield", self._yield)

    def _yield(self) -> None:
        self.yields += 1

    def poll(self, timeout_ms: float) -> list[str]:
        if timeout_ms > 0:
            self.parked.append(timeout_ms)
            self.now_ns += min(int(timeout_ms * 1e6), max(0, self.ready_ns - self.now_ns))
        else:
            self.looks += 1
            self.now_ns += LOOK_NS
        return ["it"] if self.now_ns >= self.ready_ns else []

    def after(self, wait_ns: int) -> None:
        """The next thing comes so long from now."""
        self.ready_ns = self.now_ns + wait_ns


@pytest.fixture
def descriptors(monkeypatch: pytest.MonkeyPatch) -> Descriptors:
    return Descriptors(monkeypatch)


def test_block_parks_at_once(descriptors: Descriptors) -> None:
    descriptors.after(5_000)
    assert Idler(Idle.BLOCK).wait(descriptors.poll, 25) == ["it"]
    assert (descriptors.looks, descriptors.parked) == (0, [25])


def test_spin_never_parks_and_ends_when_the_time_is_up(descriptors: Descriptors) -> None:
    """A node has timers of its own: a wait that never ended would stop its heartbeats."""
    idler = Idler(Idle.SPIN)
    descriptors.after(3_000_000)
    assert idler.wait(descriptors.poll, 5) == ["it"]
    descriptors.after(10_000_000)
    assert idler.wait(descriptors.poll, 5) == []
    assert descriptors.parked == []
    assert descriptors.yields > 100


def test_adaptive_parks_at_once_until_looking_would_have_paid(descriptors: Descriptors) -> None:
    idler = Idler(Idle.ADAPTIVE)
    descriptors.after(50_000_000)
    idler.wait(descriptors.poll, 100)
    assert (descriptors.looks, descriptors.parked) == (0, [100])
    descriptors.after(SPIN_NS)  # this one would have been seen by looking
    idler.wait(descriptors.poll, 100)
    assert descriptors.looks == 0
    descriptors.after(SPIN_NS // 2)
    assert idler.wait(descriptors.poll, 100) == ["it"]
    assert descriptors.looks > 0
    assert descriptors.parked == [100, 100]


def test_adaptive_gives_up_looking_when_it_does_not_pay(descriptors: Descriptors) -> None:
    """A quiet pair must not burn a core."""
    idler = Idler(Idle.ADAPTIVE)
    descriptors.after(SPIN_NS)
    idler.wait(descriptors.poll, 100)
    for _ in range(MISSES):
        descriptors.after(50_000_000)
        assert idler.wait(descriptors.poll, 100) == ["it"]
    looked = descriptors.looks
    assert looked >= MISSES
    descriptors.after(50_000_000)
    idler.wait(descriptors.poll, 100)
    assert descriptors.looks == looked


def test_an_unknown_strategy_is_told_with_those_that_there_are() -> None:
    with pytest.raises(UserError, match=r"'busy'.*block, adaptive, spin"):
        idle_of("busy")
    assert idle_of("spin") is Idle.SPIN


def test_a_wait_of_no_time_is_one_look(descriptors: Descriptors) -> None:
    descriptors.after(1_000_000)
    for idle in Idle:
        descriptors.looks = 0
        assert Idler(idle).wait(descriptors.poll, 0) == []
        assert descriptors.looks == 1
