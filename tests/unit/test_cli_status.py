"""`interlock status`: what must not be overlooked is there, as it was said, and what to do now."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from interlock.cli.given import parse_duration_ms
from interlock.shared.errors import UserError
from interlock.shared.telemetry import Divergence, NodeStatus, SecurityStatus, Unprotected
from interlock.shared.wording import duration_text
from interlock.tests.unit.operate_kit import Stage

SECOND = 1_000_000_000
NOON = 1_700_000_000 * SECOND  # 2023-11-14T22:13:20Z
KEYS = SecurityStatus("SHA256:0123456789abcdef", "aaaa000011112222", 4, [])


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    made = Stage(tmp_path)
    yield made
    made.close()


def shown(stage: Stage, code: int) -> str:
    done = stage.run("status", "--timeout", "0.5")
    assert done.exit_code == code, done.output
    return " ".join(done.output.split())


def test_a_node_that_releases_alone_is_told_first(stage: Stage) -> None:
    stage.add(
        "a",
        "primary",
        "SOLO",
        time_ns=NOON + 90 * SECOND,
        unprotected=Unprotected(NOON, 12_345, NOON + 600 * SECOND),
    )
    text = shown(stage, 0)
    assert "UNPROTECTED: a releases without a standby since 2023-11-14T22:13:20Z (90s)" in text
    assert "12,345 messages so far, until 2023-11-14T22:23:20Z" in text
    assert text.index("UNPROTECTED") < text.index("SOLO for")
    assert "what now: a releases alone" in text
    assert "start b" in text


def test_what_an_operator_has_to_know_before_deciding(stage: Stage) -> None:
    stage.add(
        "a",
        "primary",
        "FENCED",
        fenced="met [red]epoch 4",
        operation="reinstate: asks b",
        paused="paused by eve",
        environment="drill",
    )
    stage.add("b", "secondary", "ORPHANED", doubt="an unclean [boot]", closed_for="b")
    text = shown(stage, 1)
    for words in (
        "met [red]epoch 4",
        "reinstate: asks b",
        "takes no submissions: paused by eve",
        "no: an unclean [boot]",
        "the epoch is closed, for b",
        "this pair is for drills",
        "what now: ",
    ):
        assert words in text


def test_what_is_not_so_takes_no_line(stage: Stage) -> None:
    stage.add("a", "primary", "GATED")
    stage.add("b", "secondary", "IN_SYNC", promotable=True)
    text = shown(stage, 0)
    for word in ("UNPROTECTED", "fenced", "paused", "DIVERGED", "at work"):
        assert word not in text
    assert "promotable" in text
    assert "what now: nothing to do" in text


def test_the_keys_of_each_node_are_shown_and_raise_no_voice_if_all_is_well(stage: Stage) -> None:
    other = msgspec.structs.replace(KEYS, fingerprint="SHA256:fedcba9876543210")
    stage.add("a", "primary", "GATED", security=KEYS, refused={"feed.unknown-key": 3})
    stage.add("b", "secondary", "IN_SYNC", promotable=True, security=other)
    done = stage.run("status", "--timeout", "0.5")
    (row,) = [line for line in done.output.splitlines() if line.startswith("keys")]
    for part in ("SHA256:0123456789abcdef", "SHA256:fedcba9876543210"):
        assert part in row
    text = " ".join(done.output.split())
    assert text.count("4 allowed") == 2
    assert text.count("aaaa000011112222") == 2
    assert "a refused 3 x feed.unknown-key" in text
    for word in ("DIFFER", "BANNED", "KEYS of", "no keys"):
        assert word not in text


def test_without_keys_one_quiet_word_says_so(stage: Stage) -> None:
    stage.add("a", "primary", "GATED")
    stage.add("b", "secondary", "IN_SYNC", promotable=True)
    text = shown(stage, 0)
    assert text.count("no keys (this machine only)") == 2
    assert "DIFFER" not in text


def test_what_is_wrong_with_the_keys_is_told_first(stage: Stage) -> None:
    stage.add(
        "a",
        "primary",
        "GATED",
        security=msgspec.structs.replace(KEYS, error="allowed.toml is not [valid] TOML"),
    )
    bad = msgspec.structs.replace(KEYS, ring="bbbb", keys=5, banned=["key mallory (SHA256:12)"])
    stage.add("b", "secondary", "IN_SYNC", promotable=True, security=bad)
    text = shown(stage, 0).replace(" │ │ ", " ")
    assert "KEYS of a: allowed.toml is not [valid] TOML" in text
    assert "BANNED by b for too many bad frames: key mallory (SHA256:12)" in text
    assert "THE LISTS OF ALLOWED KEYS DIFFER" in text
    assert "a has list aaaa000011112222 with 4 keys, b has list bbbb with 5 keys" in text
    assert text.index("DIFFER") < text.index("GATED for")


def test_a_node_with_keys_and_one_without_differ(stage: Stage) -> None:
    stage.add("a", "primary", "GATED", security=KEYS)
    stage.add("b", "secondary", "IN_SYNC", promotable=True)
    assert "b uses no keys" in shown(stage, 0)


def test_of_a_node_that_does_not_answer_no_difference_is_told(stage: Stage) -> None:
    stage.add("a", "primary", "GATED", security=KEYS)
    assert "DIFFER" not in shown(stage, 0)


def test_two_histories_are_shown_side_by_side(stage: Stage) -> None:
    ours = ["epoch 3 (solo), led by a: seq 42 to 60"]
    theirs = ["epoch 4 (gated), led by b: seq 42 to 50", "epoch 5 (gated), led by b: seq 51 to 70"]
    stage.add("a", "primary", "DIVERGED", divergence=Divergence(41, ours, theirs))
    stage.add("b", "secondary", "DIVERGED", divergence=Divergence(41, theirs, ours))
    done = stage.run("status")
    assert done.output.count("the first seq that differs is 42") == 1
    row = next(line for line in done.output.splitlines() if ours[0] in line)
    assert row.index(ours[0]) < row.index(theirs[0])
    assert theirs[1] in done.output
    assert "interlock reinstate b --accept-loss" in done.output


def test_json_has_the_nodes_as_they_are_and_the_advice(stage: Stage) -> None:
    stage.add("b", "secondary", "ORPHANED", promotable=True)
    done = stage.run("status", "--timeout", "0.5", "--json")
    told = json.loads(done.stdout)
    assert told["nodes"]["a"] is None
    assert msgspec.convert(told["nodes"]["b"], NodeStatus) == stage.nodes["b"].said
    assert any("interlock promote b" in line for line in told["advice"])


@pytest.mark.parametrize(
    ("text", "ms"), [("", 0), ("90s", 90_000), ("1h30m", 5_400_000), ("7d", 604_800_000)]
)
def test_durations_are_read(text: str, ms: int) -> None:
    assert parse_duration_ms(text) == ms


@pytest.mark.parametrize("text", ["10", "m", "10 m", "-1s", "1.5h", "7d1ms", "0m", "10m x"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(UserError):
        parse_duration_ms(text)


@pytest.mark.parametrize("text", ["90s", "10m", "2h", "1500ms"])
def test_durations_are_written_as_they_are_read(text: str) -> None:
    assert duration_text(parse_duration_ms(text)) == text
