"""An operator at the console over a real pair: changes planned and not, doubts, and silence."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from textual.pilot import Pilot

from interlock.cli.embedded import EmbeddedPair
from interlock.client.control import ControlClient
from interlock.console import conduct, hands, workflow
from interlock.console.app import ConsoleApp, Options
from interlock.console.hands import Fate, Hands, NoAnswer
from interlock.console.inputs import Acted
from interlock.console.recorder import read_recording
from interlock.console.source import LiveSource
from interlock.console.workflow import Typed
from interlock.shared.operations import Operation, Preflight, Request
from interlock.shared.roles import NodeState
from support.pair import pair_of, wait_for

from .kit import drive, paste, screen_text, shows, shows_no_more, type_text, until

SIZE = (120, 40)
ATTESTED = "a is stopped and stays stopped, not promoted and not in solo since the link broke"


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[EmbeddedPair]:
    with pair_of(tmp_path) as made:
        yield made


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPair]:
    """One pair for the tests that leave it as it was."""
    with pair_of(tmp_path_factory.mktemp("calm")) as made:
        yield made


def console(pair: EmbeddedPair, record: Path | None = None, **options: object) -> ConsoleApp:
    return ConsoleApp(
        LiveSource(pair.config, record),
        Options("ann", **options),  # type: ignore[arg-type]
        pair.config,
    )


def state(pair: EmbeddedPair, node: str) -> str:
    status = ControlClient(pair.config).statuses(1.0)[node]
    return status.state if status else ""


def resume(pair: EmbeddedPair) -> None:
    """Has the intake take submissions again."""
    control = ControlClient(pair.config)
    token = control.preflight(Request(Operation.RESUME, "a")).token
    done = control.execute("a", token, "bob", "the next test", "a")
    assert done is not None


async def fill(pilot: Pilot[None], node: str, attest: str = "") -> None:
    """Types what every operation needs, waits until it may be sent, and goes to the button."""
    await type_text(pilot, "reason", "drill")
    if attest:
        await paste(pilot, "attest", attest)
    await type_text(pilot, "confirm", node)
    await shows(pilot, "everything is there")
    await pilot.press("enter")


async def choose(pilot: Pilot[None], operation: str) -> None:
    """Opens an operation from the menu."""
    await pilot.press("4")
    await shows(pilot, "switchover")
    menu = pilot.app.screen.query_one("#menu")
    ids = [option.id for option in menu.options]  # type: ignore[attr-defined]
    menu.highlighted = ids.index(operation)  # type: ignore[attr-defined]
    await pilot.press("enter")
    await shows(pilot, "loss ledger")


def test_a_switchover_from_the_menu(pair: EmbeddedPair, tmp_path: Path) -> None:
    record = tmp_path / "flight.jsonl"
    app = console(pair, record)

    async def play(pilot: Pilot[None]) -> None:
        await shows(pilot, "gate OPEN led by a")
        await choose(pilot, "switchover")
        assert "ok  standby has caught up" in screen_text(app)
        await pilot.press("enter", "enter", "enter")  # an impatient hand sends nothing
        assert app.active is not None
        assert app.active.workflow.sent_at is None
        await fill(pilot, "a")
        assert state(pair, "a") == NodeState.GATED.value
        await pilot.press("enter")
        seen = await shows(pilot, " DONE ")
        assert "nothing was released for" in seen
        await pilot.press("escape", "1")
        await shows(pilot, "gate OPEN led by b")
        await pilot.press("5")
        seen = await shows(pilot, "switchover a")
        assert "ann" in seen
        await pilot.press("enter")
        await shows(pilot, "receipt")

    drive(app, SIZE, play)
    assert (state(pair, "a"), state(pair, "b")) == ("IN_SYNC", "GATED")
    acted = [told for told in read_recording(record).inputs if hasattr(told, "operator")]
    assert [told.text.partition(" ")[0] for told in acted] == ["sent,", "DONE:"]


def test_service_is_brought_back_after_a_kill_and_the_old_primary_reinstated(
    pair: EmbeddedPair,
) -> None:
    """What a new operator does: o, type, enter; and the same again when the node is back."""
    app = console(pair)

    async def play(pilot: Pilot[None]) -> None:
        await shows(pilot, "gate OPEN led by a")
        pair.kill("a")
        await shows(pilot, "press o to look at: promote b")
        await pilot.press("o")
        await shows(pilot, "releases at once, UNPROTECTED until a follows again")
        await pilot.press("down", "enter")
        await shows(pilot, ATTESTED)
        await shows(pilot, "UNPROTECTED: b leads in solo")
        await fill(pilot, "b", ATTESTED)
        await pilot.press("enter")
        await shows(pilot, " DONE ")
        await pilot.press("escape")
        await shows(pilot, "UNPROTECTED")
        assert state(pair, "b") == "SOLO"
        pair.start("a")
        await shows(pilot, "press o to look at: reinstate a")
        await pilot.press("o")
        await shows(pilot, "ok  state fits: a is FENCED")
        await fill(pilot, "a")
        await pilot.press("enter")
        await shows(pilot, " DONE ")
        await pilot.press("escape")
        await shows(pilot, "gate OPEN led by b")

    drive(app, SIZE, play)


def test_a_guard_that_fails_is_shown_and_nothing_can_be_sent(calm: EmbeddedPair) -> None:
    app = console(calm)

    async def play(pilot: Pilot[None]) -> None:
        await shows(pilot, "gate OPEN led by a")
        await choose(pilot, "promote")
        seen = await shows(pilot, "NO  the primary does not serve this standby")
        for part in ("observed:", "needed:", "do:", "guard fails"):
            assert part in seen
        await type_text(pilot, "reason", "x")
        await type_text(pilot, "confirm", "b")
        assert app.screen.query_one("#send").disabled
        await pilot.press("escape")
        await until(pilot, "the dialog to be closed", lambda: app.active is None)

    drive(app, SIZE, play)
    assert state(calm, "b") == "IN_SYNC"


def test_the_table_lives_and_a_change_takes_the_confirmation_away(calm: EmbeddedPair) -> None:
    app = console(calm)

    async def play(pilot: Pilot[None]) -> None:
        await shows(pilot, "gate OPEN led by a")
        await choose(pilot, "switchover")
        await fill(pilot, "a")
        calm.kill("b")
        seen = await shows(pilot, "NO  standby has caught up")
        assert "the guards have changed: confirm again" in seen
        assert app.screen.query_one("#confirm").value == ""  # type: ignore[attr-defined]

    drive(app, SIZE, play)
    calm.start("b")
    calm.wait_until_gated()


def test_refused_shows_the_guard(calm: EmbeddedPair, monkeypatch: pytest.MonkeyPatch) -> None:
    """The world moves between the last look and the button."""
    monkeypatch.setattr(conduct, "LOOK_EVERY_S", 60.0)
    monkeypatch.setattr(workflow, "OLD_AFTER_S", 60.0)
    app = console(calm)

    async def play(pilot: Pilot[None]) -> None:
        await shows(pilot, "gate OPEN led by a")
        await choose(pilot, "pause")
        await fill(pilot, "a")
        control = ControlClient(calm.config)
        other = control.preflight(Request(Operation.PAUSE, "a"))
        control.execute("a", other.token, "bob", "first", "a")
        await pilot.press("enter")
        seen = await shows(pilot, " REFUSED ")
        assert "intake is not paused: observed" in " ".join(seen.split())
        assert "nothing was changed" in seen

    drive(app, SIZE, play)
    resume(calm)


def test_unknown_locks_until_it_is_settled(
    calm: EmbeddedPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is done, and the answer is lost on its way."""
    execute = Hands.execute

    def lost(one: Hands, preflight: Preflight, typed: Typed) -> NoAnswer:
        execute(one, preflight, typed)
        return NoAnswer("a has not answered within 30 s")

    monkeypatch.setattr(Hands, "execute", lost)
    monkeypatch.setattr(conduct, "SETTLE_EVERY_S", 1.0)
    answered = asyncio.Event()
    fate = Hands.fate

    def later(one: Hands, preflight: Preflight, incarnation: int | None) -> Fate:
        unsettled = Fate(None, "", False, "a does not answer; b does not know it")
        return fate(one, preflight, incarnation) if answered.is_set() else unsettled

    monkeypatch.setattr(Hands, "fate", later)
    app = console(calm)

    async def play(pilot: Pilot[None]) -> None:
        await shows(pilot, "gate OPEN led by a")
        await choose(pilot, "pause")
        await fill(pilot, "a")
        await pilot.press("enter")
        await shows(pilot, " UNKNOWN ")
        await shows(pilot, "may have happened, may still happen, or may not")
        await shows(pilot, "asked both nodes: a does not answer")
        await pilot.press("escape")
        app.operate(Request(Operation.SWITCHOVER, "a"))
        await shows(pilot, "another operation is not settled yet")
        answered.set()
        await shows(pilot, "pause a   done")

    drive(app, SIZE, play)
    status = ControlClient(calm.config).statuses(1.0)["a"]
    assert status is not None
    assert status.paused
    resume(calm)


