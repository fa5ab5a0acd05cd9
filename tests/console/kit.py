"""What the console's tests share: statuses as a test wants them, a story, the text of a screen."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from textual.pilot import Pilot
from textual.widgets import Input as Field

from interlock.console.app import ConsoleApp
from interlock.console.inputs import HeadSeen, Heard, Input, Silent
from interlock.console.model import Model, Setting
from interlock.console.recorder import Recorder
from interlock.shared.telemetry import (
    JournalStatus,
    LinkStatus,
    NodeStatus,
    PendingStatus,
    ProducerStatus,
    SecurityStatus,
    StageStatus,
    Unprotected,
    Watermarks,
)

T = TypeVar("T")
T0 = 1_800_000_000.0
SETTING = Setting(("a", "b"), "7d0e4d2c-0000-4000-8000-000000000001", 0.25)
MIB = 1024 * 1024
AT_REST_LOOKS = 2  # that show the same
LOOK_EVERY_S = 0.1  # drawing a screen to look at it costs more than a paint


def status(
    node: str, role: str, state: str, at: float = T0, seq: int = 1_000, **other: Any
) -> NodeStatus:
    """What a node says of itself at time `at`; `other` replaces fields."""
    peer = "b" if node == "a" else "a"
    leads = role == "primary"
    plain = NodeStatus(
        cluster=SETTING.cluster,
        node=node,
        role=role,
        state=state,
        why=f"{state} as the test says",
        state_since_ns=int((T0 - 60) * 1e9),
        time_ns=int(at * 1e9),
        started_ns=int((T0 - 600) * 1e9),
        incarnation=1,
        pid=100,
        version="0",
        epoch=3,
        mode="gated",
        leader="a",
        promised_epoch=3,
        ack_level="written",
        watermarks=Watermarks(seq, seq, seq, seq, seq),
        pending=PendingStatus(0, 0, 0.0, 262_144, 64 * MIB) if leads else PendingStatus(),
        link=LinkStatus(peer=peer, up=state in ("GATED", "IN_SYNC"), peer_incarnation=1),
        journal=JournalStatus("/d", 1, 2, 64 * MIB, 64 * MIB, 40 * 1024 * MIB),
        producers=[ProducerStatus("or[der]s", True, seq, seq)] if leads else [],
        producers_known=1,
        counters={"bytes": seq * 100, "replay-chunks": 3},
        refused={},
        events=[f"12:00:00Z {node} is {state}"],
        promotable=role == "secondary",
    )
    return msgspec.structs.replace(plain, **other)


def heard(at: float, told: NodeStatus, took_ms: float | None = None) -> Heard:
    return Heard(at, told.node, told, took_ms)


def gated_pair(at: float, seq: int) -> list[Input]:
    """Both nodes and the feed, well, at one time."""
    return [
        heard(at, status("a", "primary", "GATED", at, seq)),
        heard(at, status("b", "secondary", "IN_SYNC", at, seq)),
        HeadSeen(at, "a", 3, seq),
    ]


def told(*inputs: Input, now: float, setting: Setting = SETTING) -> Model:
    """A model that was told all this and looked at `now`, as often as a console does before."""
    model = Model(setting)
    for one in inputs:
        model.fold(one)
    model.advance(now)
    return model


KILLED_S, PROMOTED_S, STORY_S = 20, 40, 60
KEYS = {
    "a": SecurityStatus("SHA256:5d1f0c6a9b3e7742", "c3a1b07e94d2f658", 6, []),
    "b": SecurityStatus("SHA256:e80417ab56c2d93f", "c3a1b07e94d2f658", 6, []),
}


def seq_at(at: float) -> int:
    """How far the story's log is: it grows in waves, and not while nobody leads."""
    seconds = at - T0
    seconds -= max(0.0, min(seconds, PROMOTED_S) - KILLED_S)
    return int(100_000 + 200 * seconds + 250 * math.sin(seconds / 4))


