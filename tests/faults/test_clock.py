"""The wall clocks of the nodes step, forward and back, while the pair is under load.

libfaketime shows a node another time than the machine has; what never steps is left alone.
"""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from faults.stage import FINISH_S, Stage, stage
from support.pair import wait_for

pytestmark = [pytest.mark.faults, pytest.mark.timeout(300)]

HOUR_S = 3_600


def library() -> Path:
    """Where libfaketime is; skips the test if it is nowhere."""
    found = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    if not found:
        pytest.skip("libfaketime is not installed")
    return found[0]


def step(pair: Stage, name: str, seconds: int) -> None:
    """From now on the node's clock is so far off."""
    told = pair.directory / f"{name}.clock"
    new = told.with_suffix(".new")
    new.write_text(f"{seconds:+d}\n", "ascii")
    new.rename(told)


def test_clocks_that_step(tmp_path: Path) -> None:
    """The time of the log never falls: it stands still until the clock has caught up, whoever
    leads. Nothing else depends on the time of day, so the pair serves on."""
    environment = {
        name: {
            "LD_PRELOAD": str(library()),
            "FAKETIME_TIMESTAMP_FILE": str(tmp_path / f"{name}.clock"),
            "FAKETIME_CACHE_DURATION": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }
        for name in "ab"
    }
    for name in "ab":
        (tmp_path / f"{name}.clock").write_text("+0\n", "ascii")
    with stage(tmp_path, environment=environment) as pair:
        step(pair, "a", HOUR_S)
        wait_for("the time to be an hour later", lambda: ahead_s(pair) > HOUR_S - 60, FINISH_S)
        step(pair, "a", -HOUR_S)
        pair.wait_for_more()
        step(pair, "b", -HOUR_S)
        pair.operate("switchover", "a")
        pair.wait_for_more()
        assert ahead_s(pair) > HOUR_S - 120
        step(pair, "b", 2 * HOUR_S)
        wait_for("the time to be later still", lambda: ahead_s(pair) > HOUR_S + 60, FINISH_S)
        assert pair.finish() > 400


def ahead_s(pair: Stage) -> float:
    """How far the newest record's time is ahead of this machine's clock."""
    return float((pair.last_printed()["time_ns"] - time.time_ns()) / 1e9)
