"""Runbooks on real pairs: every drill passes with nothing lost, a live pair is changed only by what
a person has typed, and a bug of the product makes a drill fail.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from interlock.cli.drill_live import TerminalAsker
from interlock.cli.embedded import EmbeddedPair
from interlock.cli.init import FILE
from interlock.cli.main import app
from interlock.client.control import ControlClient, find_leader
from interlock.runbooks import folder, ids, last_result, load
from interlock.runbooks.verbs import Action
from interlock.shared.operations import Operation
from support.operators import epochs, preflight
from support.pair import command, pair_of, wait_for_state, write_config
from support.traffic import Traffic, assert_one_history

ROOT = Path(__file__).resolve().parents[2]
# What needs more than a machine may have: root for a small disk, libfaketime for a stepped clock.
NEEDS = {
    "disk-full-primary": ("a disk of its own needs root and mount", "cannot mount a small disk"),
    "disk-full-standby": ("a disk of its own needs root and mount", "cannot mount a small disk"),
    "clock-step": ("stepping one process's clock needs libfaketime",),
}
# A load whose thread dies of a bug loads nothing, and its drill would show nothing.
pytestmark = pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")


@pytest.fixture(autouse=True)
def state_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where results are kept, for this test alone; and a wide terminal."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("COLUMNS", "240")
    return tmp_path / "state"


def drill(*words: object, typed: str | None = None) -> Result:
    """`interlock drill ...` in this process."""
    return CliRunner().invoke(app, ["drill", *map(str, words)], input=typed)


def report_of(done: Result) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(done.stdout)
    return found


# Drills ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ids())
def test_every_runbook_passes_its_drill_and_loses_nothing(name: str, tmp_path: Path) -> None:
    done = drill(name, "--json", "--reports", tmp_path / "reports")
    report = report_of(done)
    why = report["reason"]
    if report["verdict"] == "UNKNOWN" and any(need in why for need in NEEDS.get(name, ())):
        assert done.exit_code == 4
        pytest.skip(why)
    timeline = "\n".join(str(event) for event in report["events"])
    assert report["verdict"] == "PASS", f"{why}\n{timeline}"
    assert done.exit_code == 0
    assert [event for event in report["events"] if event["ok"] is False] == []
    measures = report["measures"]
    assert (measures["lost"], measures["failure"]) == (0, "")
    assert measures["confirmed"] == measures["delivered"] > 0
    kept = last_result(name)
    assert kept is not None
    assert (kept.verdict.value, kept.sha256) == ("PASS", load(name).sha256)
    lines, page = sorted((tmp_path / "reports").iterdir())
    assert (lines.suffix, page.suffix) == (".jsonl", ".md")
    assert len(lines.read_bytes().splitlines()) == 1 + len(report["events"])
    assert f"# {report['title']}: PASS\n" in page.read_text("utf-8")


def copy_of_the_product(into: Path) -> Path:
    """The package `interlock` as it is now, in the folder `into`."""
    package = into / "interlock"
    package.mkdir(parents=True)
    for file in ROOT.glob("*.py"):
        shutil.copy(file, package)
    for found in ROOT.glob("*/__init__.py"):
        name = found.parent.name
        if name not in ("tests", "build"):
            ignore = shutil.ignore_patterns("__pycache__")
            shutil.copytree(found.parent, package / name, ignore=ignore)
    return package


def test_a_promotion_that_takes_no_new_epoch_fails_the_drill(tmp_path: Path) -> None:
    """The product is copied, and a promotion takes the number of the epoch before it."""
    package = copy_of_the_product(tmp_path / "copy")
    duties = package / "secondary" / "duties.py"
    text = duties.read_text("utf-8")
    assert text.count("number = highest + 1") == 1
    duties.write_text(text.replace("number = highest + 1", "number = highest"), "utf-8")
    done = subprocess.run(
        command("drill", "primary-crashed", "--json"),
        env={**os.environ, "PYTHONPATH": str(package.parent)},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    report = json.loads(done.stdout)
    assert report["verdict"] == "FAIL"
    promote = next(step for step in load("primary-crashed").steps if step.verb == "action")
    assert report["reason"].startswith(f"line {promote.line}: promote on b was refused, expected ")
    assert "epoch" in report["reason"]
    assert report["measures"]["lost"] == 0


# The command ----------------------------------------------------------------------------------


def test_the_list_tells_what_there_is_and_how_it_was_drilled_last(state_home: Path) -> None:
    before = drill("--list")
    assert before.exit_code == 0
    for name in ids():
        assert name in before.stdout
    assert before.stdout.count("never") == len(ids())
    kept = state_home / "interlock" / "drills"
    kept.mkdir(parents=True)
    result = {
        "id": "power-loss",
        "sha256": load("power-loss").sha256,
        "started_ns": 1_700_000_000_000_000_000,
        "verdict": "PASS",
        "reason": "",
        "rto_ms": 1234.4,
    }
    (kept / "power-loss.json").write_text(json.dumps(result), "utf-8")
    (kept / "link-cut.json").write_text(
        json.dumps({**result, "id": "link-cut", "verdict": "FAIL", "rto_ms": None}), "utf-8"
    )
    table = drill("--list").stdout
    assert "changed since" in table
    lines = table.splitlines()
    rows = {name: line for line in lines for name in ids() if f" {name} " in line}
    assert "22:13" in rows["power-loss"]
    assert " PASS  " in rows["power-loss"]
    assert " 1234 " in rows["power-loss"]
    assert " FAIL * " in rows["link-cut"], "its text is another one now"
    assert "never" in rows["clock-step"]
    told = json.loads(drill("--list", "--json").stdout)
    assert [one["front"]["id"] for one in told] == ids()
    assert {one["front"]["id"]: one["last"] for one in told}["power-loss"] == result
    assert {one["front"]["id"]: one["last"] for one in told}["clock-step"] is None


def test_lint_judges_the_shipped_runbooks_and_those_of_a_folder(tmp_path: Path) -> None:
    clean = drill("--lint")
    assert (clean.exit_code, clean.stdout) == (0, "")
    own = tmp_path / "own"
    shutil.copytree(folder(), own, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    text = (own / "link-cut.md").read_text("utf-8")
    (own / "link-cut.md").write_text(text.replace("```probe", "```shell", 1), "utf-8")
    line = text.splitlines().index("```probe") + 1
    dirty = drill("--lint", own)
    assert dirty.exit_code == 1
    assert f"{own}/link-cut.md:{line}: unknown verb 'shell'; the verbs are" in dirty.stdout
    told = json.loads(drill("--lint", own, "--json").stdout)
    assert told["complaints"] == dirty.stdout.splitlines()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nothing"], "there is no runbook 'nothing'; there are: "),
        ([], "name a runbook, or use --all, --list or --lint"),
        (["power-loss", "--rehearse"], "a rehearsal needs a live pair (--pair DIR)"),
        (["power-loss", "--unattended"], "an unattended run needs a live pair (--pair DIR)"),
        (["power-loss", "--pair", "/nowhere"], "/nowhere"),
        (["power-loss", "--reports", "/proc/none"], "cannot write reports into /proc/none: "),
        (["--lint", "/nowhere"], "there is no folder /nowhere"),
    ],
)
def test_a_mistake_is_told_in_one_sentence(words: list[str], said: str) -> None:
    done = drill(*words)
    assert (done.exit_code, done.stdout) == (2, "")
    (complaint,) = done.stderr.splitlines()
    assert complaint.startswith("interlock: ")
    assert said in complaint


def test_a_verdict_is_told_although_it_cannot_be_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    done = drill("planned-switchover")
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines()[-1] == "PASS"
    assert "interlock: cannot keep the drill's result in " in done.stderr


# On a live pair -------------------------------------------------------------------------------


def history(pair: EmbeddedPair) -> list[dict[str, Any]]:
    """Receipts and epochs, as `interlock history` tells them."""
    done = CliRunner().invoke(app, ["history", "-c", str(pair.config.path), "--json"])
    assert done.exit_code == 0, done.output
    return [json.loads(line) for line in done.stdout.splitlines()]


def left_by(pair: EmbeddedPair) -> list[object]:
    """What any operation would leave: epochs, and receipts in the log."""
    return [epochs(pair, "a"), epochs(pair, "b"), history(pair)]


def leader(pair: EmbeddedPair) -> str | None:
    return find_leader(ControlClient(pair.config).statuses())


def test_a_rehearsal_tells_what_would_happen_and_changes_nothing(tmp_path: Path) -> None:
    own = tmp_path / "too-early.md"
    text = (folder() / "planned-switchover.md").read_text("utf-8")
    text = text.replace("id: planned-switchover", "id: too-early")
    own.write_text(text.replace("do: switchover\nnode: old", "do: reinstate\nnode: new"), "utf-8")
    with pair_of(tmp_path / "pair") as pair:
        before = left_by(pair)
        live = ("--pair", pair.directory, "--rehearse", "--operator", "ann")
        done = drill("planned-switchover", *live)
        assert done.exit_code == 0, done.output
        assert "switchover on a: every guard passes now" in done.stderr
        assert "the pair is gated and in sync: after" in done.stderr
        crash = drill("primary-crashed", *live, "--json")
        assert crash.exit_code == 0, crash.output
        events = {event["text"] for event in report_of(crash)["events"]}
        assert "start on a: not done in a rehearsal" in events
        assert any(text.startswith("promote on b: would be refused now: ") for text in events)
        refused = drill(own, *live)
        assert refused.exit_code == 1, refused.output
        assert "reinstate on b: would be refused now: " in refused.stdout
        alone = drill("planned-switchover", "--pair", pair.directory, "--unattended")
        assert alone.exit_code == 2, alone.output
        assert 'a pair whose configuration says environment = "drill"' in alone.stderr
        assert left_by(pair) == before
        assert leader(pair) == "a"


def test_guided_a_node_s_name_typed_right_does_it_and_typed_wrong_does_nothing(
    tmp_path: Path,
) -> None:
    with pair_of(tmp_path) as pair, Traffic(pair.config, 500) as traffic:
        traffic.wait_for_more()
        before = left_by(pair)
        words = ("planned-switchover", "--pair", tmp_path, "--operator", "ann")
        for typed in ("b\n", "\n", "yes\n"):
            wrong = drill(*words, typed=typed)
            assert wrong.exit_code == 4, wrong.output
            assert "UNKNOWN" in wrong.stdout
            assert "switchover on a was not confirmed" in wrong.stdout
        assert left_by(pair) == before
        assert leader(pair) == "a"

        right = drill(*words, typed="a\n")
        assert right.exit_code == 0, right.output
        assert "PASS" in right.stdout
        assert leader(pair) == "b"
        (done,) = (one for one in history(pair) if one["what"] == "switchover a")
        assert done["operator"] == "ann"
        assert done["reason"].startswith("runbook planned-switchover, line ")
        traffic.wait_for_more()
        traffic.finish()
        assert_one_history(pair)


def test_guided_through_a_crash_with_what_a_person_types(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everything is typed but the start of the node, which is done by hand when it is asked for."""
    with pair_of(tmp_path) as pair, Traffic(pair.config, 500) as traffic:
        traffic.wait_for_more()
        pair.kill("a")
        wait_for_state(pair, "b", "ORPHANED")
        attestation = preflight(pair, Operation.PROMOTE, "b", solo=True).attestation
        assert attestation
        by_hand: list[str] = []

        def start(asker: TerminalAsker, action: Action, node: str) -> bool:
            by_hand.append(f"{action.do.value} {node}")
            pair.start(node)
            return True

        monkeypatch.setattr(TerminalAsker, "done_by_hand", start)
        words = ("primary-crashed", "--pair", tmp_path, "--operator", "bob")
        done = drill(*words, typed=f"b\n{attestation}\nup\nfenced\na\n")
        assert done.exit_code == 0, done.output
        assert "PASS" in done.stdout
        assert "one of: fenced, follows" in done.stdout, "there is no branch `up`"
        assert by_hand == ["start a"]
        acts = {one["what"] for one in history(pair) if one["operator"] == "bob"}
        assert {"promote b --solo", "reinstate a"} <= acts
        assert leader(pair) == "b"
        traffic.wait_for_more()
        traffic.finish()
        assert_one_history(pair)


def test_unattended_on_a_pair_that_is_there_for_drills(tmp_path: Path) -> None:
    """Confirmations are answered there, and the result is kept as that of a drill. On another pair
    this is refused, which the rehearsal's test sees."""
    write_config(tmp_path / FILE)
    text = (tmp_path / FILE).read_text("utf-8")
    drills = text.replace('environment = "production"', 'environment = "drill"')
    assert drills != text
    (tmp_path / FILE).write_text(drills, "utf-8")
    with EmbeddedPair(tmp_path) as pair:
        for name in "ab":
            pair.start(name)
        pair.wait_until_gated()
        done = drill("planned-switchover", "--pair", tmp_path, "--unattended", "--operator", "ann")
        assert done.exit_code == 0, done.output
        assert leader(pair) == "b"
        assert [one["what"] for one in history(pair) if one["operator"] == "ann"][-1:] == [
            "switchover a"
        ]
    kept = last_result("planned-switchover")
    assert kept is not None
    assert kept.verdict.value == "PASS"
