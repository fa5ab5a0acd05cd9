"""A disk that is really full, under either node: met before a seq is given, and left by itself."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from interlock import Producer, TimeoutExpired
from support.pair import assert_identical, pair_of, status, wait_for_state

MIB = 1 << 20
ROW = bytes(8_000)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A tmpfs of 7 MiB: the active segment, the next one, and not much more."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=7m", "tmpfs", str(disk)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"cannot mount a tmpfs here: {done.stderr.strip()}")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


@pytest.mark.parametrize("name", ["a", "b"])
def test_a_full_disk_stops_intake_and_space_brings_it_back(
    name: str, small_disk: Path, tmp_path: Path
) -> None:
    """On the primary the intake refuses; without room on the standby the primary stalls. Nothing is
    lost, and in both cases more space is all that is needed."""
    (tmp_path / name).symlink_to(small_disk)
    settings = {"segment_bytes": 2 * MIB, "pending_bytes": 4 * MIB}
    with pair_of(tmp_path, **settings) as pair, Producer("p", pair.config) as producer:
        sent = fill(producer)
        full = status(pair, name)
        assert full.journal.disk_free_bytes < 2 * MIB
        if name == "a":
            assert full.refused["intake.disk-full"] > 0
        else:
            wait_for_state(pair, "b", "ORPHANED", "no disk space")
            wait_for_state(pair, "a", "STALLED")
        subprocess.run(["mount", "-o", "remount,size=64m", str(small_disk)], check=True)
        producer.flush(30)
        assert producer.confirmed_producer_seq == sent
        pair.wait_until_gated()
        assert_identical(pair)


def fill(producer: Producer) -> int:
    """Sends until nothing is confirmed any more; returns how many messages it sent."""
    for sent in range(50, 10_000, 50):
        for _ in range(50):
            producer.send(ROW)
        try:
            producer.flush(2)
        except TimeoutExpired:
            return sent
    raise AssertionError("the disk did not fill up")
