"""A console with keys: what its own key may not see is no trouble of the pair, who refuses it is
named, and nobody types a name."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.widgets import Input as Field
from typer.testing import CliRunner

from interlock.cli.embedded import EmbeddedPair
from interlock.cli.main import app as command
from interlock.client.control import ask_status
from interlock.client.errors import DeniedError
from interlock.console import run
from interlock.console.app import ConsoleApp, Options
from interlock.console.clock import Clock
from interlock.console.feed import Feed
from interlock.console.freshness import Freshness
from interlock.console.inputs import FeedShut, HeadSeen, Silent
from interlock.console.logbook import Logbook, Page
from interlock.console.modals.approve import ApproveDialog
from interlock.console.model import Model
from interlock.console.recorder import read_recording
from interlock.console.source import LiveSource
from interlock.shared.config import load_config
from interlock.shared.credentials import ENVIRONMENT
from interlock.shared.errors import UserError
from interlock.shared.keyring import FILE, read_ring, write_ring
from interlock.shared.operations import Operation, Request

from .kit import SETTING, T0, drive, gated_pair, heard, recording, shows, status, told

SIZE = (140, 44)
QUIET_S = 3.5
KEYS = {"obs": "observer", "second": "approver", "reader": "consumer", "gone": "operator"}
DENIED = "node a does not let key mallory in"


# The model ------------------------------------------------------------------------------------


def test_a_feed_that_is_not_for_this_key_is_no_silent_feed() -> None:
    """It was read, and then its role was taken away."""
    model = Model(SETTING)
    why = "key obs has no role for feed"
    for step in range(40):
        at = T0 + step / 4
        for one in gated_pair(at, 1_000)[: 3 if step < 8 else 2]:
            model.fold(one)
        if step == 8:
            model.fold(FeedShut(at, "a", why))
        model.advance(at)
    view = model.view(T0 + 10)
    assert (view.alarms, view.disagreements) == ([], [])
    assert (view.feed_age_s, view.feed_seq, view.feed_shut) == (None, None, why)
    assert all(node.freshness is Freshness.FRESH for node in view.nodes)
    model.fold(HeadSeen(T0 + 10, "a", 3, 1_000))
    assert model.view(T0 + 10).feed_shut == ""


def test_a_node_that_refuses_the_key_is_lost_and_says_why() -> None:
    well = gated_pair(T0, 1_000)
    again = heard(T0 + 9, status("b", "secondary", "IN_SYNC", T0 + 9))
    view = told(*well, Silent(T0 + 8, "a", DENIED, denied=True), again, now=T0 + 9).view(T0 + 12)
    lost = view.node("a")
    assert (lost.freshness, lost.denied, lost.why_silent) == (Freshness.STALE, True, DENIED)
    assert not view.node("b").denied
    answer = heard(T0 + 12, status("a", "primary", "GATED", T0 + 12), 1.0)
    assert (
        not told(Silent(T0, "a", DENIED, denied=True), answer, now=T0 + 12).view(T0).nodes[0].denied
    )


def test_what_shuts_a_feed_is_in_the_recording(tmp_path: Path) -> None:
    inputs = [*gated_pair(T0, 1), FeedShut(T0, "a", "no role"), Silent(T0, "b", "x", denied=True)]
    assert read_recording(recording(tmp_path / "r", inputs)).inputs == inputs


# A pair with keys -----------------------------------------------------------------------------


def keys(pair: EmbeddedPair, *words: str) -> None:
    done = CliRunner().invoke(command, ["keys", *words, "-c", pair.config.path])
    assert done.exit_code == 0, done.output


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPair]:
    with EmbeddedPair(tmp_path_factory.mktemp("pair") / "p", secure=True) as made:
        for name, role in KEYS.items():
            keys(made, "new", name, "--role", role)
        keys(made, "revoke", "gone")
        made.start("a")
        made.start("b")
        made.wait_until_gated()
        yield made


@pytest.fixture(autouse=True)
def _usual_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ENVIRONMENT, raising=False)


def hears(feed: Feed, model: Model, seconds: float = 10.0) -> Iterator[Model]:
    """The model with all that has come, again and again."""
    clock = Clock()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for one in feed.take():
            model.fold(one)
        model.advance(clock.now())
        yield model
        time.sleep(0.02)
    raise AssertionError(f"it did not come; {model.view(clock.now())}")


@pytest.mark.parametrize("key", ["obs", "second", ""])
def test_each_key_sees_what_it_may_and_raises_no_alarm(
    pair: EmbeddedPair, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An observer and an approver have no feed: nothing is lost because of it, and the node is not
    asked again and again for what it refuses."""
    if key:
        monkeypatch.setenv(ENVIRONMENT, key)
    clock = Clock()
    feed = Feed(pair.config, clock)
    feed.start()
    try:
        began = clock.now()
        for model in hears(feed, Model(SETTING)):
            view = model.view(clock.now())
            whole = all(node.answers and node.usable for node in view.nodes)
            reads = view.feed_seq is not None
            # Long enough for a node that is not heard, or a feed, to be called so.
            if whole and (key or reads) and clock.now() - began > QUIET_S:
                break
        assert (view.alarms, view.disagreements) == ([], [])
        assert view.feed_shut == (f"key {key} has no role for feed" if key else "")
        assert [node.status.refused for node in view.nodes if node.status] == [{}, {}]
    finally:
        feed.stop()


