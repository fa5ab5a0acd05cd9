"""The headless twin and the command: the same picture as lines, as JSON, and as one frame."""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path

import msgspec
import pytest

from interlock.cli.init import FILE
from interlock.console.model import Model
from interlock.console.plain import changes, summary_line
from support.pair import command, mistake, pair_of, run, write_config

from .kit import SETTING, T0, recording, story


def lines_of(until_s: float) -> list[str]:
    """What a watcher of the story has read by then, without the summaries."""
    model = Model(SETTING)
    before, found = model.view(T0), []
    for told in story():
        if told.at > T0 + until_s:
            break
        model.fold(told)
        model.advance(told.at)
        view = model.view(told.at)
        found += changes(before, view)
        before = view
    return found


def test_each_change_is_one_line_that_stands_alone() -> None:
    lines = lines_of(60)
    text = "\n".join(lines)
    for part in (
        "08:00:00Z a GATED primary epoch 3: the standby b follows",
        "08:00:00Z gate OPEN led by a",
        "b ORPHANED secondary epoch 3",
        "a not heard for 1s, was GATED",
        "alarm ■ 1 CRITICAL: nobody leads",
        "b SOLO primary epoch 4",
        "alarm ■ 1 CRITICAL: released without a standby",
        "alarm over: nobody leads",
        "what now: a does not answer. If it is lost: interlock promote b",
    ):
        assert part in text
    assert len(lines) < 40
    assert len(set(lines)) == len(lines)


def test_the_summary_is_one_line() -> None:
    model = Model(SETTING)
    for told in story()[:60]:
        model.fold(told)
        model.advance(told.at)
    assert summary_line(model.view(T0 + 5)) == (
        "08:00:05Z gate OPEN led by a; a GATED primary epoch 3; b IN_SYNC secondary epoch 3; "
        "released 101,181; pending 19; lag 0.88 ms; in 247/s out 250/s; alarms 0"
    )


def test_the_command_watches_a_pair(tmp_path: Path) -> None:
    with pair_of(tmp_path) as pair:
        lines = watch("status", "-c", pair.config.path, "--watch", "--every", "0.3", count=2)
        assert all("gate OPEN led by a; a GATED primary epoch 1" in text for text in lines)
        objects = watch("status", "-c", pair.config.path, "--watch", "--json", count=1)
        view = msgspec.json.decode(objects[0])
        assert (view["leader"], view["gate"]["word"]) == ("a", "OPEN")
        picture = tmp_path / "frame.svg"
        done = run("console", "-c", pair.config.path, "--screenshot", picture, "--size", "100x30")
        assert done.returncode == 0, done.stderr
        text = picture.read_text("utf-8")
        assert "<svg" in text
        assert "GATED" in text
        assert "IN_SYNC" in text


def watch(*words: object, count: int) -> list[str]:
    """The first lines of a command that goes on until it is interrupted."""
    with subprocess.Popen(command(*words), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(count)]
        process.send_signal(signal.SIGINT)
        end = time.monotonic() + 10
        while process.poll() is None and time.monotonic() < end:
            process.stdout.readline()
        assert process.returncode in (0, 130)
    return lines


def test_a_recording_needs_no_pair(tmp_path: Path) -> None:
    path, picture = recording(tmp_path / "r.jsonl", story()), tmp_path / "frame.svg"
    done = run("console", "--replay", path, "--seek", "30", "--screenshot", picture)
    assert done.returncode == 0, done.stderr
    assert "ORPHANED" in picture.read_text("utf-8")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--size", "big"), "--size is 'big'; expected columns x rows, as 160x48"),
        (("--replay", "x", "--web"), "--replay goes with neither --record nor --web"),
        (("--replay", "nowhere.jsonl"), "cannot read the recording nowhere.jsonl"),
    ],
)
def test_mistakes_are_told_in_a_sentence(words: tuple[str, ...], said: str) -> None:
    assert said in mistake("console", *words)


def test_without_a_terminal_it_names_what_does_without_one(tmp_path: Path) -> None:
    """It would fill a file with letters for ever, and nobody could leave it."""
    write_config(tmp_path / FILE)
    said = mistake("console", "-c", tmp_path)
    assert said.startswith("the console needs a terminal; without one: interlock status --watch")
