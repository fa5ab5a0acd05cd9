"""The Runbooks screen: a runbook followed by keys, over the story of a killed primary."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from textual.pilot import Pilot
from textual.widgets import Markdown, OptionList

from interlock.console.app import ConsoleApp, Options
from interlock.console.guide import Guide, Mark
from interlock.console.modals.branch import BranchDialog
from interlock.console.modals.workflow import WorkflowDialog
from interlock.console.run import screenshot
from interlock.console.screens.runbooks import RunbooksScreen
from interlock.console.source import ReplaySource
from interlock.shared.operations import Operation, Request

from .desk import ATTESTED, PROMOTED, Still, desk
from .kit import T0, at_rest, drive, paste, recording, shows, story, until

SIZE = (110, 36)
LOST_S, SOLO_S = 30.0, 55.0
PROMOTE, START, DECIDE, REINSTATE = 5, 8, 10, 11  # steps of primary-crashed, from 0


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For the recording that is played."""
    return tmp_path_factory.mktemp("story")


@pytest.fixture
def app(stage: Path) -> ConsoleApp:
    """The primary is lost, and nobody was promoted yet."""
    return desk(stage, LOST_S)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def guide_of(app: ConsoleApp, name: str = "primary-crashed") -> Guide:
    found = app.guides.of(name)
    assert found is not None
    return found


def later(app: ConsoleApp, at_s: float) -> None:
    """The story goes on to another moment."""
    assert isinstance(app.source, ReplaySource)
    app.source.player.skip(at_s - (app.source.player.at - T0))
    app.source.clock = Still(T0 + at_s)
    app.tick()


async def from_the_alarm(pilot: Pilot[None]) -> None:
    """The way of somebody whom an alarm has called."""
    await pilot.press("6")
    await shows(pilot, "runbook primary-crashed")
    await pilot.press("r")
    await shows(pilot, "old is a")
    await shows(pilot, "enter: see what it needs")


async def to_step(pilot: Pilot[None], index: int) -> None:
    steps = pilot.app.screen.query_one("#steps", OptionList)
    steps.highlighted = index
    await pilot.pause()


def test_who_comes_to_the_list_is_at_what_fits_now(stage: Path) -> None:
    """Not at what was chosen when all was well: an alarm calls, and enter must open its runbook."""
    app = desk(stage, 15.0)

    async def play(pilot: Pilot[None]) -> None:
        await pilot.press("7")
        await shows(pilot, "The nodes' clocks differ")
        await pilot.press("1")
        later(app, LOST_S)
        await shows(pilot, "nobody leads")
        await pilot.press("7")
        await at_rest(pilot, "now  The primary has crashed")
        await pilot.press("enter")
        await shows(pilot, "old is a")
        assert app.guides.of("primary-crashed") is not None

    drive(app, SIZE, play)


def test_the_list_shows_what_fits_now_first_with_badges(app: ConsoleApp) -> None:
    async def play(pilot: Pilot[None]) -> None:
        await pilot.press("7")
        seen = await at_rest(pilot, "now  The primary has crashed")
        rows = seen.splitlines()
        first = next(i for i, row in enumerate(rows) if "The primary has crashed" in row)
        assert "PASS 22h13m, RTO 183 ms" in rows[first]
        assert rows[first + 1].startswith(" now"), "it answers the alarm STALE"
        assert "never drilled" in rows[first + 1]
        assert "data-loss  FAIL 22h13m; changed since" in seen
        assert "runbooks, those that fit now first" in seen
        await pilot.press("enter")
        await shows(pilot, "old is a")
        await pilot.press("escape")
        await shows(pilot, "now open")

    drive(app, SIZE, play)


