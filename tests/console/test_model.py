"""The model: two witnesses folded into one picture, by age, and cheap enough for a flood."""

from __future__ import annotations

import time

import msgspec
import pytest

from interlock.console.freshness import Freshness
from interlock.console.inputs import HeadSeen, Heard, Silent
from interlock.console.model import Model
from interlock.shared.telemetry import LinkStatus, PendingStatus, ProducerStatus, StageStatus

from .kit import MIB, SETTING, T0, gated_pair, heard, status, story, told


def test_a_pair_that_is_well() -> None:
    view = told(*gated_pair(T0, 1_000), now=T0).view(T0)
    assert (view.gate.word, view.leader) == ("OPEN", "a")
    assert [node.freshness for node in view.nodes] == [Freshness.FRESH] * 2
    assert view.disagreements == []
    assert view.alarms == []
    assert view.advice == ["nothing to do; for a planned exchange of roles: interlock switchover"]


@pytest.mark.parametrize(
    ("state", "word"), [("STALLED", "HELD"), ("SOLO", "SOLO"), ("DRAINING", "CLOSING")]
)
def test_the_gate_is_what_the_leader_is_at(state: str, word: str) -> None:
    view = told(heard(T0, status("a", "primary", state)), now=T0).view(T0)
    assert view.gate.word == word


def test_of_two_leaders_the_higher_epoch_counts() -> None:
    old = heard(T0, status("a", "primary", "SOLO", epoch=3))
    new = heard(T0, status("b", "primary", "STALLED", epoch=4))
    assert told(old, new, now=T0).view(T0).leader == "b"
    assert told(new, old, now=T0).view(T0).leader == "b"


def test_a_lost_leader_leads_no_more() -> None:
    view = told(*gated_pair(T0, 1_000), now=T0 + 30).view(T0 + 30)
    assert view.leader == ""
    assert view.marks is None
    assert view.rates.accepted is None


def test_a_late_answer_does_not_undo_newer_telemetry() -> None:
    newer = heard(T0 + 0.2, status("a", "primary", "STALLED", T0 + 0.2))
    older = Heard(T0 + 0.3, "a", status("a", "primary", "GATED", T0 + 0.1), 150.0)
    view = told(newer, older, now=T0 + 0.3).view(T0 + 0.3)
    assert view.gate.word == "HELD"
    assert view.node("a").control_ms == 150.0


def test_a_restarted_node_counts_whatever_its_clock_says() -> None:
    before = heard(T0, status("a", "primary", "GATED", T0))
    after = heard(T0 + 1, status("a", "primary", "RESUMING", T0 - 9, incarnation=2))
    view = told(before, after, now=T0 + 1).view(T0 + 1)
    assert view.node("a").status is not None
    assert view.node("a").status.state == "RESUMING"


def test_rates_and_the_time_until_busy() -> None:
    model = Model(SETTING)
    for second in range(5):
        at = T0 + second
        pending = PendingStatus(second * 1_000, second * 1_000, 5.0, 10_000, 64 * MIB)
        model.fold(
            heard(at, status("a", "primary", "STALLED", at, 2_000 * second, pending=pending))
        )
        model.advance(at)
    view = model.view(T0 + 4)
    assert view.rates.accepted == pytest.approx(2_000)
    assert view.pending is not None
    assert view.pending.full_in_s == pytest.approx(6.0)
    assert view.pending.share == pytest.approx(0.4)


def test_no_rate_is_computed_across_a_hole_or_a_restart() -> None:
    model = Model(SETTING)
    for at, seq in ((T0, 1_000), (T0 + 1, 2_000), (T0 + 20, 90_000), (T0 + 21, 5)):
        for one in gated_pair(at, seq):
            model.fold(one)
        model.advance(at)
    (trend, *_) = model.view(T0 + 21).trends
    assert [value for value in trend.values if value is not None] == [1_000.0]
    assert model.view(T0 + 21).rates.accepted is None


def test_what_a_node_does_not_tell_is_not_known() -> None:
    view = told(*gated_pair(T0, 1_000), now=T0).view(T0)
    assert view.stages == []
    (producer,) = view.producers
    assert (producer.duplicates, producer.refused, producer.last_seen_s) == (None, None, None)


def test_what_a_node_tells_besides_is_shown() -> None:
    full = status(
        "a",
        "primary",
        "GATED",
        stages=[StageStatus("ack", 80.0, 120.0, 900.0)],
        producers=[ProducerStatus("x", True, 10, 7, 2, 1, 500.0)],
    )
    view = told(heard(T0, full), now=T0 + 0.5).view(T0 + 0.5)
    assert view.stages[0].p99_us == 120.0
    (producer,) = view.producers
    assert (producer.in_flight, producer.duplicates, producer.refused) == (3, 2, 1)
    assert producer.last_seen_s == pytest.approx(1.0)
    assert view.pending is not None
    assert view.pending.producers == [("x", 3)]


def test_clocks_are_compared() -> None:
    one = heard(T0, status("a", "primary", "GATED", T0 + 5))
    two = heard(T0, status("b", "secondary", "IN_SYNC", T0))
    view = told(one, two, now=T0).view(T0)
    assert view.node("a").skew_ms == pytest.approx(5_000, abs=1)
    assert view.node("b").skew_ms == pytest.approx(0, abs=1)


def test_strangers_are_ignored() -> None:
    strangers = [
        heard(T0, status("c", "primary", "GATED")),
        Silent(T0, "c", ""),
        HeadSeen(T0, "c", 1, 1),
    ]
    assert [node.name for node in told(*strangers, now=T0).view(T0).nodes] == ["a", "b"]


def test_the_whole_picture_is_data() -> None:
    view = told(*story()[:40], now=T0 + 5).view(T0 + 5)
    assert msgspec.json.decode(msgspec.json.encode(view))["gate"]["word"] == "OPEN"


def test_a_second_of_50000_changes_is_folded_in_a_fraction_of_it() -> None:
    """Measured on a slow machine: about 0.1 s. The bound leaves room for a loaded one."""
    model = Model(SETTING)
    frames = [
        heard(T0 + number / 50_000, status("a", "primary", "GATED", T0 + number / 50_000, number))
        for number in range(5_000)
    ]
    start = time.process_time()
    for _ in range(10):
        for frame in frames:
            model.fold(frame)
    assert time.process_time() - start < 0.6
    assert model.folded == 50_000


def test_a_link_that_is_down_has_no_lag_in_time() -> None:
    down = status("a", "primary", "STALLED", link=LinkStatus(peer="b", lag_messages=7))
    view = told(heard(T0, down), now=T0).view(T0)
    assert (view.lag_messages, view.lag_ms) == (7, None)
