"""A node whose journal is damaged stays up as FAILED: an operator sees it, and repairs it thus.

Real processes and the commands that a person would type.
"""

from __future__ import annotations

import json
import signal
import socket as tcp
from collections.abc import Iterator
from pathlib import Path
from subprocess import CompletedProcess

import msgspec
import pytest

from interlock import Producer
from interlock.cli.embedded import EmbeddedPair
from interlock.client.control import ControlClient
from interlock.shared.commands import PeerCompare, PeerFetch
from interlock.shared.config import SOCKETS
from interlock.shared.errors import Reason
from interlock.shared.journal import JournalReader, diff
from interlock.shared.messages import PROTOCOL_VERSION, Refused
from interlock.shared.operations import Operation
from interlock.shared.roles import Role
from interlock.shared.state import STATE_FILE, NodeMemory
from interlock.shared.wire import GENESIS
from support.operators import execute, failing, operate, preflight
from support.pair import (
    PATIENCE_S,
    assert_identical,
    host_and_port,
    pair_of,
    run,
    start_as,
    status,
    wait_for,
    wait_for_state,
)

SAID = ("--reason", "a flipped bit", "--operator", "eve", "--json")


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[EmbeddedPair]:
    """A gated pair with a log of several segments."""
    with pair_of(tmp_path) as made:
        with Producer("p", made.config, record_messages=4) as producer:
            for number in range(700):
                producer.send(b"%d " % number + bytes(8_000))
            producer.flush(PATIENCE_S)
        wait_for("b to hold it", lambda: held(made, "b") == held(made, "a"))
        yield made


def held(pair: EmbeddedPair, name: str) -> int:
    return status(pair, name).watermarks.written_seq