def test_what_a_frozen_node_never_heard_is_settled_when_the_token_is_dead(
    calm: EmbeddedPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hands, "EXECUTE_S", 0.5)
    monkeypatch.setattr(conduct, "LOOK_EVERY_S", 60.0)
    monkeypatch.setattr(workflow, "OLD_AFTER_S", 60.0)
    monkeypatch.setattr(conduct, "TOKEN_S", 3.0)
    app = console(calm)

    async def play(pilot: Pilot[None]) -> None:
        await shows(pilot, "gate OPEN led by a")
        await choose(pilot, "pause")
        await fill(pilot, "a")
        calm.kill("a", signal.SIGSTOP)
        await pilot.press("enter")
        await shows(pilot, " UNKNOWN ")
        calm.kill("a", signal.SIGCONT)
        await shows(pilot, "a never began it, and its token has expired")

    drive(app, SIZE, play)
    status = ControlClient(calm.config).statuses(1.0)["a"]
    assert status is not None
    assert not status.paused


def test_solo_and_gate(pair: EmbeddedPair) -> None:
    app = console(pair)
    attested = "b is stopped and stays stopped, not promoted and not in solo since the link broke"

    async def play(pilot: Pilot[None]) -> None:
        await shows(pilot, "gate OPEN led by a")
        pair.kill("b")
        await shows(pilot, "press o to look at: solo a")
        await pilot.press("o")
        await shows(pilot, attested)
        await fill(pilot, "a", attested)
        await pilot.press("enter")
        await shows(pilot, " DONE ")
        await pilot.press("escape")
        await shows(pilot, "released without a standby")
        await choose(pilot, "gate")
        await fill(pilot, "a")
        await pilot.press("enter")
        await shows(pilot, " DONE ")
        await pilot.press("escape", "1")
        await shows(pilot, "gate HELD")

    drive(app, SIZE, play)
    assert state(pair, "a") == "STALLED"


