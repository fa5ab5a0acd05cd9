"""Reading a runbook: its steps, and an error with file and line for what it must not say."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from interlock.runbooks import folder, ids, load
from interlock.runbooks.parse import RunbookError, parse, read
from interlock.runbooks.verbs import Action, Decide, Do, Fault, FaultKind, Mode, Note, Probe, Who
from interlock.shared.errors import UserError
from interlock.tests.unit.runbook_kit import (
    PATH,
    STEADY,
    action,
    block,
    book,
    fault,
    front,
    probe,
)


def wrong(text: str) -> str:
    """What is said of a text that cannot be read, behind its file's name."""
    with pytest.raises(RunbookError) as caught:
        parse(text, PATH)
    said = str(caught.value)
    assert "\n" not in said
    assert said.startswith(f"{PATH}:"), said
    return said.removeprefix(f"{PATH}:")


def wrong_block(*lines: str) -> str:
    """The same of a step, which stands where line 11 of the file is ```."""
    return wrong("\n\n".join([front(), block(*lines)]))


def test_every_verb_is_read_with_its_line_and_heading() -> None:
    found = book(
        "## Steps",
        STEADY,
        fault("kill", "node: old"),
        action("promote", "new", "options: {solo: true}", "confirm: new", "destructive: true"),
        "## After",
        block("decide", "question: Which?", "branches: {left: l, right: r}", "drill: left"),
        block("note", "text: so it is", "branch: left"),
    )
    assert found.front.modes == [Mode.GUIDED, Mode.DRILL, Mode.REHEARSE]
    assert [(step.verb, step.heading) for step in found.steps] == [
        ("probe", "Steps"),
        ("fault", "Steps"),
        ("action", "Steps"),
        ("decide", "After"),
        ("note", "After"),
    ]
    steady, broken, promote, decide, note = (step.what for step in found.steps)
    assert isinstance(steady, Probe)
    assert steady.steady
    assert steady.fatal
    assert broken == Fault(FaultKind.KILL, Who.OLD)
    assert isinstance(promote, Action)
    assert (promote.do, promote.node, promote.confirm) == (Do.PROMOTE, Who.NEW, Who.NEW)
    assert promote.options == {"solo": True}
    assert isinstance(decide, Decide)
    assert decide.branches == {"left": "l", "right": "r"}
    assert note == Note("so it is", "left")
    assert found.headings == ["A fire", "Steps", "After"]
    assert found.makes_faults
    assert not book(STEADY).makes_faults


def test_a_step_names_the_line_of_its_fence() -> None:
    found = book("Some prose.", STEADY, "More.", fault("kill", "node: old"))
    lines = f"{front()}\n\n# A fire\n\nSome prose.\n\n{STEADY}".splitlines()
    assert lines[found.steps[0].line - 1] == "```probe"
    assert found.steps[1].line == found.steps[0].line + 8


def test_the_text_is_the_page_without_its_front_matter_and_the_hash_is_of_all() -> None:
    text = front() + "\n\n# A fire\n\nPut it out.\n"
    found = parse(text, PATH)
    assert found.text == "# A fire\n\nPut it out.\n"
    assert found.sha256 == hashlib.sha256(text.encode()).hexdigest()


def test_blocks_to_read_are_no_steps() -> None:
    assert book(block("console", "rm -rf /"), block("text", "x: y"), block("", "z")).steps == []


def test_links_are_found_with_their_line() -> None:
    found = book("See [this](other.md) and\n[that](https://example.org/).")
    line = len(front().splitlines()) + 4
    assert found.links == [(line, "other.md"), (line, "https://example.org/")]


