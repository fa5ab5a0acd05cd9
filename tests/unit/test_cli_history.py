"""`interlock history`: the pair's story, from a node's log or from a directory."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from interlock.shared.commands import Execute
from interlock.shared.epochs import EpochClosed
from interlock.shared.errors import RemoteError
from interlock.shared.journal import Journal
from interlock.shared.messages import PROTOCOL_VERSION
from interlock.shared.operations import Operation, Request, Result
from interlock.shared.story import event_of
from interlock.shared.wire import Kind, parse_records
from interlock.tests.unit.client_fake_node import FakeNode
from interlock.tests.unit.client_kit import LogBook
from interlock.tests.unit.operate_kit import CLUSTER, Stage, receipt_of

SEGMENT_BYTES = 2 * 1024 * 1024


def story(log: LogBook) -> None:
    """An epoch with messages, an operation that closes it, and the next one."""
    pack = msgspec.msgpack.encode
    execute = Execute(
        PROTOCOL_VERSION, CLUSTER, "0badcafe", "eve", "the disk [red]burns", "a", "b is stopped"
    )
    log.data(b"one", b"two")
    done = receipt_of(Request(Operation.SOLO, "a", for_ms=600_000), execute, Result.DONE, ["ann"])
    log._add(Kind.OPERATION, "a", 0, 1, pack(done))
    refused = receipt_of(Request(Operation.PROMOTE, "b"), execute, Result.REFUSED)
    log._add(Kind.OPERATION, "a", 0, 1, pack(refused))
    log.tick()
    closed = EpochClosed(log.epoch, "a", "b", True, "eve", "maintenance", "0badcafe")
    log._add(Kind.EPOCH_CLOSED, "a", 0, 1, pack(closed))
    log.open(log.epoch + 1, "b")


@pytest.fixture
def node() -> Iterator[FakeNode]:
    made = FakeNode()
    story(made.log)
    yield made
    made.stop()


@pytest.fixture
def stage(tmp_path: Path, node: FakeNode) -> Stage:
    return Stage(tmp_path, {"a.replay": node.replay})


def told(stage: Stage, *words: str) -> list[dict[str, object]]:
    done = stage.run("history", "--node", "a", "--json", *words)
    assert done.exit_code == 0, done.output
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_who_did_what_when_and_why(stage: Stage) -> None:
    events = told(stage)
    assert [(event["seq"], event["what"], event["result"]) for event in events] == [
        (1, "epoch 1 opened, gated", ""),
        (4, "solo a --for 10m", "DONE"),
        (5, "promote b", "REFUSED"),
        (7, "epoch 1 handed over to b", ""),
        (8, "epoch 2 opened, gated", ""),
    ]
    solo = events[1]
    assert (solo["operator"], solo["reason"]) == ("eve + ann", "the disk [red]burns")
    assert (solo["node"], solo["pause_ms"], solo["operation"]) == ("a", 12.5, "0badcafe")
    done = stage.run("history", "--node", "a")
    text = " ".join(done.output.split())
    for words in (
        "1970-01-01T00:00:00Z",
        "eve + ann",
        "12.5 ms",
        "maintenance",
        "so it [red]ended",
    ):
        assert words in text


def test_a_part_of_it(stage: Stage) -> None:
    assert [event["seq"] for event in told(stage, "--limit", "2")] == [7, 8]
    assert [event["seq"] for event in told(stage, "--from-seq", "5")] == [5, 7, 8]
    assert told(stage, "--from-seq", "99") == []
    done = stage.run("history", "--node", "a", "--from-seq", "99")
    assert "no epoch and no operation" in done.output


def test_the_log_of_a_long_reign_is_read_to_its_end(stage: Stage, node: FakeNode) -> None:
    """The fake node answers 50 records at a time."""
    for _ in range(180):
        node.append(b"x")
    node.log.open(3, "a")
    assert told(stage)[-1]["what"] == "epoch 3 opened, gated"


def test_the_node_that_is_up_is_read_without_being_named(stage: Stage) -> None:
    done = stage.run("history", "--json")
    assert done.exit_code == 0, done.output
    assert len(done.stdout.splitlines()) == 5


def test_if_no_node_answers_a_directory_is_named_as_the_way(stage: Stage, node: FakeNode) -> None:
    node.mute = True
    done = stage.run("history")
    assert done.exit_code == 1
    assert "no node serves the log (asked for 2 s: a and b" in done.output
    assert "data directory" in done.output


def test_a_log_that_does_not_hold_together_is_no_history(stage: Stage, node: FakeNode) -> None:
    del node.log.records[1]
    done = stage.run("history", "--node", "a")
    assert done.exit_code == 1
    assert isinstance(done.exception, SystemExit)
    assert "expected" in done.output


def test_a_directory_tells_the_same(stage: Stage, node: FakeNode, tmp_path: Path) -> None:
    directory = tmp_path / "data"
    directory.mkdir()
    journal = Journal.open(directory, SEGMENT_BYTES)
    for record in parse_records(b"".join(node.log.records)):
        journal.state.apply(record)
    journal.append(node.log.records, node.log.last_seq)
    journal.close()
    done = stage.run("history", "--dir", str(directory), "--json")
    assert done.exit_code == 0, done.output
    assert [json.loads(line) for line in done.stdout.splitlines()] == told(stage)


def test_a_directory_without_a_journal_is_a_mistake(stage: Stage, tmp_path: Path) -> None:
    assert stage.run("history", "--dir", str(tmp_path)).exit_code == 2


def test_a_payload_that_cannot_be_read_is_no_event() -> None:
    log = LogBook()
    log.open(1)
    raw = log._add(Kind.OPERATION, "a", 0, 1, b"noise")
    with pytest.raises(RemoteError):
        event_of(parse_records(raw)[0])
