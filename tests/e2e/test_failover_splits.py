"""Both nodes live and cannot see each other, two operators act at once, nodes restart or are empty:
real processes, a producer that sends and a consumer that checks all the time.

Every test ends as those of `test_failover` do.
"""

from __future__ import annotations

import shutil
import threading
import time
from functools import partial
from pathlib import Path

import pytest
import zmq

from interlock.cli.embedded import EmbeddedPair
from interlock.client.advice import leads
from interlock.client.control import ControlClient
from interlock.client.errors import OperationRefused
from interlock.shared.operations import Operation, Preflight, Receipt, Result
from support.operators import epochs, execute, operate, preflight
from support.pair import Raw, ask, pair_of, status, wait_for, wait_for_state
from support.proxy import pair_with_a_link
from support.traffic import Traffic, assert_one_history

ROUNDS = 4
OFFSETS_S = (0.0, 0.001, 0.004, -0.002)


def at_once(pair: EmbeddedPair, first: Preflight, second: Preflight, offset_s: float) -> list[bool]:
    """Two operators execute at the same moment, the second one `offset_s` later. Whether each was
    DONE; the other one was refused, and is told so."""
    ends: dict[str, Receipt | OperationRefused | None] = {}
    start = threading.Barrier(2)

    def act(name: str, found: Preflight, wait_s: float) -> None:
        start.wait()
        time.sleep(max(0.0, wait_s))
        ends[name] = execute(pair, found, name)

    threads = [
        threading.Thread(target=act, args=("ann", first, -offset_s)),
        threading.Thread(target=act, args=("bob", second, offset_s)),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(40)
    both = [ends["ann"], ends["bob"]]
    for end in both:
        assert isinstance(end, OperationRefused) or (end and end.result is not Result.UNKNOWN), end
    return [isinstance(end, Receipt) and end.result is Result.DONE for end in both]


def leaders(pair: EmbeddedPair) -> list[str]:
    return [name for name, one in ControlClient(pair.config).statuses().items() if leads(one)]


def test_the_link_is_cut_both_live_and_the_old_primary_gives_way(tmp_path: Path) -> None:
    """The nodes cannot reach each other's link; the network of control is whole. Nothing has to be
    attested: A answers, surrenders, and gives B what B lacks. When the link is back, A follows as
    it is, although what it had not released was sequenced by it alone: nothing is cut."""
    with pair_with_a_link(tmp_path) as (pair, link), Traffic(pair.config) as traffic:
        traffic.wait_for_more()
        link.cut()
        wait_for_state(pair, "a", "STALLED")
        wait_for_state(pair, "b", "ORPHANED")
        alone = status(pair, "b").watermarks.accepted_seq
        wait_for(
            "A to sequence what B does not hold",
            lambda: status(pair, "a").watermarks.written_seq > alone + 50,
        )
        found = preflight(pair, Operation.PROMOTE, "b", solo=True)
        assert found.attestation == ""
        receipt = execute(pair, found)
        assert isinstance(receipt, Receipt)
        assert receipt.result is Result.DONE, receipt.text
        assert leaders(pair) == ["b"]
        assert status(pair, "a").role == "secondary"
        traffic.wait_for_more()
        assert epochs(pair, "b")[-1].first_seq > alone + 50, "B fetched what A alone had"
        link.heal()
        pair.wait_until_gated()
        assert leaders(pair) == ["b"]
        traffic.wait_for_more()
        assert ControlClient(pair.config).quarantine("a") == []
        traffic.finish()
        assert_one_history(pair)


def test_a_question_that_was_given_up_is_not_delivered_later(tmp_path: Path) -> None:
    """A is dead while B is promoted: B asks it to give way, and goes on without an answer. Whoever
    listens at A's control socket afterwards, A itself that is started again, must not get that old
    question: it could depose a primary long after the promotion that it belonged to has failed."""
    with pair_of(tmp_path) as pair:
        pair.kill("a")
        wait_for_state(pair, "b", "ORPHANED")
        operate(pair, Operation.PROMOTE, "b", solo=True)
        with Raw(pair.config.node("a").control, zmq.ROUTER, bind=True) as control:
            end = time.monotonic() + 1.5
            while (left := end - time.monotonic()) > 0:
                frames = control.frames(left)
                assert frames is None or b"peer-yield" not in frames[-1]


def test_two_operators_promote_at_the_same_time_and_one_epoch_is_opened(tmp_path: Path) -> None:
    """A is dead, and two people read the same preflight. One of them is the promotion, the other is
    told that it has happened or is under way."""
    with pair_of(tmp_path) as pair, Traffic(pair.config) as traffic:
        traffic.wait_for_more()
        pair.kill("a")
        wait_for_state(pair, "b", "ORPHANED")
        before = len(epochs(pair, "b"))
        one, two = (preflight(pair, Operation.PROMOTE, "b", solo=True) for _ in range(2))
        assert one.token != two.token
        assert sorted(at_once(pair, one, two, 0.0)) == [False, True]
        traffic.wait_for_more()
        assert len(epochs(pair, "b")) == before + 1
        assert status(pair, "b").state == "SOLO"
        pair.start("a")
        wait_for_state(pair, "a", "FENCED")
        operate(pair, Operation.REINSTATE, "a")
        pair.wait_until_gated()
        traffic.finish()
        assert_one_history(pair)


def test_solo_here_and_promote_there_at_the_same_time_never_make_two_leaders(
    tmp_path: Path,
) -> None:
    """The link is cut, control is not. One operator tells A to go on alone, another one promotes B,
    in the same moment. Each node asks the other to give way. One of them leads, or none and both
    were told so; then somebody asks once more."""
    with pair_with_a_link(tmp_path) as (pair, link), Traffic(pair.config, 500) as traffic:
        leader, standby = "a", "b"
        for number in range(ROUNDS):
            traffic.wait_for_more()
            link.cut()
            wait_for_state(pair, leader, "STALLED")
            wait_for_state(pair, standby, "ORPHANED")
            before = len(epochs(pair, leader))
            one = preflight(pair, Operation.SOLO, leader)
            two = preflight(pair, Operation.PROMOTE, standby, solo=True)
            done = at_once(pair, one, two, OFFSETS_S[number % len(OFFSETS_S)])
            assert done.count(True) <= 1, "both were done"
            solo = [name for name in leaders(pair) if status(pair, name).state == "SOLO"]
            assert len(solo) == done.count(True)
            if not solo:
                operate(pair, Operation.PROMOTE, standby, solo=True)
                solo = [standby]
            traffic.wait_for_more()
            link.heal()
            wait_for("each node to have found its place", lambda: settled(pair))
            for name in "ab":
                if status(pair, name).state == "FENCED":
                    operate(pair, Operation.REINSTATE, name)
            pair.wait_until_gated()
            assert leaders(pair) == solo
            leader, standby = solo[0], pair.config.peer_of(solo[0])
            assert len(epochs(pair, leader)) == before + 2, "one of the operator, one of the gate"
        traffic.finish()
        assert_one_history(pair)


def settled(pair: EmbeddedPair) -> bool:
    states = {status(pair, name).state for name in "ab"}
    return "FENCED" in states or states == {"GATED", "IN_SYNC"}


def restart_in_order(pair: EmbeddedPair, order: str) -> None:
    for name in order:
        pair.start(name)
        wait_for(f"node {name} to answer", partial(ask, pair, name))


@pytest.mark.parametrize("order", ["ab", "ba"])
def test_both_restart_in_either_order_after_a_promotion(order: str, tmp_path: Path) -> None:
    """A was killed, B was promoted and released alone, then B is killed too. Whoever comes back
    first, A may not lead: it lacks what B released. Reinstated, it follows, and the pair serves.
    Killed and started in the same order once more, the pair comes up by itself."""
    with pair_of(tmp_path) as pair, Traffic(pair.config) as traffic:
        traffic.wait_for_more()
        pair.kill("a")
        wait_for_state(pair, "b", "ORPHANED")
        operate(pair, Operation.PROMOTE, "b", solo=True)
        traffic.wait_for_more()
        pair.kill("b")
        restart_in_order(pair, order)
        wait_for_state(pair, "a", "FENCED")
        assert leaders(pair) == []
        operate(pair, Operation.REINSTATE, "a")
        pair.wait_until_gated()
        assert leaders(pair) == ["b"]
        traffic.wait_for_more()
        for name in order:
            pair.kill(name)
        restart_in_order(pair, order)
        pair.wait_until_gated()
        assert leaders(pair) == ["b"]
        traffic.wait_for_more()
        traffic.finish()
        assert_one_history(pair)


def test_an_old_primary_whose_disk_is_empty_is_reseeded(tmp_path: Path) -> None:
    """A is killed and its disk replaced. It comes back knowing nothing, started as the primary that
    it was: it may not lead, and streams everything from B. Reseeded once more, although it is well,
    it sets its whole journal aside and streams everything again."""
    with pair_of(tmp_path) as pair, Traffic(pair.config, 5_000) as traffic:
        traffic.wait_for_more(5_000)
        pair.kill("a")
        shutil.rmtree(pair.config.data_dir("a"))
        wait_for_state(pair, "b", "ORPHANED")
        operate(pair, Operation.PROMOTE, "b", solo=True)
        traffic.wait_for_more()
        pair.start("a")
        wait_for_state(pair, "a", "FENCED")
        operate(pair, Operation.REINSTATE, "a", reseed=True)
        pair.wait_until_gated()
        assert leaders(pair) == ["b"]
        traffic.wait_for_more()
        assert [epoch.leader for epoch in epochs(pair, "a")] == ["a", "b", "b"]
        before = len(ControlClient(pair.config).quarantine("a"))
        operate(pair, Operation.REINSTATE, "a", reseed=True)
        pair.wait_until_gated()
        aside = ControlClient(pair.config).quarantine("a")
        assert len(aside) == before + 1
        assert aside[-1].size_bytes > pair.config.limits.segment_bytes / 2
        traffic.finish()
        assert_one_history(pair)
