"""`interlock drill --all`: a report of each runbook in their order, and the gravest one decides how
the command ends. The runs themselves are played."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import msgspec
import pytest
from typer.testing import CliRunner, Result

from interlock.cli import drill_all as drill_all_module
from interlock.cli.main import app
from interlock.runbooks import ids
from interlock.runbooks.record import Report, Verdict
from interlock.runbooks.stage import Measures


class Runs:
    """Stands in for `subprocess`: a run prints what `printed` says of its runbook, or a PASS."""

    DEVNULL = subprocess.DEVNULL

    def __init__(self) -> None:
        self.printed: dict[str, str] = {}
        self.commands: list[list[str]] = []

    def run(self, command: list[str], **other: Any) -> subprocess.CompletedProcess[str]:
        self.commands.append(command)
        name = Path(command[5]).stem
        printed = self.printed.get(name, said(name, Verdict.PASS))
        return subprocess.CompletedProcess(command, 0, printed, "bad luck\nno luck\n")


def said(name: str, verdict: Verdict, reason: str = "") -> str:
    report = Report(name, name, f"{name}.md", "0", "drill", "eve", 1, verdict, reason)
    report.measures = Measures(rto_ms=77.0)
    return msgspec.json.encode(report).decode()


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> Runs:
    made = Runs()
    monkeypatch.setattr(drill_all_module, "subprocess", made)
    monkeypatch.setenv("COLUMNS", "200")
    return made


def drill(*words: str) -> Result:
    return CliRunner().invoke(app, ["drill", "--all", *words])


def test_every_runbook_is_drilled_once_by_the_command_of_one(runs: Runs) -> None:
    done = drill("--json", "--branch", "solo", "--operator", "eve")
    assert done.exit_code == 0, done.output
    reports = json.loads(done.stdout)
    assert [report["id"] for report in reports] == ids()
    assert sorted(Path(command[5]).stem for command in runs.commands) == ids()
    for command in runs.commands:
        assert command[1:5] == ["-P", "-m", "interlock", "drill"]
        assert command[6:] == ["--json", "--branch", "solo", "--operator", "eve"]


@pytest.mark.parametrize(
    ("verdicts", "code"),
    [
        ({}, 0),
        ({"link-cut": Verdict.UNKNOWN}, 4),
        ({"link-cut": Verdict.FAIL}, 1),
        ({"link-cut": Verdict.FAIL, "power-loss": Verdict.UNKNOWN}, 1),
    ],
)
def test_the_gravest_verdict_is_the_end(
    verdicts: dict[str, Verdict], code: int, runs: Runs
) -> None:
    for name, verdict in verdicts.items():
        runs.printed[name] = said(name, verdict, f"{name} is why")
    done = drill("--jobs", "1")
    assert done.exit_code == code
    for name in ids():
        row = next(line for line in done.stdout.splitlines() if f" {name} " in f" {line} ")
        assert verdicts.get(name, Verdict.PASS).value in row
        assert (f"{name} is why" in done.stdout) is (name in verdicts)


def test_a_run_without_a_report_is_unknown_and_never_passes(runs: Runs) -> None:
    runs.printed["link-cut"] = ""
    runs.printed["power-loss"] = "Traceback"
    done = drill("--json")
    assert done.exit_code == 4
    reports = {report["id"]: report for report in json.loads(done.stdout)}
    for name in ("link-cut", "power-loss"):
        assert reports[name]["verdict"] == "UNKNOWN"
        assert reports[name]["reason"] == "the run ended without a report: no luck"
    assert reports["clock-step"]["verdict"] == "PASS"


def test_each_report_is_written(runs: Runs, tmp_path: Path) -> None:
    assert drill("--reports", str(tmp_path)).exit_code == 0
    assert len(list(tmp_path.glob("*.md"))) == len(list(tmp_path.glob("*.jsonl"))) == len(ids())