@pytest.mark.parametrize("size", [(80, 24), (160, 48)], ids=["small", "large"])
def test_an_alarm_opens_its_runbook_at_the_first_open_step(
    app: ConsoleApp, size: tuple[int, int]
) -> None:
    async def play(pilot: Pilot[None]) -> None:
        await from_the_alarm(pilot)
        seen = await at_rest(pilot)
        assert "✓  4 probe  the old primary does not answer" in seen
        assert "?  1 probe  the pair is gated and in sync" in seen, "a is not heard"
        assert "✗  7 probe  the new leader releases" in seen
        assert "·  3 fault  kill old" in seen
        steps = app.screen.query_one("#steps", OptionList)
        assert steps.highlighted == PROMOTE
        assert max(map(len, seen.splitlines())) <= size[0]
        await pilot.press("v")
        await shows(pilot, "Step 6" if size[0] > 80 else "The process of the primary is gone")

    drive(app, size, play)


def test_the_step_under_the_cursor_is_seen_on_the_smallest_screen(app: ConsoleApp) -> None:
    async def play(pilot: Pilot[None]) -> None:
        await from_the_alarm(pilot)
        assert " 6 action Promote" in await at_rest(pilot)

    drive(app, (60, 16), play)


def test_steps_tick_when_the_pair_changes(app: ConsoleApp) -> None:
    async def play(pilot: Pilot[None]) -> None:
        await from_the_alarm(pilot)
        guide = guide_of(app)
        assert guide.states[6].mark is Mark.WRONG
        later(app, SOLO_S)
        await shows(pilot, "✓  7 probe  the new leader releases")
        assert guide.states[6].held_at == T0 + SOLO_S
        assert guide.old == "a", "it is fixed while b leads"
        assert "holds" in [one.what for one in guide.entries if one.at == T0 + SOLO_S]

    drive(app, SIZE, play)


def test_an_action_opens_the_dialog_of_operations_and_its_receipt_is_noted(
    app: ConsoleApp,
) -> None:
    async def play(pilot: Pilot[None]) -> None:
        await from_the_alarm(pilot)
        await pilot.press("enter")
        await shows(pilot, "loss ledger")
        assert isinstance(app.screen, WorkflowDialog)
        assert app.active is not None
        assert app.active.workflow.request == Request(Operation.PROMOTE, "b", solo=True)
        assert guide_of(app).states[PROMOTE].mark is Mark.OPEN, "looking changes nothing"
        for name, text in (("reason", "no power"), ("attest", ATTESTED), ("confirm", "b")):
            await paste(pilot, name, text)
        await shows(pilot, "everything is there")
        app.screen.query_one("#send").action_press()  # type: ignore[attr-defined]
        await shows(pilot, " DONE ")
        await pilot.press("escape")
        await shows(pilot, "✓  6 action")
        last = guide_of(app).entries[-1]
        assert (last.operator, last.what) == ("ann", "promote b --solo: done")
        assert last.text == PROMOTED.text

    drive(app, SIZE, play)


def test_a_dialog_that_was_left_leaves_the_step_open(app: ConsoleApp) -> None:
    async def play(pilot: Pilot[None]) -> None:
        await from_the_alarm(pilot)
        await pilot.press("enter")
        await shows(pilot, "loss ledger")
        await pilot.press("escape")
        await until(pilot, "the dialog to be closed", lambda: app.active is None)
        await shows(pilot, "○  6 action")

    drive(app, SIZE, play)


