"""What a run leaves behind: JSON lines, a post-mortem, and the last result of each runbook."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from interlock.runbooks.record import Event, Report, Verdict
from interlock.runbooks.report import as_jsonl, as_markdown, measure_lines, write
from interlock.runbooks.results import keep, last_result, results_folder
from interlock.runbooks.stage import Measures
from interlock.shared.errors import UserError

NOON = 1_700_049_600_000_000_000  # 2023-11-15 12:00:00 UTC
MEASURES = Measures(
    rto_ms=812.4, pause_ms=700.0, confirmed=90, delivered=90, in_doubt=3, quarantined=2
)


def report(**other: object) -> Report:
    made = Report("fire", "A fire", "fire.md", "ab" * 32, "drill", "eve", NOON)
    made.seconds = 4.26
    made.events = [
        Event(0.4, 13, "steady state", "the pair is gated", True),
        Event(10.6, 20, "fault", "kill a"),
        Event(20, 24, "probe", "a | b: not within 1 s", False),
        Event(30, 0, "mended", "started a"),
    ]
    made.before = {"a": "GATED as primary", "b": "IN_SYNC as secondary"}
    made.after = {"a": "does not answer", "b": "SOLO as primary"}
    for name, value in other.items():
        setattr(made, name, value)
    return made


def test_json_has_a_line_for_the_run_and_one_for_each_event() -> None:
    lines = as_jsonl(report(verdict=Verdict.FAIL, reason="so", measures=MEASURES)).splitlines()
    head, *events = [json.loads(line) for line in lines]
    assert (head["id"], head["verdict"], head["reason"]) == ("fire", "FAIL", "so")
    assert head["events"] == []
    assert head["sha256"] == "ab" * 32
    assert head["measures"]["rto_ms"] == 812.4
    assert [(event["line"], event["ok"]) for event in events] == [
        (13, True),
        (20, None),
        (24, False),
        (0, None),
    ]


def test_the_post_mortem_tells_the_whole_run() -> None:
    page = as_markdown(report(verdict=Verdict.FAIL, reason="line 24: no", measures=MEASURES))
    lines = page.splitlines()
    assert lines[0] == "# A fire: FAIL"
    assert "- Runbook `fire.md` (sha256 `abababababababab`), drill" in lines
    assert "- Begun 2023-11-15 12:00:00 UTC by eve, 4.3 s" in lines
    assert "- Why: line 24: no" in lines
    assert "| a | GATED as primary | does not answer |" in lines
    assert "| b | IN_SYNC as secondary | SOLO as primary |" in lines
    assert lines[-4:] == [
        "| 0 | [13](fire.md#L13) | steady state | the pair is gated | ok |",
        "| 11 | [20](fire.md#L20) | fault | kill a |  |",
        "| 20 | [24](fire.md#L24) | probe | a \\| b: not within 1 s | **FAILED** |",
        "| 30 |  | mended | started a |  |",
    ]
    assert not any(line.startswith("- Why") for line in as_markdown(report()).splitlines())


def test_measures_in_words() -> None:
    time, loss = measure_lines(MEASURES)
    assert time == (
        "RTO 812 ms from the fault, not measured from the decision; "
        "longest pause at the consumer 700 ms"
    )
    assert loss == "RPO 0 messages lost of 90 confirmed; 3 in doubt, 2 quarantined"


def test_a_report_is_two_files_named_by_runbook_and_time(tmp_path: Path) -> None:
    paths = write(report(), tmp_path / "new" / "folder")
    assert [path.name for path in paths] == [
        "fire-20231115T120000Z.jsonl",
        "fire-20231115T120000Z.md",
    ]
    assert paths[0].read_bytes() == as_jsonl(report())
    assert paths[1].read_text("utf-8") == as_markdown(report())


def test_a_report_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot write the report into"):
        write(report(), tmp_path / "file")


# The last result ------------------------------------------------------------------------------


def test_the_last_result_is_kept(tmp_path: Path) -> None:
    assert last_result("fire", tmp_path) is None
    keep(report(measures=MEASURES), tmp_path)
    kept = last_result("fire", tmp_path)
    assert kept is not None
    assert (kept.id, kept.sha256, kept.started_ns) == ("fire", "ab" * 32, NOON)
    assert (kept.verdict, kept.reason, kept.rto_ms) == (Verdict.PASS, "", 812.4)
    keep(report(verdict=Verdict.UNKNOWN, reason="needs root"), tmp_path)
    kept = last_result("fire", tmp_path)
    assert kept is not None
    assert (kept.verdict, kept.reason, kept.rto_ms) == (Verdict.UNKNOWN, "needs root", None)
    assert [path.name for path in tmp_path.iterdir()] == ["fire.json"]


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"id": "fire"}', b"\xff\xfe"])
def test_a_result_that_cannot_be_read_counts_as_none(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "fire.json").write_bytes(data)
    assert last_result("fire", tmp_path) is None


def test_results_are_kept_per_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    assert results_folder() == tmp_path / "state" / "interlock" / "drills"
    keep(report())
    assert (tmp_path / "state" / "interlock" / "drills" / "fire.json").is_file()
    assert last_result("fire") is not None
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert results_folder() == tmp_path / "home" / ".local" / "state" / "interlock" / "drills"
    assert last_result("fire") is None


def test_a_result_that_cannot_be_kept_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot keep the drill's result in"):
        keep(report(), tmp_path / "file")