@pytest.mark.parametrize("text", ["", "# A fire\n", "\n" + front(), "---\nid: fire\n"])
def test_without_front_matter_it_is_no_runbook(text: str) -> None:
    assert wrong(text) == "1: a runbook begins with front matter between two lines of ---"


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"risk": "much"}, "6: risk: Expected `str` matching regex"),
        ({"modes": "[guided, asleep]"}, "7: modes[1]: Invalid enum value 'asleep'"),
        ({"modes": "[]"}, "7: modes: Expected `array` of length >= 1"),
        ({"abort_after": "soon"}, "8: abort_after: Expected `float`, got `str`"),
        ({"abort_after": "0"}, "8: abort_after: Expected `float` > 0.0"),
        ({"alarms": "NOBODY_LEADS"}, "4: alarms: Expected `array`, got `str`"),
        ({"author": "me"}, "2: front: Object contains unknown field `author`"),
        ({"title": "[", "owner": "{"}, "2: not YAML: "),
    ],
)
def test_a_mistake_in_the_front_matter_is_told_with_its_line(
    other: dict[str, str], said: str
) -> None:
    assert wrong(front(**other)).startswith(said)


def test_a_missing_field_is_named() -> None:
    text = front().replace("owner: operations\n", "")
    assert wrong(text) == "2: front: Object missing required field `owner`"


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (("shell", "rm -rf /"), "11: unknown verb 'shell'; the verbs are probe, action, fault, "),
        (("probe ", "expect: []", "within: 1"), "12: expect: Expected `array` of length >= 1"),
        (("probe", "expect: [a]"), "12: probe: Object missing required field `within`"),
        (("probe", "within: 1", "expects: [a]"), "12: probe: Object contains unknown field "),
        (("probe", "expect: [a]", "within: 1", "hold: long"), "14: hold: Expected `float"),
        (("probe", "expect: [a]", "within: 0"), "13: within: Expected `float` > 0.0"),
        (("probe", "expect: [a]", "within: 3601"), "13: within: Expected `float` <= 3600.0"),
        (("probe", "expect: [a]", "mode: often", "within: 1"), "13: mode: Invalid enum value"),
        (("action", "do: erase", "node: old", "within: 1"), "12: do: Invalid enum value 'erase'"),
        (("action", "do: solo", "node: a", "within: 1"), "13: node: Invalid enum value 'a'"),
        (
            ("action", "do: solo", "node: old", "within: 1", "rollback: {do: gate, node: old}"),
            "15: rollback: Object missing required field `when`",
        ),
        (("fault", "fault: fire"), "12: fault: Invalid enum value 'fire'"),
        (("decide", "question: q", "drill: a", "branches: {a: b}"), "14: branches: Expected "),
        (("note", "text: ''"), "12: text: Expected `str` of length >= 1"),
        (("note", "text: [", "branch"), "12: not YAML: "),
        (("note", "- text"), "12: note: Expected `object`, got `array`"),
        (("note", ""), "12: note: Expected `object`, got `null`"),
    ],
)
def test_a_mistake_in_a_step_is_told_with_its_line(lines: tuple[str, ...], said: str) -> None:
    assert wrong_block(*lines).startswith(said)


def test_a_file_that_cannot_be_read_is_told_by_name(tmp_path: Path) -> None:
    with pytest.raises(RunbookError, match=r"cannot read the runbook .*gone\.md"):
        read(tmp_path / "gone.md")
    (tmp_path / "bytes.md").write_bytes(b"---\n\xff\xfe")
    with pytest.raises(RunbookError, match=r"cannot read the runbook .*bytes\.md"):
        read(tmp_path / "bytes.md")


def test_a_runbook_is_found_by_its_id_or_its_file(tmp_path: Path) -> None:
    assert load("primary-crashed").id == "primary-crashed"
    (tmp_path / "own.md").write_text(front(id="own") + "\n\n" + probe("pair.gated is yes"))
    assert load(str(tmp_path / "own.md")).id == "own"
    for name in ("nothing", str(tmp_path / "gone.md")):
        with pytest.raises(UserError, match=r"there is no runbook .*primary-crashed"):
            load(name)


def test_all_that_come_with_interlock_can_be_read() -> None:
    assert len(ids()) >= 17
    assert "README" not in ids()
    assert [load(name).id for name in ids()] == ids()
    assert (folder() / "README.md").is_file()