def damage(pair: EmbeddedPair, name: str) -> tuple[Path, int, int]:
    """Stops a node, flips a bit in the middle of its last segment; file, offset and seq of it."""
    pair.kill(name)
    directory = pair.config.data_dir(name)
    segment = max(directory.glob("*.log"))
    records = list(JournalReader(directory).records(int(segment.stem)))
    # Behind the checkpoint at the roll, and before the end: what a restart reads.
    broken = records[len(records) // 2]
    data = bytearray(segment.read_bytes())
    offset = data.index(bytes(broken.raw))
    data[offset + len(broken.raw) - 1] ^= 1
    segment.write_bytes(data)
    return segment, offset, broken.seq


def memory(pair: EmbeddedPair, name: str) -> NodeMemory:
    raw = (pair.config.data_dir(name) / STATE_FILE).read_bytes()
    return msgspec.json.decode(raw, type=NodeMemory)


def cli(pair: EmbeddedPair, *words: str) -> CompletedProcess[str]:
    return run(*words, "-c", pair.config.path)


def test_it_says_what_is_damaged_and_serves_nothing_else(pair: EmbeddedPair) -> None:
    """The file, the offset and the seq are in the status, with the command that helps. Nothing of
    the journal was changed, no other socket is open, and nothing of the log is told."""
    segment, offset, seq = damage(pair, "b")
    before = segment.read_bytes()
    pair.start("b")
    found = wait_for_state(pair, "b", "FAILED", "journal damaged")
    assert f"{segment} at offset {offset}, where seq {seq} was expected" in found.why
    assert (found.role, found.epoch, found.promotable) == ("secondary", 0, False)
    assert found.journal.directory == str(pair.config.data_dir("b"))
    assert segment.read_bytes() == before

    shown = " ".join(cli(pair, "status").stdout.split())
    for words in ("FAILED", f"at offset {offset}", "interlock reinstate b --reseed"):
        assert words in shown
    assert "ERROR b: FAILED: journal damaged: " in pair.log("b")
    assert "Traceback" not in pair.log("b")

    node = pair.config.node("b")
    open_ports = {name for name in SOCKETS if listens(getattr(node, name))}
    assert open_ports == {"control", "telemetry"}

    client = ControlClient(pair.config)
    cluster = pair.config.cluster
    for question in (
        PeerCompare(PROTOCOL_VERSION, cluster, "a", [], GENESIS),
        PeerFetch(PROTOCOL_VERSION, cluster, "a", GENESIS),
    ):
        reply = client.ask("b", question)
        assert isinstance(reply, Refused)
        assert reply.reason is Reason.GUARD
        assert reply.text.startswith("node b is FAILED: journal damaged")
    assert client.quarantine("b") == []

    pair.kill("b", signal.SIGTERM)
    wait_for("b to end", lambda: pair.processes["b"].poll() is not None)
    assert pair.processes["b"].returncode == 0
    assert pair.log("b").rstrip().endswith("b: stopped")


def listens(endpoint: str) -> bool:
    with tcp.socket() as probe:
        return probe.connect_ex(host_and_port(endpoint)) == 0


def test_a_wrong_operation_is_refused_with_the_remedies(pair: EmbeddedPair) -> None:
    damage(pair, "b")
    pair.start("b")
    wait_for_state(pair, "b", "FAILED")
    for operation in (Operation.PROMOTE, Operation.REINSTATE, Operation.SOLO, Operation.DISCARD):
        (guard,) = (one for one in preflight(pair, operation, "b").guards if not one.passed)
        assert guard.name == "the node can go on"
        assert "b is FAILED: journal damaged" in guard.observed
        assert "interlock reinstate b --reseed" in guard.remedy
        assert "interlock log repair b" in guard.remedy
    done = cli(pair, "promote", "b", *SAID, "--confirm", "b")
    assert done.returncode == 3


def test_a_standby_is_reseeded_where_it_runs(pair: EmbeddedPair) -> None:
    """The command that the status names, from the command line. It ends when the node follows and
    has caught up: the same process, a byte-identical journal, and the damaged bytes in quarantine.
    The leader is in solo meanwhile, and its gate engages again by itself."""
    damage(pair, "b")
    damaged = {path.name: path.read_bytes() for path in pair.config.data_dir("b").glob("*.log")}
    assert len(damaged) > 2
    pair.start("b")
    wait_for_state(pair, "b", "FAILED")
    pid = pair.processes["b"].pid
    operate(pair, Operation.SOLO, "a")
    with Producer("alone", pair.config) as producer:
        last = producer.send(b"without b").result(PATIENCE_S)

    done = cli(pair, "reinstate", "b", "--reseed", *SAID, "--confirm", "b")
    assert done.returncode == 0, done.stdout + done.stderr
    receipt = json.loads(done.stdout)["receipt"]
    assert receipt["result"] == "done"
    assert "has caught up" in receipt["text"]
    found = status(pair, "b")
    assert (found.state, found.pid, found.incarnation) == ("IN_SYNC", pid, 2)
    assert found.watermarks.written_seq >= last
    assert memory(pair, "b").role is Role.SECONDARY
    pair.wait_until_gated()

    (entry,) = ControlClient(pair.config).quarantine("b")
    assert entry.name in receipt["text"]
    kept = pair.config.data_dir("b") / "quarantine" / entry.name
    assert {path.name: path.read_bytes() for path in kept.glob("*.log")} == damaged
    assert_identical(pair)
    assert "eve" in cli(pair, "history").stdout
    with Producer("after", pair.config) as producer:
        producer.send(b"goes on").result(PATIENCE_S)
    pair.stop()
    assert pair.processes["b"].returncode == 0
    assert diff(pair.config.data_dir("a"), pair.config.data_dir("b")).identical


def test_it_can_be_stopped_and_repaired(pair: EmbeddedPair) -> None:
    """`interlock log repair` needs the node stopped, and says so; the rest is as for any repair."""
    damage(pair, "b")
    pair.start("b")
    wait_for_state(pair, "b", "FAILED")
    done = cli(pair, "log", "repair", "b")
    assert done.returncode == 2
    assert "node b runs as FAILED" in done.stderr
    assert "interlock shutdown b" in done.stderr
    done = cli(pair, "shutdown", "b", *SAID, "--confirm", "b", "--timeout", "5")
    assert done.returncode == 0, done.stdout + done.stderr
    wait_for("b to end", lambda: pair.processes["b"].poll() is not None)
    assert pair.processes["b"].returncode == 0
    done = cli(pair, "log", "repair", "b")
    assert done.returncode == 0, done.stderr
    pair.start("b")
    pair.wait_until_gated()
    assert_identical(pair)


def test_a_damaged_primary_gives_way_where_it_runs(pair: EmbeddedPair) -> None:
    """It cannot say what it did, so its peer's promotion is attested for; but it answers, so it
    gives way, durably: repaired and started again it is a standby, whatever it was started as."""
    damage(pair, "a")
    pair.start("a")
    found = wait_for_state(pair, "a", "FAILED")
    assert found.role == "primary"
    wait_for_state(pair, "b", "ORPHANED")
    assert failing(pair, Operation.REINSTATE, "a", reseed=True) == ["the other node leads"]
    before = preflight(pair, Operation.PROMOTE, "b")
    assert before.passed
    assert before.attestation.startswith("a is FAILED or stopped and stays so, not promoted and ")
    assert "node a is FAILED: journal damaged" in before.peer
    receipt = operate(pair, Operation.PROMOTE, "b")
    assert [check.observed for check in receipt.checks if check.name == "fenced"] == [
        f"a gave way to epoch {receipt.epoch}"
    ]
    given = memory(pair, "a")
    assert (given.role, given.target) == (Role.SECONDARY, None)
    assert given.promised_epoch == status(pair, "b").epoch
    assert given.promised_epoch > found.promised_epoch
    assert status(pair, "a").state == "FAILED"

    pair.kill("a")
    start_as(pair, "primary", "a")
    wait_for_state(pair, "a", "FAILED")
    operate(pair, Operation.REINSTATE, "a", reseed=True)
    assert status(pair, "a").role == "secondary"
    pair.wait_until_gated()
    assert_identical(pair)


def test_an_empty_leader_is_not_copied_without_saying_so(pair: EmbeddedPair) -> None:
    """B is damaged, and A's disk was replaced: A is empty, and takes itself for the primary. The
    damaged journal of B is the only copy of what was released."""
    damage(pair, "b")
    pair.kill("a")
    for path in pair.config.data_dir("a").iterdir():
        if path.is_file():
            path.unlink()
    pair.start("a")
    pair.start("b")
    wait_for_state(pair, "b", "FAILED")
    wait_for_state(pair, "a", "RESUMING")
    found = preflight(pair, Operation.REINSTATE, "b", reseed=True)
    (guard,) = (one for one in found.guards if not one.passed)
    assert guard.name == "the leader holds all that was released"
    assert "a ends at seq 0" in guard.observed
    assert [risk.what for risk in found.risks] == ["lost"]
    assert found.risks[0].last_seq >= 400
    assert preflight(pair, Operation.REINSTATE, "b", reseed=True, accept_loss=True).passed


def test_a_disk_that_cannot_take_the_new_journal_leaves_it_failed(pair: EmbeddedPair) -> None:
    """The quarantine cannot be made: the operation ends as UNKNOWN, with the reason, the node stays
    up, and the same command works once the reason is gone."""
    damage(pair, "b")
    in_the_way = pair.config.data_dir("b") / "quarantine"
    in_the_way.write_text("a file")
    pair.start("b")
    wait_for_state(pair, "b", "FAILED", "journal damaged")
    receipt = execute(pair, preflight(pair, Operation.REINSTATE, "b", reseed=True))
    assert "b stays FAILED: cannot set files aside" in getattr(receipt, "text", "")
    wait_for_state(pair, "b", "FAILED", "cannot set files aside")
    assert not memory(pair, "b").target
    in_the_way.unlink()
    operate(pair, Operation.REINSTATE, "b", reseed=True)
    pair.wait_until_gated()
    assert_identical(pair)
