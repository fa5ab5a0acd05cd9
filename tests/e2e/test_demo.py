"""`interlock demo`: what it claims, and what it leaves behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from interlock.cli.demo_run import DemoRun
from interlock.cli.demo_workers import WorkerOptions
from interlock.cli.embedded import EmbeddedPair
from interlock.shared.config import AckLevel


def demo(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", "-m", "interlock", "demo", "--headless", "--json", *arguments],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def report(*arguments: str) -> dict[str, Any]:
    done = demo(*arguments)
    assert done.returncode == 0, done.stderr + done.stdout
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("level", list(AckLevel))
def test_every_message_is_confirmed_and_delivered_at_each_level(level: AckLevel) -> None:
    found = report("--messages", "20000", "--ack-level", level.value)
    assert found["messages"] == found["confirmed"] == found["delivered"] == 20_000
    for claim in ("ok", "in_order", "content_identical", "journals_identical"):
        assert found[claim], claim
    assert found["gaps"] == found["duplicates"] == found["unacked_released"] == 0
    assert found["throughput_msgs_per_s"] > 0
    assert 0 < found["rtt_us"]["p50"] <= found["rtt_us"]["p99"]


def test_a_closed_loop_times_each_round_trip() -> None:
    found = report("--messages", "1500", "--closed-loop")
    assert found["closed_loop"]
    assert found["delivered"] == 1500
    assert found["rtt_us"]["p50"] > 0


@pytest.mark.parametrize("victim", ["standby", "primary"])
def test_a_kill_in_the_middle_costs_nothing_but_time(victim: str) -> None:
    found = report("--messages", "60000", "--rate", "30000", "--kill", victim)
    assert found["killed"] == victim
    assert found["epochs"] == (2 if victim == "primary" else 1)
    assert found["delivered"] == 60_000
    assert found["released_samples"] > 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_leaves_no_process_and_no_file(number: int, tmp_path: Path) -> None:
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "interlock", "demo", "--headless", "--messages", "9000000"],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    try:
        end = time.monotonic() + 30
        while time.monotonic() < end and len(processes_of(tmp_path)) < 4:
            time.sleep(0.05)
        assert len(processes_of(tmp_path)) == 4, "two nodes, the load and the checker"
        process.send_signal(number)
        _, complaint = process.communicate(timeout=30)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130
    assert complaint == b""
    assert processes_of(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def processes_of(directory: Path) -> list[int]:
    """The processes with this directory in their command line."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if os.fsencode(directory) in command:
                found.append(int(entry.name))
    return found


def test_a_folder_is_kept_and_never_reused(tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    assert report("--messages", "1000", "--dir", str(folder))["ok"]
    assert (folder / "interlock.toml").exists()
    again = demo("--messages", "1000", "--dir", str(folder))
    assert again.returncode == 2
    assert "is not empty" in again.stderr


def test_a_size_below_an_event_is_a_users_mistake() -> None:
    done = demo("--size", "10")
    assert done.returncode == 2
    assert done.stderr.startswith("interlock: --size 10:")


def test_a_journal_that_differs_by_one_byte_fails_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """The verdict can be bad: one byte of the standby's journal is flipped before it is judged."""
    stop = EmbeddedPair.stop

    def stop_and_flip(pair: EmbeddedPair) -> None:
        stop(pair)
        with next(pair.config.data_dir("b").glob("*.log")).open("r+b") as journal:
            journal.seek(5_000)
            byte = journal.read(1)[0]
            journal.seek(5_000)
            journal.write(bytes([byte ^ 1]))

    monkeypatch.setattr(EmbeddedPair, "stop", stop_and_flip)
    options = WorkerOptions("demo", 2_000, 128, 1, 0.0, False, 65_536)
    found = DemoRun(options, None, AckLevel.WRITTEN, "").run()
    assert found.delivered == 2_000
    assert not found.journals_identical
    assert not found.journals_verified
    assert not found.ok