def test_what_is_done_by_hand_and_chosen_is_ticked_and_written(app: ConsoleApp, here: Path) -> None:
    async def play(pilot: Pilot[None]) -> None:
        await from_the_alarm(pilot)
        guide = guide_of(app)
        await to_step(pilot, REINSTATE)
        await pilot.press("enter")
        await shows(pilot, "only in the branch 'fenced': decide first")
        await to_step(pilot, START)
        await pilot.press("enter")
        await shows(pilot, "by hand: do what it says")
        assert guide.states[START].mark is Mark.OPEN
        await pilot.press("x")
        await shows(pilot, "✓  9 action")
        await to_step(pilot, DECIDE)
        await pilot.press("enter")
        await shows(pilot, "nothing to do")
        assert isinstance(app.screen, BranchDialog)
        await pilot.press("down", "enter")
        await shows(pilot, "✓ 11 decide")
        assert guide.states[REINSTATE].mark is Mark.ELSEWHERE
        await pilot.press("n")
        await shows(pilot, "old is b")
        await pilot.press("e")
        await shows(pilot, "ENDED")
        await pilot.press("w")
        await until(pilot, "the file", lambda: list(here.iterdir()))

    drive(app, SIZE, play)
    (path,) = here.iterdir()
    head, *entries = [msgspec.json.decode(row) for row in path.read_bytes().splitlines()]
    assert (head["runbook"], head["old"], head["ended"]) == ("primary-crashed", "b", True)
    by_ann = [one["what"] for one in entries if one["operator"] == "ann"]
    assert by_ann == [
        "primary-crashed opened",
        "done",
        "chose follows",
        "old",
        "primary-crashed closed",
    ]
    assert {"holds", "does not hold"} <= {one["what"] for one in entries}


def test_a_read_only_console_follows_and_does_nothing(stage: Path) -> None:
    app = desk(stage, LOST_S)
    app.options = Options("ann", read_only=True)

    async def play(pilot: Pilot[None]) -> None:
        await pilot.press("7")
        await shows(pilot, "now  The primary has crashed")
        await pilot.press("enter")
        await shows(pilot, "disabled: this console is read-only")
        await pilot.press("enter")
        await shows(pilot, "this console is read-only")
        assert app.active is None
        await to_step(pilot, START)
        await pilot.press("x")
        await pilot.pause()
        assert guide_of(app).states[START].mark is Mark.OPEN

    drive(app, SIZE, play)


def test_a_run_goes_on_while_another_screen_is_seen_and_begins_anew_once_ended(
    app: ConsoleApp,
) -> None:
    async def play(pilot: Pilot[None]) -> None:
        await from_the_alarm(pilot)
        first = guide_of(app)
        await pilot.press("1")
        later(app, SOLO_S)
        assert first.states[6].mark is Mark.HOLDS, "it is looked at from everywhere"
        await pilot.press("7", "e")
        await shows(pilot, "ENDED")
        await pilot.press("escape")
        await shows(pilot, "runbooks, those that fit")
        screen = app.screen
        assert isinstance(screen, RunbooksScreen)
        screen.open("primary-crashed")
        await shows(pilot, "old is b")
        assert guide_of(app) is not first

    drive(app, SIZE, play)


def test_a_link_to_another_runbook_opens_it_here(app: ConsoleApp) -> None:
    async def play(pilot: Pilot[None]) -> None:
        await from_the_alarm(pilot)
        text = app.screen.query_one(Markdown)
        text.post_message(Markdown.LinkClicked(text, "primary-frozen.md"))
        await shows(pilot, "The primary is frozen")
        assert app.guides.of("primary-frozen") is not None
        text.post_message(Markdown.LinkClicked(text, "https://example.org/"))
        await pilot.pause()
        assert app.guides.of("primary-frozen") is not None

    drive(app, SIZE, play)


def test_a_runbook_that_is_not_there_is_said_so(app: ConsoleApp) -> None:
    async def play(pilot: Pilot[None]) -> None:
        await pilot.press("7")
        await shows(pilot, "runbooks, those that fit")
        app.open_runbook("no-such")
        await shows(pilot, "there is no runbook 'no-such'")

    drive(app, SIZE, play)


def test_a_screenshot_waits_for_the_runbooks(tmp_path: Path) -> None:
    source = ReplaySource(recording(tmp_path / "r.jsonl", story()), LOST_S)
    screenshot(source, tmp_path / "r.svg", SIZE, "runbooks")
    assert "has&#160;crashed" in (tmp_path / "r.svg").read_text("utf-8")
