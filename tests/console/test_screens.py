"""Every screen and dialog: what it shows at 80x24 and 160x48, letter by letter.

`INTERLOCK_UPDATE_SCREENS=1 pytest tests/console/test_screens.py` writes the pictures anew; look at
the difference before it is kept. The pages' screenshots are drawn from the same story.
"""

from __future__ import annotations

import asyncio
import os
import re
from pathlib import Path

import pytest
from textual.pilot import Pilot

from interlock.console.app import ConsoleApp, Options
from interlock.console.source import ReplaySource

from .kit import at_rest, drive, gated_pair, recording, screen_text, story
from .pictures import FOLDER, LARGE, PICTURES, SMALL, SMALL_TOO, Picture, scenes, take

TEXTS = Path(__file__).resolve().parents[1] / "golden" / "screens"
DARK = [picture for picture in PICTURES if not picture.light]  # the letters of the light are theirs
LOST_S, SOLO_S = 30.0, 55.0


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For the recording that all pictures are drawn from."""
    return tmp_path_factory.mktemp("story")


def replay(tmp_path: Path, at_s: float) -> ConsoleApp:
    source = ReplaySource(recording(tmp_path / "r.jsonl", story()), at_s)
    source.player.paused = True
    return ConsoleApp(source, Options("ann", read_only=True))


@pytest.mark.parametrize("size", [SMALL, LARGE], ids=lambda size: f"{size[0]}x{size[1]}")
@pytest.mark.parametrize("scene", scenes(DARK), ids=lambda scene: scene[0].name)
def test_each_picture_is_as_it_was(
    folder: Path, scene: list[Picture], size: tuple[int, int]
) -> None:
    for name, seen, _ in asyncio.run(take(scene, size, folder)):
        path = TEXTS / f"{name}-{size[0]}x{size[1]}.txt"
        if os.environ.get("INTERLOCK_UPDATE_SCREENS"):
            path.parent.mkdir(exist_ok=True)
            path.write_text(seen + "\n", "utf-8")
        assert seen + "\n" == path.read_text("utf-8"), f"{path.name} shows something else:\n{seen}"


def test_the_pages_have_each_picture_and_no_other() -> None:
    wanted = {f"{picture.name}.svg" for picture in PICTURES}
    wanted |= {f"{name}-80x24.svg" for name in SMALL_TOO}
    assert {path.name for path in FOLDER.iterdir()} == wanted, "run: make screens"


@pytest.mark.parametrize("size", [(80, 24), (112, 34), (250, 70), (60, 16)])
def test_what_matters_is_seen_at_every_size(tmp_path: Path, size: tuple[int, int]) -> None:
    app = replay(tmp_path, LOST_S)

    async def look(pilot: Pilot[None]) -> None:
        seen = await at_rest(pilot)
        assert "NOBODY LEADS" in seen
        assert "~GATED" in seen
        assert "ORPHANED" in seen
        assert max(map(len, seen.splitlines())) <= size[0]

    drive(app, size, look)


def test_a_replay_is_paused_moved_and_sped_up_by_keys(tmp_path: Path) -> None:
    app = replay(tmp_path, 10.0)

    async def play(pilot: Pilot[None]) -> None:
        source = app.source
        assert isinstance(source, ReplaySource)
        start = source.player.at
        await pilot.press("full_stop")
        assert source.player.at == start + 10
        await pilot.press("less_than_sign")
        assert source.player.at == source.player.recording.begins
        await pilot.press("right_square_bracket")
        assert source.player.speed == 2.0
        await pilot.press("space")
        assert not source.player.paused
        await pilot.pause(0.6)
        assert source.player.at > source.player.recording.begins
        assert "REPLAY x2" in screen_text(app)

    drive(app, (120, 40), play)


def test_a_replay_operates_nothing(tmp_path: Path) -> None:
    app = replay(tmp_path, 30.0)

    async def play(pilot: Pilot[None]) -> None:
        await pilot.press("o")
        assert "this console is read-only" in await at_rest(pilot)
        assert app.active is None

    drive(app, (120, 40), play)


def test_without_colours_nothing_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    app = replay(tmp_path, SOLO_S)

    async def look(pilot: Pilot[None]) -> None:
        seen = await at_rest(pilot)
        assert "UNPROTECTED" in seen
        assert "■ 1 CRITICAL" in seen
        colours = set(re.findall(r"#[0-9a-f]{6}", app.export_screenshot()))
        drawn = {one for one in colours if len({one[1:3], one[3:5], one[5:7]}) > 1}
        assert drawn <= {"#ff5f57", "#febc2e", "#28c840", "#c5c8c6", "#608ab1", "#292929"}

    drive(app, (160, 48), look)


def test_both_themes_draw(tmp_path: Path) -> None:
    app = replay(tmp_path, SOLO_S)

    async def look(pilot: Pilot[None]) -> None:
        before = await at_rest(pilot)
        await pilot.press("t")
        assert await at_rest(pilot) == before
        assert app.theme == "interlock-light"

    drive(app, (120, 40), look)


def test_names_are_never_markup(tmp_path: Path) -> None:
    assert any("or[der]s" in repr(told) for told in gated_pair(0, 1))
    app = replay(tmp_path, 10.0)

    async def look(pilot: Pilot[None]) -> None:
        await pilot.press("2")
        assert "or[der]s" in await at_rest(pilot)

    drive(app, (120, 40), look)


def test_keys_do_not_clash_with_tmux_or_screen() -> None:
    keys = {binding.key for binding in ConsoleApp.BINDINGS}  # type: ignore[union-attr]
    assert not keys & {"ctrl+a", "ctrl+b", "ctrl+s", "ctrl+z", "ctrl+c"}