def test_stale_data_looks_stale_and_disables_what_depends_on_it(calm: EmbeddedPair) -> None:
    app = console(calm)

    async def play(pilot: Pilot[None]) -> None:
        await shows(pilot, "gate OPEN led by a")
        for name in "ab":
            calm.kill(name, signal.SIGSTOP)
        seen = await shows(pilot, "~GATED  no answer for")
        assert "~IN_SYNC" in await shows(pilot, "~IN_SYNC")
        assert "gate OPEN" not in seen
        app.operate(Request(Operation.SWITCHOVER, "a"))
        await shows(pilot, "disabled: what a says is")
        assert app.active is None
        for name in "ab":
            calm.kill(name, signal.SIGCONT)
        await shows(pilot, "gate OPEN led by")

    drive(app, SIZE, play)


def test_both_nodes_down_at_the_start(tmp_path: Path) -> None:
    with pair_of(tmp_path, nodes="") as pair:
        app = console(pair)

        async def play(pilot: Pilot[None]) -> None:
            await shows(pilot, "neither a nor b answers")
            pair.start("a")
            pair.start("b")
            await shows(pilot, "gate OPEN led by a", 30)

        drive(app, SIZE, play)


def test_a_read_only_console_operates_nothing(calm: EmbeddedPair) -> None:
    app = console(calm, read_only=True)

    async def play(pilot: Pilot[None]) -> None:
        await shows(pilot, "READ-ONLY")
        await shows(pilot, "gate OPEN led by a")
        app.operate(Request(Operation.SWITCHOVER, "a"))
        await shows(pilot, "this console is read-only")
        assert app.active is None
        assert "switchover a" not in [one.title for one in app.get_system_commands(app.screen)]

    drive(app, SIZE, play)


def test_the_log_is_followed_and_searched(calm: EmbeddedPair) -> None:
    from interlock import Producer

    app = console(calm)

    async def play(pilot: Pilot[None]) -> None:
        await shows(pilot, "gate OPEN led by a")
        with Producer("or[ders]", calm.config) as producer:
            seqs = [producer.send(b"order %d" % n).result(10) for n in range(30)]
        await pilot.press("3")
        await shows(pilot, "order 29")
        await pilot.press("slash")
        await paste(pilot, "search", "or[ders]")
        await pilot.press("enter")
        await shows(pilot, "looked through seq")
        await pilot.press("slash", *str(seqs[0]), "enter")
        await until(pilot, "the place", lambda: "order 0" in screen_text(app))

    drive(app, SIZE, play)
    assert wait_for("the pair to go on", lambda: state(calm, "a")) == "GATED"


def test_a_runbook_ticks_over_a_pair_and_is_in_the_recording(
    calm: EmbeddedPair, tmp_path: Path
) -> None:
    app = console(calm, tmp_path / "rec.jsonl")

    async def play(pilot: Pilot[None]) -> None:
        await pilot.press("7")
        await shows(pilot, "runbooks, those that fit")
        app.open_runbook("planned-switchover")
        await shows(pilot, "✓  1 probe")
        await shows(pilot, "enter: see what it needs")
        await pilot.press("enter")
        await shows(pilot, "loss ledger")
        assert app.active is not None
        assert app.active.workflow.request == Request(Operation.SWITCHOVER, "a")
        await pilot.press("escape")
        await shows_no_more(pilot, "loss ledger")
        await pilot.press("e")
        await until(pilot, "both to be kept", lambda: len(app.source.model.actions) == 2)

    drive(app, SIZE, play)
    kept = read_recording(tmp_path / "rec.jsonl").inputs
    told = [one.what for one in kept if isinstance(one, Acted)]
    about = "runbook planned-switchover: planned-switchover"
    assert told == [f"{about} opened", f"{about} closed"]
