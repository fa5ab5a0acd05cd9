"""`interlock quarantine`: what is kept is listed, exported, and submitted again exactly once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from interlock.client.resubmit import Fate, ProducerPart, resubmit
from interlock.shared.commands import (
    ControlRequest,
    Execute,
    GetPreflight,
    GetQuarantine,
    Quarantine,
    QuarantineChunk,
    QuarantineEntry,
    ReadQuarantine,
)
from interlock.shared.errors import Reason
from interlock.shared.messages import Message, Refused, Submit
from interlock.shared.operations import Operation
from interlock.shared.wire import Position, parse_records
from interlock.tests.unit.client_fake_node import FakeNode, bodies_of
from interlock.tests.unit.client_kit import LogBook
from interlock.tests.unit.operate_kit import FAILS, ControlNode, Stage

TYPED = ("--reason", "after the failover", "--operator", "eve", "--confirm", "b")
ENTRY = "0002-after-1"


def tail() -> bytes:
    """What was cut: p has 2 to 5 in two records, q has 1, and a tick is between."""
    log = LogBook()
    log.open(2, "b")
    log.data(b"p2", b"p3", producer="p", producer_seq=2)
    log.tick()
    log.data(b"q1 \xff", producer="q", producer_seq=1)
    log.data(b"p4", b"p5", producer="p", producer_seq=4)
    return b"".join(log.records[1:])


RECORDS = parse_records(tail())


class Keeper:
    """Node b answers for its quarantine; node a leads, and takes submissions."""

    def __init__(self, directory: Path) -> None:
        self.leader = FakeNode()
        self.stage = Stage(directory, {"a.intake": self.leader.intake})
        self.a = self.stage.add("a", "primary", "GATED")
        self.b = self.stage.add("b", "secondary", "IN_SYNC")
        self.data = tail()
        self.a.script = lambda message: (
            Quarantine([]) if isinstance(message, GetQuarantine) else None
        )
        self.b.script = self._keep

    def _keep(self, message: ControlRequest) -> Message | None:
        match message:
            case GetQuarantine():
                counts = {"p": 4, "q[red]": 1}
                one = QuarantineEntry(
                    ENTRY, "kept", 1, Position(1, 0), 2, 7, 4, 6, 300, counts, "cut [bold]here"
                )
                return Quarantine([one])
            case ReadQuarantine(_, entry, offset):
                return QuarantineChunk(entry, offset, self.data[offset : offset + 100])
            case _:
                return None

    def run(self, *words: str) -> Result:
        return self.stage.run("quarantine", *words)

    def resubmit(self, *words: str) -> Result:
        return self.run("resubmit", "b", ENTRY, *TYPED, *words)

    def close(self) -> None:
        self.stage.close()
        self.leader.stop()


@pytest.fixture
def keeper(tmp_path: Path) -> Iterator[Keeper]:
    made = Keeper(tmp_path)
    yield made
    made.close()


@pytest.fixture
def leader() -> Iterator[FakeNode]:
    made = FakeNode()
    yield made
    made.stop()


def parts(leader: FakeNode, timeout: float = 1.0) -> dict[str, ProducerPart]:
    found = resubmit(leader.intake, leader.cluster, RECORDS, timeout)
    assert all(one.submitted + one.already_there + one.skipped == one.messages for one in found)
    return {one.producer: one for one in found}


def counts(part: ProducerPart) -> tuple[int, int, int, Fate]:
    return part.submitted, part.already_there, part.skipped, part.fate


# The session ---------------------------------------------------------------------------------


def test_each_message_comes_in_once_under_its_own_name_and_number(leader: FakeNode) -> None:
    leader.append(b"p1", producer="p")
    found = parts(leader)
    assert counts(found["p"]) == (4, 0, 0, Fate.DONE)
    assert counts(found["q"]) == (1, 0, 0, Fate.DONE)
    assert bodies_of(leader.log, "p") == [b"p1", b"p2", b"p3", b"p4", b"p5"]
    leader.sessions.clear()  # what a real node does at a goodbye
    again = parts(leader)
    assert counts(again["p"]) == (0, 4, 0, Fate.DONE)
    assert counts(again["q"]) == (0, 1, 0, Fate.DONE)
    assert bodies_of(leader.log, "p") == [b"p1", b"p2", b"p3", b"p4", b"p5"]


def test_a_record_that_is_there_in_part_is_completed(leader: FakeNode) -> None:
    leader.append(b"p1", b"p2", producer="p")
    assert counts(parts(leader)["p"]) == (3, 1, 0, Fate.DONE)
    assert bodies_of(leader.log, "p") == [b"p1", b"p2", b"p3", b"p4", b"p5"]


def test_a_producer_that_is_connected_is_left_alone(leader: FakeNode) -> None:
    leader.append(b"p1", producer="p")
    leader.sessions["p"] = (b"somebody", 5)
    found = parts(leader)
    assert counts(found["p"]) == (0, 0, 4, Fate.CONNECTED)
    assert found["p"].text == "producer p is connected and submits by itself"
    assert counts(found["q"]) == (1, 0, 0, Fate.DONE)
    assert leader.sessions["p"] == (b"somebody", 5)
    assert all(hello.resume for hello in leader.hellos)


def test_numbers_that_are_in_neither_are_a_gap_and_nothing_after_them_is_submitted(
    leader: FakeNode,
) -> None:
    found = parts(leader)
    assert counts(found["p"]) == (0, 0, 4, Fate.GAP)
    assert "1 to 1 are in neither" in found["p"].text
    assert bodies_of(leader.log, "p") == []


def test_a_busy_leader_is_asked_again_with_a_new_attempt(leader: FakeNode) -> None:
    leader.append(b"p1", producer="p")
    attempts: list[int] = []

    def busy_twice(submit: Submit) -> Message | None:
        attempts.append(submit.attempt)
        if len(attempts) > 2:
            return None
        return Refused(Reason.BUSY, "full", submit.session, submit.attempt)

    leader.script = busy_twice
    assert counts(parts(leader)["p"]) == (4, 0, 0, Fate.DONE)
    assert attempts[:3] == [1, 2, 3]


def test_what_is_refused_or_not_confirmed_is_told_and_stops_that_producer(
    leader: FakeNode,
) -> None:
    leader.append(b"p1", producer="p")
    leader.script = lambda submit: Refused(
        Reason.BUSY, "paused by eve", submit.session, submit.attempt
    )
    found = parts(leader, 0.3)
    assert counts(found["p"]) == (0, 0, 4, Fate.REFUSED)
    assert found["p"].text == "busy: paused by eve"
    leader.sessions.clear()
    leader.script = lambda submit: Refused(Reason.BUSY, "of another session", 99)
    found = parts(leader, 0.3)
    assert counts(found["p"]) == (0, 0, 4, Fate.UNKNOWN)
    assert "may be in the log" in found["p"].text


def test_the_session_is_ended_so_that_the_producer_can_come_back(leader: FakeNode) -> None:
    leader.append(b"p1", producer="p")
    parts(leader)
    for _ in range(100):
        if leader.byes == 2:
            break
        leader._thread.join(0.02)
    assert leader.byes == 2


# The commands --------------------------------------------------------------------------------


def test_the_list_shows_both_nodes(keeper: Keeper) -> None:
    done = keeper.run("list")
    assert done.exit_code == 0, done.output
    text = " ".join(done.output.split())
    for words in (ENTRY, "kept", "2 to 7", "p 4, q[red] 1", "cut [bold]here", "a keeps nothing"):
        assert words in text
    told = json.loads(keeper.run("list", "--json").stdout)
    assert told["nodes"]["a"] == []
    assert told["nodes"]["b"][0]["name"] == ENTRY


def test_a_node_that_is_down_is_not_taken_for_an_empty_one(
    keeper: Keeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("interlock.cli.quarantine.ASK_S", 0.3)
    keeper.stage.nodes.pop("a").stop()
    done = keeper.run("list")
    assert done.exit_code == 1
    assert "a does not answer" in done.output


def test_an_export_is_what_was_cut_byte_by_byte(keeper: Keeper, tmp_path: Path) -> None:
    out = tmp_path / "tail"
    done = keeper.run("export", "b", ENTRY, "--out", str(out))
    assert done.exit_code == 0, done.output
    assert out.read_bytes() == keeper.data
    again = keeper.run("export", "b", ENTRY, "--out", str(out))
    assert again.exit_code == 2
    assert "exists already" in again.output
    assert keeper.run("export", "b", ENTRY).stdout_bytes == keeper.data


def test_an_export_of_messages_is_what_consume_prints(keeper: Keeper) -> None:
    done = keeper.run("export", "b", ENTRY, "--jsonl")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(line["producer"], line["producer_seq"], line["seq"]) for line in lines] == [
        ("p", 2, 2),
        ("p", 3, 3),
        ("q", 1, 5),
        ("p", 4, 6),
        ("p", 5, 7),
    ]
    assert lines[0]["body"] == "p2"
    assert lines[2]["body_base64"] == "cTEg/w=="


def test_discarding_is_an_operation_like_the_others(keeper: Keeper) -> None:
    refused = keeper.run("discard", "b", ENTRY)
    assert refused.exit_code == 2
    assert "--confirm b" in refused.output
    done = keeper.run("discard", "b", ENTRY, *TYPED)
    assert done.exit_code == 0, done.output
    assert f"preflight: quarantine discard b {ENTRY}" in done.output
    request = keeper.b.of(GetPreflight)[-1].request
    assert (request.operation, request.node, request.entry) == (Operation.DISCARD, "b", ENTRY)


def marks(node: ControlNode) -> list[Any]:
    return node.of(Execute)


def test_a_tail_that_is_submitted_is_marked_with_what_was_done(keeper: Keeper) -> None:
    keeper.leader.append(b"p1", b"p2", producer="p")
    done = keeper.resubmit("--json")
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert [
        (part["producer"], part["submitted"], part["already_there"]) for part in told["producers"]
    ] == [("p", 3, 1), ("q", 1, 0)]
    assert len(marks(keeper.b)) == 1
    request = keeper.b.of(GetPreflight)[-1].request
    assert (request.operation, request.entry) == (Operation.RESUBMIT, ENTRY)
    assert request.detail == "p 3 submitted, 1 there, 0 skipped; q 1 submitted, 0 there, 0 skipped"
    assert bodies_of(keeper.leader.log, "q") == [b"q1 \xff"]


def test_a_connected_producer_is_told_and_the_tail_is_marked(keeper: Keeper) -> None:
    keeper.leader.sessions["p"] = (b"somebody", 5)
    done = keeper.resubmit()
    assert done.exit_code == 0, done.output
    assert "producer p is connected and submits by itself" in done.output
    assert len(marks(keeper.b)) == 1


def test_a_tail_with_a_gap_stays_kept(keeper: Keeper) -> None:
    done = keeper.resubmit()
    assert done.exit_code == 1
    text = " ".join(done.output.split())
    assert "NOT ALL OF IT: p: the log ends at number 0" in text
    assert "stays as it is" in text
    assert marks(keeper.b) == []


def test_nothing_is_submitted_before_it_is_confirmed_or_if_a_guard_fails(keeper: Keeper) -> None:
    keeper.leader.append(b"p1", producer="p")
    assert keeper.run("resubmit", "b", ENTRY).exit_code == 2
    keeper.b.guards = [FAILS]
    assert keeper.resubmit().exit_code == 3
    assert keeper.leader.hellos == []


def test_without_a_leader_nothing_is_submitted(keeper: Keeper) -> None:
    keeper.a.said = keeper.b.said
    done = keeper.resubmit()
    assert done.exit_code == 3
    assert "none does" in done.output
    assert keeper.leader.hellos == []
