"""A real network that fails under load: cut, cut one way, reset, lossy. Nobody is ever told.

The pair is in namespaces of its own; see `network`.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from faults.network import (
    DROP,
    HOSTS,
    LOSE_30_PERCENT,
    RESET,
    Network,
    network,
)
from faults.stage import FINISH_S, Stage, stage
from support.pair import wait_for

pytestmark = [pytest.mark.faults, pytest.mark.timeout(300)]


@pytest.fixture
def net() -> Iterator[Network]:
    with network() as made:
        yield made


def assert_nothing_is_released(pair: Stage) -> None:
    """While submissions wait, nothing more is confirmed, however often one looks."""
    wait_for("submissions to wait", lambda: pair.nodes()["a"]["pending"]["messages"], FINISH_S)
    before = pair.count_confirmed()
    for _ in range(3):
        assert pair.states()["a"] == "STALLED"
        assert pair.count_confirmed() == before


def test_cut_cut_one_way_and_reset(net: Network, tmp_path: Path) -> None:
    """Whichever way the link is cut, the release stalls; with the network it comes back. A reset of
    every connection, those of the clients too, is not even seen from outside."""
    with stage(tmp_path, around=net.around, hosts=HOSTS) as pair:
        net.both("a", "b")
        pair.wait_for_states("STALLED", "ORPHANED")
        assert_nothing_is_released(pair)
        net.heal()
        pair.wait_for_more()
        net.rule("b", "a", DROP)
        pair.wait_for_states("STALLED", "ORPHANED")
        net.heal()
        pair.wait_for_more()
        for one, other in (("a", "b"), ("clients", "a"), ("clients", "b")):
            net.both(one, other, RESET)
        net.heal()
        pair.wait_for_more()
        assert pair.finish() > 1_000


@pytest.mark.faults_long
def test_30_percent_of_the_packets_are_lost(net: Network, tmp_path: Path) -> None:
    """On every path, in both directions. It is slow; it goes on, and nothing is lost for good."""
    with stage(tmp_path, around=net.around, hosts=HOSTS, link_timeout_ms=5_000) as pair:
        for one, other in (("a", "b"), ("clients", "a"), ("clients", "b")):
            net.both(one, other, LOSE_30_PERCENT)
        pair.wait_for_more()
        net.heal()
        assert pair.finish() > 400


@pytest.mark.faults_long
def test_cut_off_with_the_old_primary_alone(net: Network, tmp_path: Path) -> None:
    """A is cut off from everybody. The operator follows the runbook: A is stopped, B is promoted
    and serves alone. A comes back, is fenced, and is reinstated; then the same with B."""
    with stage(tmp_path, around=net.around, hosts=HOSTS) as pair:
        for old, new in (("a", "b"), ("b", "a")):
            net.isolate(old)
            wait_for(f"{old} to be gone", lambda new=new: pair.states().keys() == {new}, FINISH_S)
            pair.kill(old)
            pair.operate("promote", new, "--solo")
            pair.wait_for_more()
            net.heal()
            pair.start(old)
            pair.wait_for_states("SOLO", "FENCED")
            pair.operate("reinstate", old)
            pair.wait_until_gated()
            pair.wait_for_more()
        assert pair.finish() > 1_000


@pytest.mark.faults_long
@pytest.mark.parametrize("seed", range(4))
def test_a_storm_of_network_faults(seed: int, net: Network, tmp_path: Path) -> None:
    """Any fault on any path in any direction, several at a time, for up to a second each."""
    draw = random.Random(seed)
    paths = [(one, other) for one in HOSTS for other in HOSTS if one != other]
    with stage(tmp_path, around=net.around, hosts=HOSTS) as pair:
        for _ in range(20):
            for _ in range(draw.randint(1, 4)):
                net.rule(*draw.choice(paths), draw.choice([DROP, RESET, LOSE_30_PERCENT]))
            time.sleep(draw.random())  # how long the fault lasts; nothing is waited for
            net.heal()
            if draw.random() < 0.3:
                pair.wait_for_more(50)
        assert pair.finish() > 1_000
