"""`interlock status`: what it shows, and by what exit code a script can tell."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import msgspec
import pytest
import zmq
from typer.testing import CliRunner, Result

from interlock.cli.embedded import EmbeddedPair
from interlock.cli.main import app
from interlock.client import Producer
from interlock.shared.errors import Reason
from interlock.shared.messages import Refused
from interlock.shared.telemetry import NodeStatus
from support.pair import (
    PATIENCE_S,
    Raw,
    command,
    pair_of,
    status,
    wait_for,
    wait_for_state,
    write_config,
)


def show(pair: EmbeddedPair, *options: str) -> Result:
    return CliRunner().invoke(app, ["status", "-c", pair.config.path, "--timeout", "0.5", *options])


def as_json(pair: EmbeddedPair, code: int) -> dict[str, Any]:
    done = show(pair, "--json")
    assert done.exit_code == code, done.output
    nodes: dict[str, Any] = json.loads(done.stdout)["nodes"]
    assert list(nodes) == ["a", "b"]
    return nodes


def test_status_of_a_pair_that_serves_stalls_and_dies(tmp_path: Path) -> None:
    with pair_of(tmp_path) as pair:
        wait_for("b to know a release", lambda: status(pair, "b").watermarks.released_seq)
        nodes = as_json(pair, 0)
        for name, role, state in (("a", "primary", "GATED"), ("b", "secondary", "IN_SYNC")):
            told = msgspec.convert(nodes[name], NodeStatus)
            assert (told.node, told.role, told.state) == (name, role, state)
            assert told.cluster == pair.config.cluster
            assert told.pid == pair.processes[name].pid
            assert (told.epoch, told.leader, told.mode) == (1, "a", "gated")
            assert told.ack_level == "written"
            assert told.incarnation == 1
            assert told.link.up
            assert told.watermarks.accepted_seq >= told.watermarks.released_seq > 0
            assert told.refused == {}
            assert told.why
        with Raw(pair.config.node("a").control) as raw:
            raw.send(b"noise")
            assert raw.frames()
        done = show(pair)
        assert done.exit_code == 0
        for word in ("GATED", "IN_SYNC", "1 gated, led by a", "up to b", "up to a", "pid "):
            assert word in done.stdout
        assert "a refused 1 x control.malformed" in done.stdout

        pair.kill("b")
        wait_for_state(pair, "a", "STALLED")
        nodes = as_json(pair, 1)
        assert nodes["b"] is None
        assert nodes["a"]["state"] == "STALLED"
        assert "nothing heard from b" in nodes["a"]["why"]
        done = show(pair)
        assert done.exit_code == 1
        assert "does not answer" in done.stdout
        assert "down to b" in done.stdout

        pair.start("b")
        pair.wait_until_gated()
        pair.kill("a")
        wait_for_state(pair, "b", "ORPHANED")
        nodes = as_json(pair, 1)
        assert nodes["a"] is None
        assert nodes["b"]["state"] == "ORPHANED"
        done = show(pair)
        assert done.exit_code == 1
        assert "does not answer" in done.stdout
        assert "nothing heard from the primary a" in " ".join(done.stdout.split())


def test_a_primary_tells_of_its_producers_and_where_the_time_goes(tmp_path: Path) -> None:
    with pair_of(tmp_path) as pair:
        with Producer("p", pair.config) as producer:
            for _ in range(50):
                producer.send(b"body").result(PATIENCE_S)
            told = status(pair, "a")
        shown = told.producers[0]
        assert (shown.name, shown.accepted_producer_seq, shown.duplicates) == ("p", 50, 0)
        assert shown.refused == 0
        assert shown.last_seen_age_ms is not None
        assert 0 <= shown.last_seen_age_ms < PATIENCE_S * 1_000
        stages = {stage.name: stage for stage in told.stages}
        assert list(stages) == ["intake", "replicate+write", "ack", "release", "rtt"]
        for stage in stages.values():
            assert 0 < stage.p50_us <= stage.p99_us <= stage.max_us
        assert stages["rtt"].max_us >= stages["ack"].max_us
        for name in ("a", "b"):
            assert (status(pair, name).memory_bytes or 0) > 1 << 20


def test_status_of_nodes_that_are_not_there(tmp_path: Path) -> None:
    write_config(tmp_path / "interlock.toml")
    with EmbeddedPair(tmp_path) as pair:
        assert as_json(pair, 1) == {"a": None, "b": None}
        done = show(pair)
        assert done.exit_code == 1
        assert done.stdout.count("does not answer") == 2


@pytest.mark.parametrize(
    ("reply", "told"),
    [
        (Refused(Reason.WRONG_VERSION, "this node speaks 9"), "this node speaks 9"),
        (b"HTTP/1.1 400 Bad Request", "not a message of this socket"),
    ],
)
def test_a_node_that_answers_otherwise_is_an_error_and_no_traceback(
    tmp_path: Path, reply: Refused | bytes, told: str
) -> None:
    write_config(tmp_path / "interlock.toml")
    with EmbeddedPair(tmp_path) as pair:
        where = pair.config.node("a").control
        line = command("status", "-c", pair.config.path, "--timeout", "5")
        with (
            Raw(where, zmq.ROUTER, bind=True) as other,
            subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as asking,
        ):
            asked = other.frames()
            assert asked is not None
            other.send(asked[0], reply)
            _, complaint = asking.communicate(timeout=20)
    assert asking.returncode == 1
    assert told in complaint.decode()
    assert complaint.decode().startswith("interlock: ")
    assert complaint.count(b"\n") == 1
