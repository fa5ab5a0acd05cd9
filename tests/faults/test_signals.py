"""Nodes that die or freeze at any moment, and consumers that sleep, under load."""

from __future__ import annotations

import random
import signal
import time
from pathlib import Path

import pytest

from faults.stage import FINISH_S, Stage, stage
from interlock.shared.config import AckLevel
from support.pair import wait_for

pytestmark = [pytest.mark.faults, pytest.mark.timeout(300)]


def storm(pair: Stage, seed: int, rounds: int) -> None:
    """Kills or freezes a node `rounds` times, each at a moment of the seed's choice."""
    draw = random.Random(seed)
    for _ in range(rounds):
        victim = draw.choice("ab")
        time.sleep(draw.random() * 0.3)  # the moment is the fault; nothing is waited for
        if draw.random() < 0.5:
            pair.kill(victim)
            pair.start(victim)
        else:
            pair.kill(victim, signal.SIGSTOP)
            time.sleep(draw.random())
            pair.kill(victim, signal.SIGCONT)
        if draw.random() < 0.5:
            pair.wait_until_gated()
            pair.wait_for_more(50)


def test_a_short_storm_of_signals(tmp_path: Path) -> None:
    with stage(tmp_path) as pair:
        storm(pair, 1, 4)
        assert pair.finish() > 200


@pytest.mark.faults_long
@pytest.mark.parametrize("level", list(AckLevel))
@pytest.mark.parametrize("seed", range(2, 5))
def test_a_storm_of_signals(seed: int, level: AckLevel, tmp_path: Path) -> None:
    with stage(tmp_path, level) as pair:
        storm(pair, seed, 20)
        assert pair.finish() > 1_000


def test_a_consumer_that_sleeps_gets_everything_once(tmp_path: Path) -> None:
    """While it sleeps its feed overflows; nobody else is held up. It reads on where it was: what
    the feed has left out is replayed."""
    with stage(tmp_path, rate=4_000) as pair:
        replayed = replays(pair)
        pair.clients["consumer"].send_signal(signal.SIGSTOP)
        pair.wait_for_more(15_000)
        pair.clients["consumer"].send_signal(signal.SIGCONT)
        wait_for("what it missed to be replayed", lambda: replays(pair) > replayed, FINISH_S)
        assert pair.finish() > 15_000


def replays(pair: Stage) -> int:
    return sum(node["counters"].get("replay-chunks", 0) for node in pair.nodes().values())
