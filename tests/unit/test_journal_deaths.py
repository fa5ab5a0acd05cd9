"""A death at every step of the journal: kills and power cuts, photographed and real."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from interlock.shared.errors import JournalDamage
from interlock.shared.journal import Journal, verify
from interlock.shared.journal.recovery import recover
from support.journal_kit import (
    SMALL,
    FastDisk,
    LogMaker,
    PowerDisk,
    fill,
    idle,
    make_log,
    segment_bytes_of,
    state_at,
    write_directory,
)

# Photographed ---------------------------------------------------------------------------------


def test_a_death_at_any_step_loses_nothing_that_it_must_keep(tmp_path: Path) -> None:
    """Photographs before each file operation, as kills and power cuts would leave the directory.

    Killed: what was appended is there. Power cut: what was called synced is there. And whatever the
    death, the log goes on from there to the same bytes as if nothing had happened.
    """
    maker = make_log([230, 0, 150, 400, 600] * 4)
    whole = tmp_path / "whole"
    whole.mkdir()
    one = Journal.open(whole, SMALL, FastDisk())
    fill(one, maker)
    one.close()
    expected = segment_bytes_of(whole)
    photos = list(photographed(tmp_path / "node", maker))
    assert {step for _, step, *_ in photos} >= {
        "allocate",
        "sync data",
        "sync directory",
        "write file",
        "rename",
        "append",
    }
    seen = set()
    for number, (death, step, appended, synced, image) in enumerate(photos):
        key = (death, appended[0], synced, frozenset(image.items()))
        if key in seen:
            continue
        seen.add(key)
        directory = write_directory(tmp_path / f"{number}", image)
        least = synced if death != "killed" else appended[0]
        check_recovery(directory, maker, least, appended[1], f"{death} before {step}")
        one = Journal.open(directory, SMALL, FastDisk())
        fill(one, maker, maker.last_seqs.index(one.last_seq) + 1 if one.last_seq else 0)
        one.close()
        assert segment_bytes_of(directory) == expected, f"{death} before {step}"


def photographed(
    directory: Path, maker: LogMaker
) -> Iterator[tuple[str, str, tuple[int, int], int, dict[str, bytes]]]:
    """(death, step, bounds of what was appended, what was told as synced, the directory)."""
    photos: list[tuple[str, str, tuple[int, int], int, dict[str, bytes]]] = []
    appended = (0, 0)
    synced = 0

    def photograph(step: str) -> None:
        photos.extend(
            (death, step, appended, synced, image) for death, image in disk.images().items()
        )

    directory.mkdir()
    disk = PowerDisk(directory, photograph)
    one = Journal.open(directory, SMALL, disk)
    for at, last_seq in enumerate(maker.last_seqs):
        idle(one)
        synced = one.poll()
        appended = (one.last_seq, last_seq)
        fill(one, maker, at, at + 1)
        idle(one)
        appended = (last_seq, last_seq)
        photograph("append")
        if at % 3 == 0:
            one.request_sync()
    idle(one)
    one.close()
    return iter(photos)


def check_recovery(directory: Path, maker: LogMaker, least: int, most: int, death: str) -> None:
    try:
        recovered = recover(directory, SMALL, FastDisk())
    except JournalDamage as damage:
        pytest.fail(f"{death}: {damage}")
    last_seq = recovered.state.last_seq
    assert least <= last_seq <= most, death
    count = maker.last_seqs.index(last_seq) + 1 if last_seq else 0
    assert recovered.state.dump() == state_at(maker, count).dump(), death


# Real -----------------------------------------------------------------------------------------

WRITER = """
import sys
from pathlib import Path
from interlock.shared.journal import Journal, verify
from support.journal_kit import LogMaker

one = Journal.open(Path(sys.argv[1]), 20_000)
maker = LogMaker(one.state)
one.append(maker.records, maker.last_seq)
while True:
    maker.records.clear()
    for number in range(one.last_seq % 9 + 1):
        maker.data("p", [bytes([number]) * (one.last_seq % 700)] * (number + 1))
    one.append(maker.records, maker.last_seq)
    if one.checkpoint_due:
        one.checkpoint(maker.state)
    one.request_sync()
    one.prune(100_000, one.synced_seq)
    print(one.last_seq, one.first_seq, flush=True)
"""


def test_a_writer_that_is_really_killed(tmp_path: Path) -> None:
    """kill -9 amid appends, rolls, checkpoints and prunes: all that was said is there."""
    tests = Path(__file__).parents[1]
    last_seq = 0
    for groups in (1, 40, 200, 333):
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path)],
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": str(tests)},
        ) as writer:
            assert writer.stdout is not None
            for _ in range(groups):
                last_seq = int(writer.stdout.readline().split()[0])
            writer.kill()
        report = verify(tmp_path)
        assert report.ok, report.damage
        assert report.last_seq >= last_seq
        recovered = recover(tmp_path, 20_000, FastDisk())
        assert recovered.state.last_seq == report.last_seq
    assert report.first_seq > 1  # it was also pruning