def _busy(at: float) -> dict[str, Any]:
    """What a leader at work says besides."""
    seq = seq_at(at)
    waves = math.sin(at * 1.7)
    held = 12 + int(9 * waves)
    return {
        "watermarks": Watermarks(seq + held, seq + held, seq - 40, seq, seq),
        "pending": PendingStatus(held, held * 180, 1.4, 262_144, 64 * MIB),
        "producers": [
            ProducerStatus("fills", True, seq // 4, seq // 4, 0, 0, 40.0),
            ProducerStatus("or[der]s", True, seq // 2, seq // 2 - held, 3, 0, 2.0),
            ProducerStatus("risk", True, seq // 9, seq // 9, 0, 2, 900.0),
        ],
        "producers_known": 5,
        "stages": [
            StageStatus("rtt", 212.0 + 20 * waves, 640.0, 2_100.0),
            StageStatus("intake", 31.0, 90.0, 400.0),
            StageStatus("replicate+write", 55.0, 130.0, 700.0),
            StageStatus("ack", 97.0 + 20 * waves, 310.0, 1_500.0),
            StageStatus("release", 29.0, 85.0, 380.0),
        ],
        "refused": {"intake.gap": 2, "feed.unknown-key": 4, "intake.busy": 1},
        "memory_bytes": 47 * MIB,
    }


def story(before_s: int = 0) -> list[Input]:
    """A minute of a pair: well for 20 s (and `before_s` before), then the primary is killed; b is
    promoted at 40 s."""
    told: list[Input] = []
    for tick in range(-before_s * 4, STORY_S * 4):
        at = T0 + tick * 0.25
        seq = seq_at(at)
        if at < T0 + KILLED_S:
            told += _together(at, seq)
        elif at < T0 + PROMOTED_S:
            orphan = status(
                "b",
                "secondary",
                "ORPHANED",
                at,
                seq,
                why="nothing heard from the primary a",
                state_since_ns=int((T0 + KILLED_S) * 1e9),
                memory_bytes=44 * MIB,
                events=NOTED["b"][:3],
                security=KEYS["b"],
            )
            told += [heard(at, orphan), Silent(at, "a", "no answer within 1 s")]
        else:
            told += [*_alone(at), Silent(at, "a", "no answer within 1 s")]
    return told


NOTED = {
    "a": [
        "07:55:00Z opened epoch 3 (gated) at seq 800: new disk for b",
        "07:55:00Z GATED: the standby b follows",
    ],
    "b": [
        "07:55:00Z handed epoch 2 over to a: new disk for b",
        "07:55:00Z IN_SYNC: holds all that a may have released",
        "08:00:20Z ORPHANED: nothing heard from the primary a",
        "08:00:40Z opened epoch 4 (solo) at seq 103761: a has no power",
        "08:00:40Z SOLO: UNPROTECTED by ann: a has no power",
    ],
}


def _together(at: float, seq: int) -> list[Input]:
    """a leads, b follows."""
    wave = (math.sin(at * 2.3) + 1) / 2
    links = {
        name: LinkStatus(peer, True, 18 * wave, state, 1, int(9 * wave), int(1_600 * wave), lag)
        for name, peer, state, lag in (("a", "b", "IN_SYNC", wave), ("b", "a", "GATED", 0.0))
    }
    leader = status(
        "a",
        "primary",
        "GATED",
        at,
        seq,
        why="the standby b follows",
        link=links["a"],
        events=NOTED["a"],
        security=KEYS["a"],
        **_busy(at),
    )
    standby = status(
        "b",
        "secondary",
        "IN_SYNC",
        at,
        seq,
        why="holds all that a may have released",
        link=links["b"],
        memory_bytes=44 * MIB,
        events=NOTED["b"][:2],
        security=KEYS["b"],
    )
    return [heard(at, leader, 2.4), HeadSeen(at, "a", 3, seq), heard(at, standby, 2.9)]


def _alone(at: float) -> list[Input]:
    """b, promoted in solo."""
    since, seq = int((T0 + PROMOTED_S) * 1e9), seq_at(at)
    alone = Unprotected(since, seq - seq_at(T0 + PROMOTED_S), 0)
    leads = status(
        "b",
        "primary",
        "SOLO",
        at,
        seq,
        epoch=4,
        mode="solo",
        leader="b",
        unprotected=alone,
        why="UNPROTECTED by ann: a has no power",
        events=NOTED["b"],
        state_since_ns=since,
        security=KEYS["b"],
        **_busy(at),
    )
    return [heard(at, leads, 2.2), HeadSeen(at, "b", 4, seq)]


def recording(path: Path, inputs: list[Input]) -> Path:
    """A file that a console would have recorded."""
    recorder = Recorder(path, SETTING, inputs[0].at)
    for one in inputs:
        recorder.write(one)
    recorder.close()
    assert not recorder.trouble
    return path


# Screens --------------------------------------------------------------------------------------


def drive(
    app: ConsoleApp, size: tuple[int, int], play: Callable[[Pilot[None]], Awaitable[None]]
) -> None:
    """Runs the console without a terminal while `play` presses keys and looks."""

    async def run() -> None:
        async with app.run_test(size=size, notifications=True) as pilot:
            await pilot.pause()
            await play(pilot)

    asyncio.run(run())


def screen_text(app: ConsoleApp) -> str:
    """What is on the screen, as lines."""
    lines = app.screen._compositor.render_strips(app.size)
    return "\n".join(strip.text.rstrip() for strip in lines)


async def at_rest(pilot: Pilot[None], text: str = "") -> str:
    """What is on the screen once it has stopped to change: layout takes a few turns. Not before it
    shows `text`."""
    app = pilot.app
    assert isinstance(app, ConsoleApp)
    if text:
        await shows(pilot, text)
    seen, same = screen_text(app), 0
    while same < AT_REST_LOOKS:
        await pilot.pause(LOOK_EVERY_S)
        seen, before = screen_text(app), seen
        same = same + 1 if seen == before else 0
    return seen


async def until(pilot: Pilot[None], what: str, look: Callable[[], T], seconds: float = 15.0) -> T:
    """The first true value of `look`, painted. Fails with what was on the screen."""
    end = time.monotonic() + seconds
    app = pilot.app
    assert isinstance(app, ConsoleApp)
    while not (seen := look()):
        assert time.monotonic() < end, f"waited for {what}; on the screen:\n{screen_text(app)}"
        await pilot.pause(LOOK_EVERY_S)
    return seen


async def shows(pilot: Pilot[None], text: str, seconds: float = 15.0) -> str:
    """Waits until the screen shows `text`, line breaks and borders aside; all that it shows."""
    app = pilot.app
    assert isinstance(app, ConsoleApp)

    def look() -> str:
        seen = screen_text(app)
        return seen if text in seen or text in squeezed(seen) else ""

    return await until(pilot, repr(text), look, seconds)


async def shows_no_more(pilot: Pilot[None], text: str, seconds: float = 15.0) -> None:
    """Waits until `text` is gone: what is painted late has been painted."""
    app = pilot.app
    assert isinstance(app, ConsoleApp)
    await until(pilot, f"no {text!r}", lambda: text not in screen_text(app), seconds)


def squeezed(seen: str) -> str:
    """The words of a screen in one line, without the borders of dialogs."""
    return " ".join("".join(" " if letter in "█│▎▊▌▐" else letter for letter in seen).split())


async def paste(pilot: Pilot[None], field: str, text: str) -> None:
    """A long sentence into a field, at once: key by key takes the pilot seconds."""
    pilot.app.screen.query_one(f"#{field}", Field).value = text
    await pilot.pause()


async def type_text(pilot: Pilot[None], field: str, text: str) -> None:
    """Types into a field, key by key as a person does."""
    pilot.app.screen.query_one(f"#{field}").focus()
    await pilot.pause()
    await pilot.press(*("space" if letter == " " else letter for letter in text))