def test_the_log_is_for_keys_that_may_read_it(
    pair: EmbeddedPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = Logbook(pair.config).tail(0)
    assert isinstance(found, Page)
    assert found.records
    monkeypatch.setenv(ENVIRONMENT, "obs")
    assert Logbook(pair.config).tail(0) == (
        "key obs has no role to read the log: consumer or operator"
    )
    for said in ask_status(pair.config).values():
        assert said is not None
        assert not [reason for reason in said.refused if reason.startswith("replay.")]


@pytest.mark.parametrize("key", ["gone", "reader"])
def test_a_console_with_a_key_that_is_not_let_in_says_so_and_shows_no_screen(
    pair: EmbeddedPair, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ENVIRONMENT, key)
    with pytest.raises(DeniedError, match=rf"does not let key {key} .* in at .*: it is not in its"):
        run.check_key(pair.config)
    picture = CliRunner().invoke(
        command, ["console", "-c", pair.config.path, "--screenshot", os.devnull]
    )
    assert picture.exit_code == 1
    assert f"does not let key {key}" in picture.output
    assert "Traceback" not in picture.output
    monkeypatch.setenv(ENVIRONMENT, "never-made")
    with pytest.raises(UserError, match="there is no key"):
        run.check_key(pair.config)


def test_a_console_of_nodes_that_are_down_begins_all_the_same(tmp_path: Path) -> None:
    with EmbeddedPair(tmp_path / "p", secure=True) as down:
        assert down.config.security is not None
        assert run.check_key(down.config) == down.config.security.operator


def test_who_operates_is_the_key_and_is_not_typed(pair: EmbeddedPair) -> None:
    name = run.check_key(pair.config)
    assert pair.config.security is not None
    assert name == pair.config.security.operator
    app = ConsoleApp(LiveSource(pair.config), Options(name, by_key=True), pair.config)

    async def play(pilot: Pilot[None]) -> None:
        await shows(pilot, "gate OPEN led by a")
        await shows(pilot, " allowed, list ")
        app.operate(Request(Operation.PAUSE, "a"))
        await shows(pilot, "loss ledger")
        who = app.screen.query_one("#operator", Field)
        assert (who.value, who.disabled) == (name, True)
        await pilot.press("escape")
        app.approve()
        await pilot.pause()
        assert isinstance(app.screen, ApproveDialog)
        who = app.screen.query_one("#operator", Field)
        assert (who.value, who.disabled) == (name, True)

    drive(app, SIZE, play)


def test_a_key_that_is_revoked_while_the_console_runs_is_the_reason_of_lost_nodes(
    pair: EmbeddedPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys(pair, "new", "leaver", "--role", "operator", "--role", "observer")
    keys(pair, "reload")
    monkeypatch.setenv(ENVIRONMENT, "leaver")
    name = run.check_key(pair.config)
    app = ConsoleApp(LiveSource(pair.config), Options(name, by_key=True), pair.config)

    async def play(pilot: Pilot[None]) -> None:
        await shows(pilot, "gate OPEN led by a")
        keys(pair, "revoke", "leaver")
        await shows(pilot, "key refused for")
        await shows(pilot, "does not let key leaver")

    drive(app, SIZE, play)


def test_a_node_whose_key_is_rotated_is_heard_on(tmp_path: Path) -> None:
    """It has two keys then, of which the older is expected first and fails: that is no refusal."""
    with EmbeddedPair(tmp_path / "p", secure=True) as made:
        made.start("a")
        feed = Feed(made.config, Clock())
        feed.start()
        try:
            fresh = Model(SETTING)
            before = ""
            for model in hears(feed, fresh):
                said = model.view(T0).node("a").status
                if said is not None and said.security is not None:
                    before = said.security.fingerprint
                    break
            for step in ((), ("--activate",)):
                keys(made, "rotate", "a", *step)
            for model in hears(feed, fresh):
                node = model.view(T0).node("a")
                assert not node.denied, node.why_silent
                assert node.status is not None
                assert node.status.security is not None
                if node.status.security.fingerprint != before and node.answers:
                    break
            told = ask_status(made.config, 1.0)["a"]
            assert told is not None
            assert told.security is not None
            assert told.security.fingerprint != before
        finally:
            feed.stop()


def test_a_list_that_lacks_a_node_does_not_end_the_feed(tmp_path: Path) -> None:
    """Nobody there could prove to be that node: it is said, and the other one is heard."""
    with EmbeddedPair(tmp_path / "p", secure=True) as made:
        made.start("a")
        folder = made.config.keys_folder()
        assert folder is not None
        elsewhere = tmp_path / "keys"
        shutil.copytree(folder, elsewhere)
        entries = read_ring(folder / FILE).entries
        write_ring(elsewhere / FILE, {name: one for name, one in entries.items() if name != "b"})
        toml = Path(made.config.path).read_text("utf-8")
        here = tmp_path / "p" / "console.toml"
        here.write_text(toml.replace('keys = "keys"', f'keys = "{elsewhere}"'), "utf-8")
        feed = Feed(load_config(here), Clock())
        feed.start()
        try:
            for model in hears(feed, Model(SETTING)):
                a, b = model.view(T0).nodes
                if a.answers and "node b has no key of role peer" in b.why_silent:
                    break
        finally:
            feed.stop()
