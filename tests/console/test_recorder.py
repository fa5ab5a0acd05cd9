"""The flight recorder: what is played back is what was seen, and a damaged file says so."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from interlock.cli.init import FILE
from interlock.console.inputs import Acted
from interlock.console.model import Model
from interlock.console.player import Player
from interlock.console.recorder import Recorder, read_recording
from interlock.console.source import LiveSource
from interlock.shared.config import load_config
from interlock.shared.errors import UserError
from support.pair import write_config

from .kit import SETTING, T0, recording, story


def test_a_recording_holds_every_input(tmp_path: Path) -> None:
    told = [*story(), Acted(T0 + 60, "ann", "promote b", "DONE")]
    found = read_recording(recording(tmp_path / "r.jsonl", told))
    assert found.inputs == told
    assert found.setting == SETTING


def test_what_was_done_last_is_kept_although_nothing_was_painted_since(tmp_path: Path) -> None:
    write_config(tmp_path / FILE)
    source = LiveSource(load_config(tmp_path), tmp_path / "r.jsonl")
    last = Acted(T0, "ann", "promote b", "RUNNING")
    source.tell(last)
    source.stop()
    assert last in read_recording(tmp_path / "r.jsonl").inputs


def test_only_what_changes_is_written(tmp_path: Path) -> None:
    path = recording(tmp_path / "r.jsonl", story())
    lines = path.read_bytes().splitlines()
    whole = [line for line in lines if b'"whole":true' in line]
    assert len(whole) == 3  # each node at first, and the one that goes on after 30 s
    changes = [len(line) for line in lines if b'"whole":false' in line]
    assert sum(changes) / len(changes) < len(whole[0]) / 2


def test_it_is_for_its_owner_and_overwrites_nothing(tmp_path: Path) -> None:
    path = recording(tmp_path / "r.jsonl", story()[:3])
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(UserError, match="is not written over"):
        Recorder(path, SETTING, T0)


def test_a_full_disk_ends_the_recording_and_not_the_console(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "r.jsonl", SETTING, T0)
    recorder.close()
    with Path("/dev/full").open("wb", buffering=0) as full:
        recorder._file = full
        recorder.write(Acted(T0, "ann", "x", "y"))
        assert recorder.trouble == "the recording ended: No space left on device"
        recorder.write(Acted(T0, "ann", "x", "y"))


def test_a_line_that_was_cut_off_by_a_crash_is_left_out(tmp_path: Path) -> None:
    path = recording(tmp_path / "r.jsonl", story()[:3])
    path.write_bytes(path.read_bytes() + b'{"type":"change","at":18000')
    assert len(read_recording(path).inputs) == 3


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (b"", "is no recording"),
        (b"nonsense\n", "line 1 is no line"),
        (b'{"type":"silent","at":1,"node":"a","why":""}\n', "does not begin as a recording"),
        (b'{"type":"change","at":1,"node":"a","set":{}}\n', "line 1 is no line"),
    ],
)
def test_what_is_no_recording_is_named(tmp_path: Path, data: bytes, match: str) -> None:
    path = tmp_path / "r.jsonl"
    path.write_bytes(data)
    with pytest.raises(UserError, match=match):
        read_recording(path)


def test_a_replay_shows_what_was_seen_at_each_time(tmp_path: Path) -> None:
    told = story()
    live = Model(SETTING)
    live_views = {}
    for one in told:
        live.advance(one.at)
        live.fold(one)
        live_views[one.at] = live.view(one.at)
    player = Player(read_recording(recording(tmp_path / "r.jsonl", told)))
    for at in (T0 + 10, T0 + 25, T0 + 50, T0 + 15, T0 + 59.75):  # back as well
        player.seek(at)
        seen, was = player.model.view(at), live_views[at]
        assert seen.gate == was.gate
        assert seen.nodes == was.nodes
        assert [alarm.key for alarm in seen.alarms] == [alarm.key for alarm in was.alarms]
        assert seen.rates == was.rates


def test_pause_speed_and_the_ends(tmp_path: Path) -> None:
    player = Player(read_recording(recording(tmp_path / "r.jsonl", story())))
    player.play(2.0)
    assert player.at == T0 + 2
    player.faster()
    assert player.speed == 2.0
    player.play(2.0)
    assert player.at == T0 + 6
    player.paused = True
    player.play(2.0)
    assert player.at == T0 + 6
    player.skip(-100)
    assert player.at == T0
    player.skip(1_000)
    assert player.ended
    assert player.share == 1.0
    for _ in range(20):
        player.faster(by=-1)
    assert player.speed == 0.25
