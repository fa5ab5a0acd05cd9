"""The benchmark runs for a moment, and its report makes sense. What it measures is no test's
business; that each message is confirmed and none is lost is what these runs would fail for.
"""

from __future__ import annotations

import json
import subprocess
import sys

import msgspec
import pytest
from typer.testing import CliRunner

from interlock.bench.contenders import CFloor
from interlock.bench.contest import Contender, Skipped
from interlock.bench.peer_nats import Nats
from interlock.bench.peer_postgres import Postgres
from interlock.bench.peer_redis import Redis
from interlock.bench.run import run
from interlock.bench.scenario import Client, Load, Scenario, Transport
from interlock.cli.bench import app
from interlock.shared.config import AckLevel
from interlock.shared.idling import Idle

SHORT = Scenario(seconds=0.5, warm_up_s=0.2)
CLOSED = msgspec.structs.replace(SHORT, load=Load.CLOSED)
RAW = msgspec.structs.replace(SHORT, client=Client.RAW, record=16, window=64)


@pytest.mark.parametrize(
    "scenario",
    [
        msgspec.structs.replace(CLOSED, transport=Transport.IPC, ack_level=AckLevel.SYNCED),
        msgspec.structs.replace(SHORT, producers=2, record=8, window=64),
        msgspec.structs.replace(
            RAW,
            producers=50,
            consumers=0,
            drains=2,
            sleepers=1,
            tables={"limits": {"segment_bytes": 4_194_304}},
        ),
        msgspec.structs.replace(RAW, keys=True, producers=3, drains=1),
        msgspec.structs.replace(CLOSED, keys=True, idle=Idle.ADAPTIVE, client_idle=Idle.ADAPTIVE),
    ],
    ids=["ipc", "two", "many-raw", "raw-keys", "keys-adaptive"],
)
def test_a_load_is_confirmed_and_counted(scenario: Scenario) -> None:
    found = run(scenario)
    assert found.messages > 0
    assert 0 < found.rtt.p50 <= found.rtt.p99 <= found.rtt.max
    assert {"primary", "secondary"} <= set(found.processes)
    assert all(cost.rss_mb[0] > 0 for cost in found.processes.values())
    assert {stage.name for stage in found.stages} >= {"intake", "ack", "release"}
    if scenario.consumers:
        assert found.deliveries[0].latency.count > 0


@pytest.mark.parametrize("client", [Client.SDK, Client.RAW])
def test_an_open_loop_keeps_its_schedule(client: Client) -> None:
    """Every message that was due in the span is in the latency, however slow the pair was."""
    scenario = Scenario(
        load=Load.OPEN, client=client, record=4, rate=2_000, seconds=0.5, warm_up_s=0.2, window=512
    )
    found = run(scenario)
    assert found.rtt.count == pytest.approx(1_000, abs=8)


@pytest.mark.parametrize(
    "peer",
    [
        CFloor(128),
        Redis(AckLevel.WRITTEN, 128),
        Redis(AckLevel.SYNCED, 128, 16),
        Nats(AckLevel.WRITTEN, 128, 16),
        Postgres(AckLevel.SYNCED, 128, 16),
    ],
    ids=lambda peer: peer.name,
)
def test_a_peer_is_measured_or_skipped_with_a_word(peer: Contender) -> None:
    try:
        found = peer.measure(0.3)
    except Skipped as reason:
        pytest.skip(str(reason))
    assert found.per_s > 0
    assert 0 < found.latency.p50 <= found.latency.p99


def test_the_command_runs_one_load() -> None:
    text = "load=closed,seconds=0.3,warm_up_s=0.1"
    done = CliRunner().invoke(app, ["load", text, "--json"])
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    assert report["rtt"]["count"] > 0
    assert report["scenario"]["load"] == "closed"


def test_switchovers_and_promotions_are_measured() -> None:
    command = [sys.executable, "-P", "-m", "interlock.bench.switchover", "--json"]
    command += ["--switchovers", "1", "--promotions", "1", "--rate", "1000"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["summary"]["switchovers"]["pause_ms"]["median"] > 0
    assert report["summary"]["promotions"]["opening_ms"]["median"] > 0
