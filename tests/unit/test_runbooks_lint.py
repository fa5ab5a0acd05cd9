"""The judge of runbooks: what ships is fit, and each rule finds what breaks it."""

from __future__ import annotations

from pathlib import Path

import pytest

from interlock.console.alarm_kinds import KINDS
from interlock.runbooks import folder
from interlock.runbooks.lint import SECTIONS, lint, lint_one
from interlock.tests.unit.runbook_kit import STEADY, action, block, book, fault, front, probe

ALARMS = {"NOBODY_LEADS": "fire"}
PROSE = "\n\n".join(f"## {section}" for section in SECTIONS)
SOLO = ("destructive: true", "confirm: old", "on_unknown: verify")
LINE = len(f"{front()}\n\n# A fire\n\n{PROSE}\n\n{STEADY}\n\n".splitlines()) + 1  # of a block
LAST = probe("old.state is GATED")
DECIDE = block("decide", "question: Which?", "branches: {left: l, right: r}", "drill: left")


def complaints(*blocks: str) -> list[str]:
    """What is said of a runbook that is fit but for these blocks."""
    return lint_one(book(PROSE, STEADY, *blocks, LAST))


def test_the_runbooks_that_come_with_interlock_are_fit() -> None:
    assert lint(folder(), {name: kind.runbook for name, kind in KINDS.items()}) == []


def test_each_alarm_that_there_is_names_a_runbook() -> None:
    complaint = lint(folder(), {name: kind.runbook for name, kind in KINDS.items()} | {"NEW": "x"})
    assert complaint == [f"{folder()}: the alarm NEW names the runbook x: not there"]


def test_a_plain_runbook_is_fit() -> None:
    assert (
        complaints(
            DECIDE,
            probe("old.state is SOLO", "mode: steady", "hold: 1", "branch: left"),
            action(
                "solo", "old", *SOLO, "rollback: {do: gate, node: old, when: [old.mode is solo]}"
            ),
            action("start", "old"),
            fault("kill", "node: old"),
            fault("cut-link"),
        )
        == []
    )


@pytest.mark.parametrize(
    ("planted", "said"),
    [
        (probe("old.mood is BAD"), "expect: old has no field 'mood'; it has answers"),
        (probe("all is well"), "expect: 'all is well' is no condition"),
        (probe("old.state is SOLO", "mode: steady"), "hold: a steady probe says for how long"),
        (probe("old.state is SOLO", "branch: up"), "branch: no question has the branch 'up'"),
        (action("solo", "old", *SOLO[1:]), "destructive: solo is, and the step does not say so"),
        (action("solo", "old", SOLO[0], SOLO[2]), "confirm: a destructive action is confirmed "),
        (action("start", "old", "destructive: true"), "confirm: a destructive action is confirm"),
        (action("pause", "old"), "on_unknown: expected verify: an operation may end without "),
        (action("solo", "old", *SOLO, "expect: fine"), "expect: 'fine' is neither done nor refu"),
        (action("solo", "old", *SOLO, "options: {force: true}"), "options: unknown force"),
        (
            action("solo", "old", *SOLO, "rollback: {do: gate, node: old, when: [old is ill]}"),
            "rollback.when: 'old is ill' is no condition",
        ),
        (fault("kill"), "node: kill needs a node"),
        (fault("freeze"), "node: freeze needs a node"),
        (fault("wipe"), "node: wipe needs a node"),
        (fault("damage"), "node: damage needs a node"),
        (DECIDE.replace("drill: left", "drill: up"), "drill: 'up' is none of the branches"),
        (block("note", "text: t", "branch: up"), "branch: no question has the branch 'up'"),
    ],
)
def test_each_rule_of_a_step_finds_what_breaks_it(planted: str, said: str) -> None:
    found = complaints(planted)
    assert len(found) == 1
    assert found[0].startswith(f"runbooks/fire.md:{LINE}: {said}"), found


@pytest.mark.parametrize("do", ["promote", "solo", "demote", "reinstate", "discard", "shutdown"])
def test_what_destroys_or_stops_is_destructive(do: str) -> None:
    said = f"destructive: {do} is, and the step does not say so"
    assert [one.partition(": ")[2] for one in complaints(action(do, "old", SOLO[2]))] == [said]


@pytest.mark.parametrize("section", SECTIONS)
def test_each_section_has_to_be_there(section: str) -> None:
    prose = PROSE.replace(f"## {section}", "## Other")
    assert lint_one(book(prose, STEADY)) == [f"runbooks/fire.md:1: there is no section {section!r}"]


@pytest.mark.parametrize("after", [[], [STEADY], [fault("cut-link"), action("start", "old")]])
def test_what_may_end_without_an_answer_is_verified_by_a_probe(after: list[str]) -> None:
    solo = action("solo", "old", *SOLO)
    said = f"runbooks/fire.md:{LINE}: on_unknown: no probe after this action verifies it"
    assert lint_one(book(PROSE, STEADY, solo, *after)) == [said]
    assert lint_one(book(PROSE, STEADY, solo, *after, LAST)) == []


def test_the_front_matter_and_the_steady_state_are_judged() -> None:
    assert lint_one(book(PROSE, STEADY, id="water")) == [
        "runbooks/fire.md:1: id: water is not the name of the file"
    ]
    assert lint_one(book(PROSE, STEADY, alarms="[]")) == [
        "runbooks/fire.md:1: alarms: a runbook answers an alarm; name one"
    ]
    assert lint_one(book(PROSE, probe("pair.gated is yes"))) == [
        "runbooks/fire.md:1: no probe is of the steady state"
    ]


def test_dead_links_are_found(tmp_path: Path) -> None:
    (tmp_path / "there.md").touch()
    text = "[a](there.md) [b](there.md#part) [c](#here) [d](https://example.org/x)\n[e](gone.md)"
    found = lint_one(book(PROSE, STEADY, text, path=tmp_path / "fire.md"))
    assert found == [f"{tmp_path}/fire.md:{LINE}: dead link gone.md"]


def folder_of(tmp_path: Path, **other: str) -> Path:
    (tmp_path / "fire.md").write_text("\n\n".join([front(**other), PROSE, STEADY]), "utf-8")
    (tmp_path / "README.md").write_text("not a runbook", "utf-8")
    return tmp_path


def test_alarms_and_runbooks_name_each_other(tmp_path: Path) -> None:
    assert lint(folder_of(tmp_path), ALARMS) == []
    fire = tmp_path / "fire.md"
    assert lint(tmp_path, {}) == [f"{fire}:1: alarms: there is no alarm NOBODY_LEADS"]
    assert lint(tmp_path, {**ALARMS, "SMOKE": "fire"}) == [
        f"{fire}:1: alarms: SMOKE names this runbook, and is not listed"
    ]
    assert lint(tmp_path, {**ALARMS, "SMOKE": "water"}) == [
        f"{tmp_path}: the alarm SMOKE names the runbook water: not there"
    ]


def test_one_that_cannot_be_read_is_a_complaint_among_others(tmp_path: Path) -> None:
    folder_of(tmp_path)
    (tmp_path / "bad.md").write_text("# no front matter\n", "utf-8")
    (tmp_path / "fire.md").write_text("\n\n".join([front(), PROSE, STEADY, fault("kill")]), "utf-8")
    found = lint(tmp_path, ALARMS)
    assert [one.rpartition(": ")[2] for one in found] == [
        "a runbook begins with front matter between two lines of ---",
        "kill needs a node",
    ]
