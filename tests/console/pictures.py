"""Every picture of the console: what is drawn, when in the story, and how large.

`make screens` draws them into docs/screens; `test_screens` compares their letters with those in
`tests/golden/screens`.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Final

import msgspec
from textual.pilot import Pilot

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from console.desk import ATTESTED, PROMOTE, desk
from console.kit import at_rest, paste, shows, shows_no_more
from interlock.console.app import ConsoleApp
from interlock.console.modals.base import Dialog

Play = Callable[[Pilot[None]], Awaitable[object]]
LARGE, SMALL = (160, 48), (80, 24)
FOLDER: Final = Path(__file__).resolve().parents[2] / "docs" / "screens"


class Picture(msgspec.Struct, frozen=True):
    """`keys` lead from the overview to it, `play` does what keys do not, and it is not complete
    before `shows` is on it."""

    name: str
    at_s: float
    shows: str
    keys: tuple[str, ...] = ()
    play: Play | None = None
    light: bool = False


async def _dialog(pilot: Pilot[None]) -> None:
    app = pilot.app
    assert isinstance(app, ConsoleApp)
    app.operate(PROMOTE)
    await shows(pilot, "loss ledger")


async def _ready(pilot: Pilot[None]) -> None:
    await _dialog(pilot)
    for name, text in (("reason", "a has no power"), ("attest", ATTESTED), ("confirm", "b")):
        await paste(pilot, name, text)
    await shows(pilot, "everything is there")


async def _receipt(pilot: Pilot[None]) -> None:
    await _ready(pilot)
    pilot.app.screen.query_one("#send").action_press()  # type: ignore[attr-defined]
    await shows(pilot, " DONE ")
    await shows_no_more(pilot, "RUNNING")  # the header is painted after the dialog


QUIT = "^q Quit"  # the footer comes last
PICTURES: Final = (
    Picture("overview", 15, QUIT),
    Picture("overview-lost", 30, QUIT),
    Picture("overview-solo", 55, QUIT),
    Picture("clients", 55, QUIT, ("2",)),
    Picture("log", 55, "103,762  08:00:40Z  4", ("3",)),
    Picture("operations", 55, "Enter shows what it needs", ("4",)),
    Picture("history", 55, "2027-01-15 07:55:00  801 ", ("5",)),
    Picture("alarms", 55, "■ 1 CRITICAL  active ", ("6",)),
    Picture("runbooks", 30, "now  The primary has crashed", ("7",)),
    Picture("runbook", 30, "enter: see what it needs", ("6", "r")),
    Picture("choice", 30, "releases at once, UNPROTECTED", ("o",)),
    Picture("workflow", 30, "everything is there", play=_ready),
    Picture("receipt", 40, "attested:", play=_receipt),
    Picture("help", 15, "esc close", ("question_mark",)),
    Picture("overview-light", 15, QUIT, light=True),
)


def scenes(pictures: Iterable[Picture]) -> list[list[Picture]]:
    """Those of one moment together: they are taken with one console, one after the other."""
    found: dict[tuple[float, bool], list[Picture]] = {}
    for picture in pictures:
        found.setdefault((picture.at_s, picture.light), []).append(picture)
    return list(found.values())


async def take(
    scene: list[Picture], size: tuple[int, int], folder: Path
) -> list[tuple[str, str, str]]:
    """Each picture's name, letters and SVG. `folder` is for the recording that is drawn from."""
    app = desk(folder, scene[0].at_s, light=scene[0].light)
    taken = []
    async with app.run_test(size=size, notifications=True) as pilot:
        for picture in scene:
            while isinstance(app.screen, Dialog):
                app.screen.dismiss(None)
                await pilot.pause()
            await pilot.press("1", *picture.keys)
            if picture.play is not None:
                await picture.play(pilot)
            seen = await at_rest(pilot, picture.shows)
            svg = app.export_screenshot(title=f"interlock: {picture.name}")
            taken.append((picture.name, seen, svg))
    return taken


def draw(pictures: Iterable[Picture], folder: Path) -> None:
    """All of them into files, large and, some of them, small."""
    folder.mkdir(exist_ok=True)
    for old in folder.glob("*.svg"):
        old.unlink()
    with tempfile.TemporaryDirectory() as place:
        for scene in scenes(pictures):
            for suffix, size in (("", LARGE), ("-80x24", SMALL)):
                for name, _, svg in asyncio.run(take(scene, size, Path(place))):
                    if size is LARGE or name in SMALL_TOO:
                        (folder / f"{name}{suffix}.svg").write_text(svg + "\n", "utf-8")


SMALL_TOO: Final = ("overview", "overview-lost", "workflow")


if __name__ == "__main__":
    draw(PICTURES, FOLDER)
