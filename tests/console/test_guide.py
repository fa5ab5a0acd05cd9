"""What the steps of a followed runbook are at: on what is known now, and on nothing else."""

from __future__ import annotations

from pathlib import Path

import msgspec

from interlock.console import guide as module
from interlock.console.draw.lines import text_of
from interlock.console.draw.runbooks import document, step_line
from interlock.console.guide import Guide, Mark, probe_state, to_jsonl
from interlock.console.inputs import Silent
from interlock.console.shelf import Shelf
from interlock.console.view import NodeView
from interlock.runbooks import load, parse
from interlock.runbooks.verbs import Probe
from interlock.shared.operations import Operation, Request
from interlock.shared.telemetry import SecurityStatus

from .kit import T0, gated_pair, heard, status, told

HEAD = """---
id: x
title: The [red]x[/red]
alarms: [LAG]
owner: ops
risk: none
modes: [guided]
abort_after: 9
---
"""


def nodes_of(*inputs: object, now: float = T0) -> list[NodeView]:
    return told(*inputs, now=now).view(now).nodes  # type: ignore[arg-type]


WELL = nodes_of(*gated_pair(T0, 100))
LOST = nodes_of(
    *gated_pair(T0 - 20, 100),
    heard(T0, status("b", "secondary", "ORPHANED", T0, 100)),
    Silent(T0, "a", "no answer"),
)
OLD_NEWS = nodes_of(*gated_pair(T0, 100), now=T0 + 30)  # both were heard, and were not asked since
NOTHING = nodes_of()


def mark(nodes: list[NodeView], *expect: str, old: str = "a", drill_only: bool = False) -> Mark:
    probe = Probe(list(expect), 1.0, drill_only=drill_only)
    return probe_state(probe, nodes, old)[0]


def test_a_probe_holds_or_does_not_on_what_is_heard_now() -> None:
    assert mark(WELL, "pair.gated is yes") is Mark.HOLDS
    assert mark(WELL, "leader.state is GATED", "standby.state is IN_SYNC") is Mark.HOLDS
    assert mark(WELL, "old.state is GATED") is Mark.HOLDS
    assert mark(WELL, "old.state is GATED", old="b") is Mark.WRONG
    assert mark(WELL, "old.answers is no") is Mark.WRONG
    probe = Probe(["new.state is ORPHANED"], 1.0)
    assert probe_state(probe, WELL, "a")[1] == "new.state is ORPHANED: it is IN_SYNC"


def test_nothing_is_evaluated_on_what_is_old() -> None:
    for text in (
        "pair.gated is yes",
        "old.state is GATED",
        "old.answers is no",
        "pair.leaders <= 1",
    ):
        assert mark(OLD_NEWS, text) is Mark.UNKNOWN
        assert mark(NOTHING, text) is Mark.UNKNOWN
    why = probe_state(Probe(["old.state is GATED"], 1.0), OLD_NEWS, "a")[1]
    assert why == "old.state is GATED: what a says is 30 s old"


def keyed(fingerprint: str, incarnation: int = 1) -> list[NodeView]:
    """The pair, well, with this key of a."""
    said = status("a", "primary", "GATED", security=SecurityStatus(fingerprint, "aaaa", 4, []))
    a = msgspec.structs.replace(said, incarnation=incarnation)
    return nodes_of(heard(T0, a), *gated_pair(T0, 100)[1:])


def test_what_has_changed_since_the_runbook_was_opened() -> None:
    probe = Probe(["old.key-renewed is yes", "old.restarted is no"], 1.0)
    first = {node.name: node.usable for node in keyed("SHA256:1")}
    assert probe_state(probe, keyed("SHA256:2"), "a", first) == (Mark.HOLDS, "")
    assert probe_state(probe, keyed("SHA256:1"), "a", first)[0] is Mark.WRONG
    assert probe_state(probe, keyed("SHA256:2", 2), "a", first)[0] is Mark.WRONG
    mark, why = probe_state(probe, keyed("SHA256:2"), "a", {"a": None})
    assert mark is Mark.UNKNOWN
    assert "when the runbook was opened is not known" in why


def test_a_node_that_was_asked_and_is_silent_does_not_answer_and_tells_nothing_else() -> None:
    assert mark(LOST, "old.answers is no") is Mark.HOLDS
    assert mark(LOST, "old.answers is no", "new.state is ORPHANED") is Mark.HOLDS
    assert mark(LOST, "old.state is FENCED") is Mark.UNKNOWN
    assert mark(LOST, "old.state is GATED") is Mark.UNKNOWN, "what it said last does not count"
    assert mark(LOST, "pair.leaders <= 1") is Mark.UNKNOWN, "the silent one may lead"
    assert mark(LOST, "leader.state is GATED") is Mark.UNKNOWN
    assert mark(LOST, "old.state is FENCED", "new.state is GATED") is Mark.WRONG


