"""Disks that fill up, fail, or lose their power under load."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import pytest

from faults.disks import Ext4, injected, small_disk
from faults.stage import FINISH_S, Stage, stage
from interlock.shared.config import AckLevel
from support.pair import wait_for

pytestmark = [pytest.mark.faults, pytest.mark.timeout(300)]

MIB = 1 << 20
WRITES = "pwritev,pwritev2"


def fail(pair: Stage, name: str, fault: str) -> None:
    """Makes system calls of a node fail until it ends, which it has to do by itself."""
    pid = pair.processes[name].pid
    with injected(pid, fault, pair.directory / f"{name}.strace"):
        pair.wait_for_end(name)


def start_again(pair: Stage, *names: str) -> None:
    for name in names:
        pair.start(name)
    pair.wait_until_gated()
    pair.wait_for_more()


def test_a_failed_fsync_is_fatal_and_never_retried(tmp_path: Path) -> None:
    """The standby's fails, and then the primary's: each node ends at once, with a sentence, and
    goes on when it is started again."""
    with stage(tmp_path, AckLevel.SYNCED) as pair:
        for name in "ba":
            fail(pair, name, "fdatasync:error=EIO:when=1")
            assert pair.processes[name].returncode == 1, pair.log(name)
            assert "Traceback" not in pair.log(name)
            assert "Input/output error" in pair.log(name)
            start_again(pair, name)
        assert pair.finish() > 400


@pytest.mark.faults_long
@pytest.mark.parametrize("level", list(AckLevel))
@pytest.mark.parametrize("name", ["a", "b"])
@pytest.mark.parametrize(
    "fault",
    [
        f"{WRITES}:error=EIO:when=3",
        f"{WRITES}:error=ENOSPC:when=2",
        "fdatasync:error=EIO:when=2",
        "fdatasync:error=ENOSPC:when=1",
        "fdatasync:signal=KILL:when=3",
        f"{WRITES}:signal=KILL:when=20",
    ],
)
def test_a_call_that_fails_in_a_node(
    fault: str, name: str, level: AckLevel, tmp_path: Path
) -> None:
    with stage(tmp_path, level) as pair:
        fail(pair, name, fault)
        start_again(pair, name)
        assert pair.finish() > 400


@pytest.mark.parametrize("name", ["a", pytest.param("b", marks=pytest.mark.faults_long)])
def test_a_disk_that_fills_up(name: str, tmp_path: Path) -> None:
    """No seq is given for what there is no room for; with more room all goes on by itself."""
    settings = {"segment_bytes": 2 * MIB, "pending_bytes": 4 * MIB}
    with (
        small_disk(tmp_path, name, "7m") as disk,
        stage(tmp_path, rate=2_000, **settings) as pair,
    ):
        wait_for("the disk to be full", lambda: is_held_up(pair, name), FINISH_S)
        subprocess.run(["mount", "-o", "remount,size=256m", str(disk)], check=True)
        pair.wait_for_more()
        assert pair.finish() > 400


def is_held_up(pair: Stage, name: str) -> bool:
    nodes = pair.nodes()
    if name == "a":
        return bool(nodes["a"]["refused"].get("intake.disk-full"))
    return bool(nodes["a"]["state"] == "STALLED" and "no disk space" in nodes["b"]["why"])


def cut_power(pair: Stage, name: str, disk: Ext4) -> None:
    """The machine of a node goes dark: its disk at once, its process a moment later."""
    disk.cut_power()
    pair.kill(name)
    disk.power_on()


def test_the_only_copy_survives_a_power_cut(tmp_path: Path) -> None:
    """At level synced the standby loses its power, and then the primary is lost. The standby comes
    back and is promoted: all that was ever confirmed is on its disk. Then the old primary returns.
    """
    with Ext4(tmp_path, "b") as disk, stage(tmp_path, AckLevel.SYNCED) as pair:
        cut_power(pair, "b", disk)
        pair.kill("a")
        pair.start("b")
        pair.wait_for_states("ORPHANED")
        pair.operate("promote", "b", "--solo")
        pair.wait_for_more()
        pair.start("a")
        pair.wait_for_states("SOLO", "FENCED")
        pair.operate("reinstate", "a")
        assert pair.finish() > 400


@pytest.mark.faults_long
@pytest.mark.parametrize("victims", ["a", "b", "ab"])
def test_power_cuts(victims: str, tmp_path: Path) -> None:
    """Of one node or of both at once, again and again; they go on with what was synced."""
    with (
        Ext4(tmp_path, "a") as one,
        Ext4(tmp_path, "b") as other,
        stage(tmp_path, AckLevel.SYNCED) as pair,
    ):
        disks = {"a": one, "b": other}
        for _ in range(5):
            for name in victims:
                disks[name].cut_power()
            for name in victims:
                pair.kill(name, signal.SIGKILL)
                disks[name].power_on()
            start_again(pair, *victims)
        assert pair.finish() > 1_000


@pytest.mark.faults_long
def test_a_power_cut_in_solo(tmp_path: Path) -> None:
    """In solo a release needs `synced` whatever the level: the only copy has it after the cut."""
    with Ext4(tmp_path, "a") as disk, stage(tmp_path, AckLevel.WRITTEN) as pair:
        pair.kill("b")
        pair.wait_for_states("STALLED")
        for _ in range(3):
            pair.operate("solo", "a")
            pair.wait_for_more()
            cut_power(pair, "a", disk)
            pair.start("a")
            pair.wait_for_states("RESUMING")
        start_again(pair, "b")
        assert pair.finish() > 1_000
