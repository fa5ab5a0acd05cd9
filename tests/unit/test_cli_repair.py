"""`interlock log repair`, against a peer that answers on a real socket."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from uuid import uuid4

import pytest
import zmq
from typer.testing import CliRunner, Result

from interlock.cli.main import app
from interlock.shared.commands import ControlRequest, PeerFetch, PeerTail
from interlock.shared.errors import Reason
from interlock.shared.journal import Journal, verify
from interlock.shared.limits import MIB
from interlock.shared.messages import PROTOCOL_VERSION, Codec, Message, Refused, encode
from interlock.shared.roles import Role
from interlock.shared.state import DataDir, NodeMemory
from support.journal_kit import FastDisk, LogMaker, change, make_log, segment_bytes_of, state_at

CLUSTER = str(uuid4())
SOCKETS = ("intake", "link", "feed", "replay", "control", "telemetry")


def pair(tmp_path: Path) -> Path:
    """A configuration, and a stopped node b with a journal of one segment."""
    lines = ["[pair]", f'cluster = "{CLUSTER}"', 'primary = "a"', "[limits]"]
    lines += [f"segment_bytes = {2 * MIB}"]
    for node in "ab":
        lines += [f"[nodes.{node}]", f'data = "{node}"']
        lines += [f'{name} = "ipc://{tmp_path}/{node}-{name}"' for name in SOCKETS]
    config = tmp_path / "interlock.toml"
    config.write_text("\n".join(lines))
    data = DataDir(tmp_path / "b", CLUSTER, "b")
    data.save(NodeMemory(CLUSTER, "b", Role.SECONDARY))
    one = Journal.open(data.path, 2 * MIB, FastDisk())
    maker = log()
    one.append(maker.records, maker.last_seq)
    one.close()
    data.close()
    return config


def log() -> LogMaker:
    return make_log([230] * 14)


@contextmanager
def answering(tmp_path: Path, refusal: Refused | None = None) -> Iterator[list[PeerFetch]]:
    """Node a's control socket: gives the log record by record, or refuses; what it was asked."""
    maker = log()
    tails = {state_at(maker, at).position: raw for at, raw in enumerate(maker.records)}
    requests: Codec[ControlRequest] = Codec(ControlRequest)
    asked: list[PeerFetch] = []
    over = Event()

    def serve() -> None:
        with zmq.Context() as context, context.socket(zmq.ROUTER) as socket:
            socket.bind(f"ipc://{tmp_path}/a-control")
            while not over.is_set():
                if socket.poll(20):
                    sender, frame = socket.recv_multipart()
                    request = requests.decode(frame)
                    assert isinstance(request, PeerFetch)
                    asked.append(request)
                    tail = PeerTail(request.after, tails.get(request.after, b""))
                    reply: Message = refusal or tail
                    socket.send_multipart([sender, encode(reply)])

    thread = Thread(target=serve)
    thread.start()
    try:
        yield asked
    finally:
        over.set()
        thread.join()


def run(config: Path, *options: str) -> Result:
    return CliRunner().invoke(app, ["log", "repair", "b", "-c", str(config), *options])


def damage(config: Path) -> Path:
    directory = config.parent / "b"
    change(directory / f"{1:020d}.log", 1_000, b"\xff\xff")
    return directory


def test_a_journal_is_repaired_from_the_other_node(tmp_path: Path) -> None:
    config = pair(tmp_path)
    before = segment_bytes_of(tmp_path / "b")
    directory = damage(config)
    with answering(tmp_path) as asked:
        result = run(config)
    assert result.exit_code == 0, result.output
    assert "repaired and verified, seq 1 to 15" in result.stdout
    assert "fetched   1 messages in 1 records" in result.stdout
    assert f"rebuilt   {1:020d}.log" in result.stdout
    assert segment_bytes_of(directory) == before
    assert [(one.version, one.cluster, one.node) for one in asked] == [
        (PROTOCOL_VERSION, CLUSTER, "b")
    ]


def test_the_report_as_json(tmp_path: Path) -> None:
    config = pair(tmp_path)
    damage(config)
    with answering(tmp_path):
        result = run(config, "--json")
    report = json.loads(result.stdout)
    assert report["rebuilt"] == [f"{1:020d}.log"]
    assert (tmp_path / "b" / "quarantine" / report["set_aside"]).is_dir()
    assert (report["first_seq"], report["last_seq"]) == (1, 15)


def test_a_good_journal_needs_no_peer(tmp_path: Path) -> None:
    result = run(pair(tmp_path))
    assert result.exit_code == 0
    assert "nothing is damaged (seq 1 to 15); nothing was changed" in result.stdout


@pytest.mark.parametrize("case", ["silent", "refuses", "running", "no directory"])
def test_what_cannot_be_repaired_is_said_and_left(tmp_path: Path, case: str) -> None:
    config = pair(tmp_path)
    directory = damage(config)
    before = segment_bytes_of(directory)
    if case == "silent":
        result, said = run(config, "--timeout", "0.1"), "node a does not answer"
    elif case == "refuses":
        with answering(tmp_path, Refused(Reason.DIFFERENT_HISTORY, "another record")):
            result, said = run(config), "another record"
    elif case == "running":
        data = DataDir(directory, CLUSTER, "b")
        result, said = run(config), "is in use by a running node b"
        data.close()
    else:
        directory.rename(tmp_path / "elsewhere")
        result, said = run(config), "has no data directory"
        assert not directory.exists()
        directory = tmp_path / "elsewhere"
    assert result.exit_code == 2
    assert said in result.output
    assert segment_bytes_of(directory) == before
    assert not verify(directory).ok
    assert not (directory / "repair.tmp").exists()