def test_what_only_a_drill_can_tell_is_said_so() -> None:
    assert mark(WELL, "consumer.delivers is yes") is Mark.DRILL
    assert mark(WELL, "pair.gated is yes", drill_only=True) is Mark.DRILL
    assert mark(NOTHING, "consumer.delivers is yes") is Mark.DRILL


def test_old_is_named_once_and_can_be_changed() -> None:
    crashed = load("primary-crashed")
    assert Guide(crashed, WELL, T0, "ann").old == "a"
    guide = Guide(crashed, LOST, T0, "ann")
    assert guide.old == "a"
    led_by_b = nodes_of(heard(T0, status("b", "primary", "SOLO", T0, 100)))
    guide.look(led_by_b, T0)
    assert guide.old == "a"
    assert Guide(crashed, led_by_b, T0, "ann").old == "b"
    guide.swap_old(led_by_b, T0, "ann")
    assert guide.old == "b"


def test_an_action_is_for_the_node_that_its_role_names() -> None:
    guide = Guide(load("primary-crashed"), LOST, T0, "ann")
    assert guide.request(5, LOST) == Request(Operation.PROMOTE, "b", solo=True)
    guide.swap_old(LOST, T0, "ann")
    assert guide.request(5, LOST) == Request(Operation.PROMOTE, "a", solo=True)
    reseed = Guide(load("reseed-wiped-node"), WELL, T0, "ann")
    index = next(
        i for i, s in enumerate(reseed.runbook.steps) if "reseed" in getattr(s.what, "options", {})
    )
    assert reseed.request(index, WELL) == Request(Operation.REINSTATE, "b", reseed=True)
    assert "nobody leads" in str(reseed.request(index, LOST))


def test_a_choice_can_be_taken_back() -> None:
    guide = Guide(load("primary-crashed"), LOST, T0, "ann")
    for branch, wanted in (("follows", Mark.ELSEWHERE), ("fenced", Mark.OPEN)):
        guide.choose(10, branch, T0, "ann")
        guide.look(LOST, T0)
        assert guide.states[11].mark is wanted
        assert "decide first" not in guide.states[11].why


def test_a_probe_that_flickers_does_not_fill_the_run() -> None:
    guide = Guide(load("primary-crashed"), WELL, T0, "ann")
    for number in range(200):
        guide.look((WELL, LOST)[number % 2], T0 + number)
    turns = [one for one in guide.entries if one.line == guide.runbook.steps[0].line]
    assert len(turns) == module.MAX_TURNS
    assert turns[-1].text.endswith("more changes of this step are not noted")


def test_a_run_is_a_line_that_says_what_it_was_and_one_for_each_entry() -> None:
    guide = Guide(load("primary-crashed"), LOST, T0, "ann")
    guide.tick(8, T0 + 1, "ann")
    guide.tick(8, T0 + 2, "bob")
    head, *rows = [msgspec.json.decode(row) for row in to_jsonl(guide).splitlines()]
    assert head["sha256"] == guide.runbook.sha256
    assert head["steps"][str(guide.runbook.steps[3].line)] == "holds"
    assert [(one["at"], one["operator"], one["what"]) for one in rows[-2:]] == [
        (T0 + 1, "ann", "done"),
        (T0 + 2, "bob", "not done"),
    ]


def test_every_runbook_can_be_followed_and_its_text_has_each_step() -> None:
    shelf = Shelf()
    books = shelf.books()
    assert not shelf.faults
    for book in books:
        guide = Guide(book.runbook, WELL, T0, "ann")
        assert len(guide.states) == len(book.runbook.steps)
        text = document(book.runbook)
        assert text.count("#### Step ") == len(book.runbook.steps)
        assert "```probe" not in text
        assert "```console" in text, "the commands on paper stay"


def test_names_are_never_markup() -> None:
    text = f"{HEAD}# X\n\n```note\ntext: look at [bold]this[/bold]\n```\n"
    guide = Guide(parse(text, Path("x.md")), WELL, T0, "ann")
    shown = text_of(step_line(1, guide.runbook.steps[0], guide.states[0]))
    assert shown == "○  1 note   look at [bold]this[/bold]"
