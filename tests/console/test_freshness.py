"""What an age means, and that what is old or unknown is never shown as if it were neither."""

from __future__ import annotations

import pytest

from interlock.console.draw.lines import text_of
from interlock.console.draw.nodes import node_lines
from interlock.console.freshness import Freshness, Patience, aged
from interlock.console.inputs import Silent
from interlock.console.words import MISSING, age_text, bytes_text, count_text, ms_text, short_text

from .kit import SETTING, T0, gated_pair, told

PATIENCE = Patience(1.0, 3.0)


@pytest.mark.parametrize(
    ("age_s", "means"),
    [
        (None, Freshness.UNKNOWN),
        (0.0, Freshness.FRESH),
        (0.99, Freshness.FRESH),
        (1.0, Freshness.LATE),
        (2.99, Freshness.LATE),
        (3.0, Freshness.STALE),
    ],
)
def test_an_age_means_one_thing(age_s: float | None, means: Freshness) -> None:
    assert PATIENCE.judge(age_s) is means


def test_a_slow_telemetry_is_not_stale_between_two_frames() -> None:
    assert Patience.of_interval(5.0).judge(10.0) is Freshness.FRESH


@pytest.mark.parametrize(
    ("freshness", "shown"),
    [
        (Freshness.FRESH, "12"),
        (Freshness.LATE, "12 (2s)"),
        (Freshness.STALE, "~12 2s"),
        (Freshness.UNKNOWN, MISSING),
    ],
)
def test_the_age_is_seen(freshness: Freshness, shown: str) -> None:
    assert aged("12", freshness, 2.0) == shown


def test_a_lost_node_does_not_look_live() -> None:
    view = told(*gated_pair(T0, 1_000), now=T0 + 12).view(T0 + 12)
    lines = [text_of(line) for line in node_lines(view.node("a"), 60, 12)]
    assert lines[0] == "state     ~GATED  not heard for 12s"
    assert all("~" in line for line in lines[1:5])


def test_a_node_that_never_told_anything_is_unknown() -> None:
    view = told(Silent(T0, "a", "no answer within 1 s"), now=T0).view(T0)
    assert text_of(node_lines(view.node("a"), 60, 9)[0]) == (
        "state     ---  never heard; no answer within 1 s"
    )
    assert view.gate.word == MISSING


def test_one_that_neither_tells_nor_answers_is_stale_at_once() -> None:
    silent = Silent(T0 + 1.2, "a", "no answer within 1 s")
    view = told(*gated_pair(T0, 1_000), silent, now=T0 + 1.5).view(T0 + 1.5)
    assert view.node("a").freshness is Freshness.STALE
    assert view.node("b").freshness is Freshness.LATE
    assert SETTING.patience.judge(1.5) is Freshness.LATE


@pytest.mark.parametrize(
    ("made", "shown"),
    [
        (age_text(0.42), "0.4s"),
        (age_text(61), "1m01s"),
        (age_text(3_700), "1h01m"),
        (age_text(90_000), "1d01h"),
        (age_text(None), MISSING),
        (short_text(0), "0"),
        (short_text(950), "950"),
        (short_text(12_345), "12.3k"),
        (short_text(4_560_000), "4.56M"),
        (short_text(None), MISSING),
        (bytes_text(512), "512 B"),
        (bytes_text(4 * 1024 * 1024), "4.0 MiB"),
        (ms_text(0.081), "0.08 ms"),
        (ms_text(3_210), "3.2 s"),
        (count_text(1_234_567), "1,234,567"),
    ],
)
def test_numbers_are_worded(made: str, shown: str) -> None:
    assert made == shown
