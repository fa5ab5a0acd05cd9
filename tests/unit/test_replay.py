"""When a node serves replay: a share of its time while it has other work, all of it otherwise."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest
import zmq

from interlock.shared import replay as replay_module
from interlock.shared.journal import Journal
from interlock.shared.keyring import ANYBODY
from interlock.shared.limits import REPLAY_PAUSE
from interlock.shared.messages import PROTOCOL_VERSION, ReplayRequest, encode
from interlock.shared.panel import Panel
from interlock.shared.replay import ReplayServer
from interlock.shared.telemetry import Counters

MS = 1_000_000
TOOK = 2 * MS


class Asked:
    """A replay server whose door always has a request of somebody, and whose answers take TOOK."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1_000 * MS
        self.served = 0
        door = SimpleNamespace(socket=self, arrivals=self._arrivals)
        journal = cast(Journal, SimpleNamespace(first_seq=1))
        self.server = ReplayServer(cast(Any, door), "", "a", journal)
        self.panel = cast(Panel, SimpleNamespace(counters=Counters()))
        monkeypatch.setattr(replay_module, "now_ns", lambda: self.now + TOOK)

    def _arrivals(self, limit: int, at_ns: int) -> Iterator[tuple[bytes, Any, list[bytes]]]:
        request = ReplayRequest(PROTOCOL_VERSION, "", 7, 1_000_000, 1)
        yield b"sender", ANYBODY, [encode(request)]

    def send_multipart(self, frames: list[bytes], flags: int, *, copy: bool) -> None:
        assert flags == zmq.NOBLOCK
        assert not copy
        self.served += 1

    def turn(self, *others: object, asked: bool = True) -> bool:
        """A turn in which the door has something, if `asked`, and `others` too. Whether replay was
        served."""
        before = self.served
        ready = {*others, *([self] if asked else [])}
        self.server.serve(self.panel, ready, 0, self.now)
        return self.served > before


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    return Asked(monkeypatch)


def test_beside_other_work_replay_pauses_a_multiple_of_what_it_took(asked: Asked) -> None:
    """A reader that asks without end would have each turn wait for its chunks."""
    assert asked.turn("intake")
    served = 0
    for _ in range(REPLAY_PAUSE * 10):
        asked.now += TOOK // 10
        served += asked.turn("intake")
    assert served == 1
    assert asked.now == 1_000 * MS + REPLAY_PAUSE * TOOK


def test_who_waits_is_served_when_the_pause_is_over_though_his_request_came_before(
    asked: Asked,
) -> None:
    """The request is in the socket already: nothing will say so again."""
    assert asked.turn("intake")
    assert not asked.turn("intake")
    asked.now += REPLAY_PAUSE * TOOK
    assert asked.turn("intake", asked=False)
    assert not asked.turn("intake", asked=False)


def test_an_idle_node_serves_at_once(asked: Asked) -> None:
    for _ in range(5):
        assert asked.turn()
