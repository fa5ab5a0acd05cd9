"""The demo under the console: broken and mended with `d`, left with a verdict or without."""

from __future__ import annotations

from pathlib import Path

from textual.pilot import Pilot

from interlock.cli.demo_console import DemoSession
from interlock.cli.demo_run import DemoRun
from interlock.cli.demo_workers import WorkerOptions
from interlock.console.app import ConsoleApp, Options
from interlock.console.source import LiveSource
from interlock.shared.config import AckLevel
from support.pair import wait_for

from .kit import drive, shows


def session_in(folder: Path) -> DemoSession:
    options = WorkerOptions("demo", 10_000_000, 128, 1, 2_000.0, False, 65_536)
    return DemoSession(DemoRun(options, folder / "pair", AckLevel.WRITTEN, ""))


def test_a_demo_that_is_left_is_judged(tmp_path: Path) -> None:
    session = session_in(tmp_path)
    session.begin()
    wait_for("messages", lambda: session.news()[-1].endswith("in order"))
    report = session.end()
    assert report is not None
    assert report.ok
    assert report.messages == report.confirmed == report.delivered > 0


def test_a_demo_with_keys_says_so(tmp_path: Path) -> None:
    options = WorkerOptions("demo", 1_000, 128, 1, 0.0, False, 65_536)
    run = DemoRun(options, tmp_path / "pair", AckLevel.WRITTEN, "", secure=True)
    report = run.run()
    assert (report.ok, report.secure, report.delivered) == (True, True, 1_000)
    assert (tmp_path / "pair" / "keys" / "allowed.toml").exists()
    assert all(node and node.security for node in run.nodes.values())


def test_a_node_is_frozen_killed_and_started_again_from_the_dialog(tmp_path: Path) -> None:
    session = session_in(tmp_path)
    session.begin()
    try:
        run = session._run
        assert run.pair is not None
        app = ConsoleApp(LiveSource(run.pair.config), Options("ann"), run.pair.config, session)

        async def play(pilot: Pilot[None]) -> None:
            await shows(pilot, "gate OPEN led by a")
            await pilot.press("d", "enter")
            await shows(pilot, "no gap, no duplicate, in order")
            assert all(one.runs for one in session.processes()), "Enter alone did something"
            await pilot.press("tab", "tab", "enter")
            await shows(pilot, "frozen")
            await pilot.press("enter")
            await pilot.press("shift+tab", "enter")
            await shows(pilot, "has ended")
            await pilot.press("escape")
            await shows(pilot, "nobody leads")
            await pilot.press("d")
            await shows(pilot, "the demo's pair")
            await pilot.press("tab", "enter", "escape")
            await shows(pilot, "gate OPEN led by a")

        drive(app, (120, 40), play)
        session.kill("b")
    finally:
        report = session.end()
    assert report is None, "it was left while broken, and judged"
