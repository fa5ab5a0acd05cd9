"""kill -9 of either node while a file is being published, by the commands that a user types.

Judged from outside: what `interlock consume` prints against the file, and the journals.
"""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from interlock.cli.embedded import EmbeddedPair
from interlock.client.control import ask_node
from interlock.shared.config import AckLevel
from interlock.shared.journal import diff, verify

ROWS = 40_000
RATE = 12_000


def interlock(*arguments: str) -> list[str]:
    return [sys.executable, "-P", "-m", "interlock", *arguments]


def run(*arguments: str) -> str:
    done = subprocess.run(
        interlock(*arguments), capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def write_rows(path: Path) -> list[str]:
    draw = random.Random(7)
    rows = [
        f'{number},{draw.randrange(10**9)},"{draw.choice(["bid", "ask"])}, {draw.random():.8f}"'
        for number in range(ROWS)
    ]
    path.write_text("\n".join(["id,price,direction", *rows]) + "\n", "utf-8")
    return rows


def wait_for_released(pair: EmbeddedPair, seq: int) -> None:
    end = time.monotonic() + 30
    while time.monotonic() < end:
        status = ask_node(pair.config, "a", 0.5)
        if status and status.watermarks.released_seq >= seq:
            return
        time.sleep(0.02)
    raise AssertionError(f"seq {seq} was not released in time")


@pytest.mark.parametrize(
    ("victims", "level"),
    [("b", AckLevel.WRITTEN), ("a", AckLevel.WRITTEN), ("ab", AckLevel.SYNCED)],
)
def test_killed_and_started_again_every_row_is_there_once(
    victims: str, level: AckLevel, tmp_path: Path
) -> None:
    """The standby, the primary, or one after the other, die under load and are started again by the
    same command. Nobody tells the publisher or the consumer anything."""
    file = tmp_path / "rows.csv"
    rows = write_rows(file)
    with EmbeddedPair(tmp_path / "pair", level) as pair:
        config = pair.config.path
        pair.start("a")
        pair.start("b")
        pair.wait_until_gated()
        options = ["-c", config, "--producer", "rows", "--format", "csv", "--rate", str(RATE)]
        publisher = subprocess.Popen(
            interlock("publish", str(file), *options), stdout=subprocess.PIPE, text=True
        )
        try:
            for number, victim in enumerate(victims, 1):
                wait_for_released(pair, ROWS * number // 4)
                pair.kill(victim)
                time.sleep(0.3)
                pair.start(victim)
                pair.wait_until_gated()
            assert publisher.wait(60) == 0
            assert f"confirmed {ROWS:,}" in publisher.communicate()[0]
        finally:
            publisher.kill()
            publisher.wait()
        printed = run("consume", "-c", config, "--until-idle", "1", "--count", str(ROWS + 1))
        bodies = [json.loads(line)["body"] for line in printed.splitlines()]
        assert bodies == rows
        again = run("publish", str(file), *options[:-2], "--resume", "--json")
        assert json.loads(again)["confirmed"] == 0
        end_leader_first(pair)
        one, two = pair.config.data_dir("a"), pair.config.data_dir("b")
        assert diff(one, two).identical
        assert verify(one).ok
        assert verify(two).ok


def test_a_frozen_standby_stalls_the_release_and_nothing_else(tmp_path: Path) -> None:
    """SIGSTOP: its connections stay open and nothing answers. The primary notices by the missing
    heartbeat and releases nothing; the standby wakes up and the pair goes on."""
    with EmbeddedPair(tmp_path / "pair") as pair:
        pair.start("a")
        pair.start("b")
        pair.wait_until_gated()
        file = tmp_path / "rows.csv"
        write_rows(file)
        pair.kill("b", signal.SIGSTOP)
        held = ask_node(pair.config, "a")
        assert held is not None
        options = ["-c", pair.config.path, "--producer", "rows", "--format", "csv"]
        publisher = subprocess.Popen(
            interlock("publish", str(file), *options), stdout=subprocess.PIPE, text=True
        )
        try:
            end = time.monotonic() + 20
            while time.monotonic() < end:
                status = ask_node(pair.config, "a")
                assert status is not None
                # What was in flight to the standby when it froze cannot have been acked.
                assert status.watermarks.released_seq <= held.watermarks.accepted_seq
                if status.state == "STALLED" and status.pending.messages:
                    break
                time.sleep(0.05)
            else:
                raise AssertionError("the primary did not stall")
            pair.kill("b", signal.SIGCONT)
            assert publisher.wait(30) == 0
        finally:
            publisher.kill()
            publisher.wait()
        pair.wait_until_gated()
        end_leader_first(pair)
        assert diff(pair.config.data_dir("a"), pair.config.data_dir("b")).identical


def end_leader_first(pair: EmbeddedPair) -> None:
    """A leader that outlives its standby by a moment may still write a tick that only it has."""
    pair.kill("a", signal.SIGTERM)
    assert pair.processes["a"].wait(20) == 0
    pair.stop()
