"""The benchmark runs and reports; what it measures is no test's business."""

from __future__ import annotations

import json
import subprocess
import sys


def test_floor_and_pair_are_measured_side_by_side() -> None:
    command = [sys.executable, "-P", "-m", "interlock.bench.floor", "--pair", "--json"]
    done = subprocess.run(
        [*command, "--messages", "600", "--rounds", "1"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert 0 < report["floor_us"]["p50"] <= report["floor_us"]["p99"]
    assert report["p50_ratio"] > 0
    assert report["messages"] == 600
