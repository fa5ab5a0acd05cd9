"""What the benchmark says of contenders and targets, from samples that are given."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from interlock.bench import growth, peer_nats, peer_postgres, peer_redis, switchover
from interlock.bench.contest import Contender, Sample, Skipped, hold
from interlock.bench.growth import Point, Series
from interlock.bench.latency import Latency
from interlock.bench.machine import this_machine
from interlock.bench.pair import with_tables
from interlock.bench.past import Late, Restart
from interlock.bench.plots import draw
from interlock.bench.report import Report, load, save
from interlock.bench.scenario import Scenario
from interlock.bench.svg import Axis, lines, number
from interlock.bench.tables import tables
from interlock.bench.targets import ALONE, BATCHES, FLOOR_C, PAIR, judge
from interlock.shared.errors import InterlockError, UserError


class Fake:
    """Measures what it was given, in turn."""

    conditions = "given"

    def __init__(self, name: str, *p50s: float, log: list[str] | None = None) -> None:
        self.name = name
        self._p50s = list(p50s)
        self._log = log if log is not None else []

    def measure(self, seconds: float) -> Sample:
        self._log.append(self.name)
        if not self._p50s:
            raise Skipped("it is not installed")
        p50 = self._p50s.pop(0)
        curve = [(0.0, p50 / 2), (50.0, p50), (75.0, 2 * p50)]
        return Sample(Latency(10, p50, p50, 2 * p50, 3 * p50, 4 * p50, curve), 1e6 / p50)


def contest(title: str, *contenders: Contender) -> Report:
    report = Report(this_machine(), "2026-01-01T00:00:00+00:00")
    report.contests[title] = hold(title, contenders, 3, 1.0)
    return report


def test_contenders_take_turns() -> None:
    log: list[str] = []
    hold("x", [Fake("a", 1, 2, log=log), Fake("b", 1, 2, log=log)], 2, 1.0)
    assert log == ["a", "b", "a", "b"]


def test_a_ratio_is_of_two_runs_of_one_round() -> None:
    """The machine got ten times slower in the third round: both felt it, and the ratio does not."""
    found = hold("x", [Fake("a", 20, 30, 300), Fake("b", 10, 20, 150)], 3, 1.0)
    assert found.entries[1].p50_ratio == 2.0
    assert found.entries[1].rate_ratio == 0.5
    assert found.entries[1].p50 == 20
    assert found.entries[0].p50_ratio == 1.0


def test_a_contender_that_is_missing_is_skipped_with_the_reason() -> None:
    log: list[str] = []
    found = hold("x", [Fake("a", 1, 1), Fake("b", log=log)], 2, 1.0)
    assert (found.entries[1].samples, found.entries[1].skipped) == ([], "it is not installed")
    assert log == ["b"]
    assert found.entry("b") is None


def met(report: Report, what: str) -> bool | None:
    (found,) = (target.met for target in judge(report) if target.what.startswith(what))
    return found


@pytest.mark.parametrize(("p50", "expected"), [(149, True), (151, False)])
def test_the_floor_bounds_the_round_trip(p50: float, expected: bool) -> None:
    report = contest(ALONE, Fake(PAIR, p50, p50, p50), Fake(FLOOR_C, 100, 100, 100))
    assert met(report, "one in flight: p50 over that of the C floor") is expected
    assert met(report, "one in flight: p50 over that of Redis") is None


def test_what_was_not_measured_is_not_met() -> None:
    report = Report(this_machine(), "2026-01-01T00:00:00+00:00")
    assert {target.met for target in judge(report)} == {None}
    assert len(judge(report)) == 22


def test_memory_and_the_past_are_judged() -> None:
    report = contest(BATCHES, Fake(PAIR, 1, 1, 1))
    report.restart = Restart(10_000_000, 1.0, 2.1)
    report.late_consumer = Late(500_000, 60, 1_000, 1_500)
    report.rejoining = Late(1, 149, 1_000, 2_500)
    report.memory = {1_000: {"a": 40.0, "b": 40.0}, 10_000: {"a": 41.0, "b": 45.0}}
    assert met(report, "restart") is False
    assert met(report, "memory of a node") is False  # b grew by an eighth
    assert met(report, "a late consumer") is True
    assert met(report, "a re-joining standby") is False
    assert met(report, "the same: live p99") is False


def test_sleeping_consumers_are_judged_by_what_the_others_see() -> None:
    report = contest(BATCHES, Fake(PAIR, 1, 1, 1))
    points = [Point(n, 1, p50, p50, 1, 1, 1, 1) for n, p50 in ((0, 10.0), (16, 12.0))]
    report.series.append(Series("sleeping consumers", "calm", points))
    assert met(report, "p50 of the others with 16 that sleep") is False
    assert met(report, "the same: p99") is True


def test_a_report_survives_its_file_and_is_drawn(tmp_path: Path) -> None:
    report = contest(ALONE, Fake(PAIR, 1, 1, 1), Fake(FLOOR_C, 1, 1, 1), Fake("c"))
    report.series.append(Series("bytes", "calm", [Point(64, 1, 1, 1, 1, 1, 1, 1)]))
    save(report, tmp_path / "report.json")
    again = load(tmp_path / "report.json")
    assert again == report
    drawn = draw(again)
    assert set(drawn) == {"latency.svg", "cost-by-bytes.svg"}
    assert all(text.startswith("<svg") and text.endswith("</svg>\n") for text in drawn.values())
    assert len(list(tables(again))) == 2


def test_a_file_that_is_no_report_is_told(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text('{"machine": 1}')
    with pytest.raises(UserError, match="is no report"):
        load(tmp_path / "x.json")
    with pytest.raises(UserError, match="cannot read"):
        load(tmp_path / "y.json")


# Charts -----------------------------------------------------------------------------------------


def test_an_axis_maps_its_ends_to_the_ends() -> None:
    plain, log = Axis([0, 10], 0, 100, log=False), Axis([1, 100], 0, 100, log=True)
    assert (plain.at(0), plain.at(5), plain.at(10)) == (0, 50, 100)
    assert (log.at(1), log.at(10), log.at(100)) == (0, 50, 100)
    assert log.ticks()[0] == 1
    assert all(0 <= tick <= 10 for tick in plain.ticks())


def test_text_in_a_chart_is_escaped() -> None:
    assert "a&lt;b" in lines("a<b", "x", "y", {"s": [(1, 1), (2, 2)]})
    assert [number(value) for value in (0.25, 999, 1_500, 2.5e6)] == ["0.25", "999", "1.5k", "2.5M"]


# What peers answer ------------------------------------------------------------------------------


def feed(ends: object, data: bytes) -> int:
    """What is counted if every byte comes alone."""
    assert callable(ends)
    count, rest = 0, b""
    for index in range(len(data)):
        found, rest = ends(rest + data[index : index + 1])
        count += found
    return count


@pytest.mark.parametrize(
    ("ends", "data", "count"),
    [
        (peer_redis.ends, b"$3\r\n1-0\r\n:1\r\n" * 3, 3),
        (peer_redis.ends, b"$3\r\n1-0\r\n" * 4 + b":1\r\n", 1),
        (peer_nats.ends, b'MSG _INBOX.bench 1 26\r\n{"stream":"bench", "seq":1}\r\n' * 2, 2),
        (peer_postgres.ends, b"2\0\0\0\4C\0\0\0\x0fINSERT 0 1\0" + peer_postgres.READY, 1),
    ],
)
def test_answers_are_counted_however_they_are_cut(ends: object, data: bytes, count: int) -> None:
    assert feed(ends, data) == count


@pytest.mark.parametrize(
    ("ends", "data"),
    [
        (peer_redis.ends, b"$3\r\n1-0\r\n:0\r\n"),
        (peer_redis.ends, b"-OOM command not allowed\r\n"),
        (peer_nats.ends, b'MSG x 1 30\r\n{"error":{"code":503}}\r\n'),
        (peer_postgres.ends, b"E\0\0\0\x20SERROR\0VERROR\0" + peer_postgres.READY),
    ],
)
def test_an_answer_that_is_an_error_ends_the_run(ends: object, data: bytes) -> None:
    assert callable(ends)
    with pytest.raises(InterlockError):
        ends(data)


# Configuration ----------------------------------------------------------------------------------


def test_settings_replace_add_and_make_tables() -> None:
    text = '[pair]\ncluster = "x"\n\n[timing]\na_ms = 1  # 1 or more\nb_ms = 2\n\n[limits]\nc = 3\n'
    changed = {"timing": {"b_ms": 5, "d_ms": 6}, "security": {"enabled": True, "keys": "k"}}
    assert tomllib.loads(with_tables(text, changed)) == {
        "pair": {"cluster": "x"},
        "timing": {"a_ms": 1, "b_ms": 5, "d_ms": 6},
        "limits": {"c": 3},
        "security": {"enabled": True, "keys": "k"},
    }


def test_a_series_of_rounds_takes_them_in_turn_and_tells_the_medians(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    taken: list[int] = []
    p50s = iter([10.0, 30.0, 11.0, 90.0, 12.0, 20.0])

    def measured(scenario: Scenario, base: object) -> int:
        taken.append(scenario.sleepers)
        return scenario.sleepers

    monkeypatch.setattr(growth, "run", measured)
    monkeypatch.setattr(growth, "point", lambda x, _: Point(x, 1, next(p50s), 1, 1, 1, 1, 1))
    found = growth.by_sleepers((0, 16), 1.0, lambda _: None, rounds=3)
    assert taken == [0, 16, 0, 16, 0, 16]
    assert [(one.x, one.p50_us) for one in found.points] == [(0, 11.0), (16, 30.0)]


def test_changes_of_roles_are_told_with_percentiles() -> None:
    rows = [{"pause_ms": float(number)} for number in range(200, 0, -1)]
    told = {"median": 100.5, "p90": 181.0, "p99": 199.0, "max": 200.0}
    assert switchover.summarize(rows) == {"pause_ms": told}
    assert switchover.summarize(rows[:1])["pause_ms"]["p99"] == 200.0
    assert switchover.summarize([]) == {}
