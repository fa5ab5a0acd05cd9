"""The control client, against nodes that answer what the test says."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import zmq

from interlock.client.control import ControlClient, find_leader
from interlock.client.errors import NoAnswerError, OperationRefused
from interlock.shared.commands import (
    Approve,
    Approved,
    ControlReply,
    ControlRequest,
    Execute,
    GetOperation,
    GetPreflight,
    GetQuarantine,
    GetStatus,
    Outcome,
    PreflightReport,
    Quarantine,
    QuarantineChunk,
    QuarantineEntry,
    ReadQuarantine,
    Status,
    UnderWay,
)
from interlock.shared.config import Config, load_config
from interlock.shared.errors import Reason, RemoteError, UserError
from interlock.shared.messages import Codec, Refused, encode
from interlock.shared.operations import Guard, Operation, Preflight, Receipt, Request, Result
from interlock.shared.telemetry import JournalStatus, LinkStatus, NodeStatus, PendingStatus
from interlock.shared.telemetry import Watermarks as Marks
from interlock.shared.wire import GENESIS
from interlock.tests.unit.client_kit import CLUSTER

Answer = Callable[[ControlRequest], list[ControlReply | bytes]]

REQUEST = Request(Operation.SWITCHOVER, "a")
RECEIPT = Receipt(
    "t1", REQUEST, "op", [], "why", "", Result.DONE, "b leads", [], 2, 1, 2, pause_ms=3.0
)
UNKNOWN = Refused(Reason.UNKNOWN_OPERATION, "not known here")


def status(role: str = "primary", state: str = "GATED", epoch: int = 1) -> NodeStatus:
    return NodeStatus(
        cluster=CLUSTER,
        node="a",
        role=role,
        state=state,
        why="",
        state_since_ns=0,
        time_ns=0,
        started_ns=0,
        incarnation=1,
        pid=1,
        version="",
        epoch=epoch,
        mode="gated",
        leader="a",
        promised_epoch=epoch,
        ack_level="written",
        watermarks=Marks(),
        pending=PendingStatus(),
        link=LinkStatus(),
        journal=JournalStatus(),
        producers=[],
        producers_known=0,
        counters={},
        refused={},
        events=[],
    )


class FakeControl:
    """A node's control socket: records what is asked and answers by `answer`."""

    def __init__(self) -> None:
        self.asked: list[ControlRequest] = []
        self.answer: Answer = lambda request: []
        self._context: zmq.Context[Any] = zmq.Context()
        self._socket = self._context.socket(zmq.ROUTER)
        self._socket.bind("tcp://127.0.0.1:*")
        self.endpoint = self._socket.getsockopt_string(zmq.LAST_ENDPOINT)
        self._stopping = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        requests: Codec[ControlRequest] = Codec(ControlRequest)
        while not self._stopping:
            if self._socket.poll(20):
                sender, frame = self._socket.recv_multipart()
                request = requests.decode(frame)
                self.asked.append(request)
                for reply in self.answer(request):
                    raw = reply if isinstance(reply, bytes) else encode(reply)
                    self._socket.send_multipart([sender, raw])

    def stop(self) -> None:
        self._stopping = True
        self._thread.join(10)
        self._context.destroy(linger=0)


@pytest.fixture
def nodes() -> Iterator[tuple[FakeControl, FakeControl]]:
    found = FakeControl(), FakeControl()
    yield found
    for node in found:
        node.stop()


@pytest.fixture
def control(nodes: tuple[FakeControl, FakeControl], tmp_path: Path) -> ControlClient:
    return ControlClient(pair_config(tmp_path, *(node.endpoint for node in nodes)))


def pair_config(folder: Path, *controls: str) -> Config:
    sockets = ("intake", "link", "feed", "replay", "telemetry")
    lines = ["[pair]", f'cluster = "{CLUSTER}"', 'primary = "a"']
    for index, (name, endpoint) in enumerate(zip("ab", controls, strict=True)):
        lines += [f"[nodes.{name}]", f'data = "data-{name}"', f'control = "{endpoint}"']
        lines += [
            f'{socket} = "tcp://127.0.0.1:{20 + 10 * index + port}"'
            for port, socket in enumerate(sockets)
        ]
    path = folder / "interlock.toml"
    path.write_text("\n".join(lines))
    return load_config(path)


def test_the_leader_is_the_primary_with_an_open_epoch_and_the_highest_wins() -> None:
    standby = status("secondary", "IN_SYNC")
    assert find_leader({"a": status(), "b": standby}) == "a"
    assert find_leader({"a": status(state="STALLED", epoch=3), "b": status(epoch=4)}) == "b"
    assert find_leader({"a": status(state="RESUMING", epoch=0), "b": standby}) is None
    assert find_leader({"a": status(state="FENCED"), "b": None}) is None
    for state in ("STALLED", "SOLO", "DRAINING"):
        assert find_leader({"a": None, "b": status(state=state)}) == "b"


def test_statuses_name_who_did_not_answer(
    control: ControlClient, nodes: tuple[FakeControl, FakeControl]
) -> None:
    nodes[0].answer = lambda request: [Status(status())]
    found = control.statuses(0.2)
    assert found == {"a": status(), "b": None}
    assert control.find_leader(found) == "a"
    assert isinstance(nodes[0].asked[0], GetStatus)


def test_a_preflight_is_asked_of_the_node_of_the_request(
    control: ControlClient, nodes: tuple[FakeControl, FakeControl]
) -> None:
    guard = Guard("in sync", False, "no", "yes")
    expected = Preflight(REQUEST, CLUSTER, 1, [guard], [], [], Marks(), "b", "a", "", 1, "", 30_000)
    nodes[0].answer = lambda request: [PreflightReport(expected)]
    assert control.preflight(REQUEST) == expected
    asked = nodes[0].asked[0]
    assert isinstance(asked, GetPreflight)
    assert (asked.cluster, asked.request) == (CLUSTER, REQUEST)
    with pytest.raises(NoAnswerError, match=r"node b has not answered at tcp.* within 0.1 s"):
        control.preflight(msgspec.structs.replace(REQUEST, node="b"), 0.1)
    with pytest.raises(UserError):
        control.preflight(msgspec.structs.replace(REQUEST, node="c"), 0.1)


def test_an_execution_is_waited_for_to_its_end(
    control: ControlClient, nodes: tuple[FakeControl, FakeControl]
) -> None:
    nodes[0].answer = lambda request: [UnderWay("t1", "drains"), Outcome(RECEIPT)]
    assert control.execute("a", "t1", "op", "why", "a", "it is stopped", 10) == RECEIPT
    asked = nodes[0].asked[0]
    assert isinstance(asked, Execute)
    assert (asked.token, asked.operator, asked.reason) == ("t1", "op", "why")
    assert (asked.confirm, asked.attestation, asked.cluster) == ("a", "it is stopped", CLUSTER)


def test_only_what_the_node_refused_is_a_refusal(
    control: ControlClient, nodes: tuple[FakeControl, FakeControl]
) -> None:
    nodes[0].answer = lambda request: [Refused(Reason.WORLD_MOVED, "the standby was promoted")]
    with pytest.raises(OperationRefused, match="the standby was promoted") as refused:
        control.execute("a", "t1", "op", "why", "a")
    assert refused.value.reason is Reason.WORLD_MOVED
    nodes[0].answer = lambda request: [UnderWay("t1", "drains")]
    assert control.execute("a", "t1", "op", "why", "a", timeout=0.1) is None
    nodes[0].answer = lambda request: [b"\xc1"]
    assert control.execute("a", "t1", "op", "why", "a", timeout=5) is None, "it may have happened"


def test_what_became_of_it_is_asked_of_both_nodes_until_one_knows(
    control: ControlClient, nodes: tuple[FakeControl, FakeControl]
) -> None:
    """`a` has forgotten it, `b` is at it, and then knows the end."""

    def later(request: ControlRequest) -> list[ControlReply | bytes]:
        return [UnderWay("t1", "opens") if len(nodes[1].asked) < 3 else Outcome(RECEIPT)]

    nodes[0].answer = lambda request: [UNKNOWN]
    nodes[1].answer = later
    assert control.settle("a", "t1", 30) == RECEIPT
    assert isinstance(nodes[0].asked[0], GetOperation)
    nodes[1].answer = lambda request: [UnderWay("t1", "opens")]
    assert control.settle("a", "t1", 0.3) == UnderWay("t1", "opens")
    nodes[1].answer = lambda request: [UNKNOWN]
    assert control.settle("b", "t1", 0.3) is None
    nodes[1].answer = lambda request: [b"\xc1"]
    assert control.settle("b", "t1", 0.3) is None


def test_a_dead_node_leaves_time_to_ask_the_other(
    control: ControlClient, nodes: tuple[FakeControl, FakeControl]
) -> None:
    nodes[1].answer = lambda request: [Outcome(RECEIPT)]
    assert control.settle("a", "t1", 1.0) == RECEIPT


def test_approving(control: ControlClient, nodes: tuple[FakeControl, FakeControl]) -> None:
    approved = Approved("t1", REQUEST, ["one", "two"])
    nodes[0].answer = lambda request: [approved]
    assert control.approve("a", "t1", "two") == approved
    assert isinstance(nodes[0].asked[0], Approve)
    nodes[0].answer = lambda request: [Refused(Reason.UNKNOWN_TOKEN, "expired")]
    with pytest.raises(OperationRefused, match="expired"):
        control.approve("a", "t1", "two")
    assert control.approve("b", "t1", "two", 0.1) is None


def test_the_quarantine_is_listed_and_read_chunk_by_chunk(
    control: ControlClient, nodes: tuple[FakeControl, FakeControl]
) -> None:
    entry = QuarantineEntry("e1", "kept", 1, GENESIS, 1, 2, 2, 2, 5, {"p": 2}, "cut")
    data = b"abcde"

    def answer(request: ControlRequest) -> list[ControlReply | bytes]:
        match request:
            case GetQuarantine():
                return [Quarantine([entry])]
            case ReadQuarantine(_, "e1", offset):
                return [QuarantineChunk("e1", offset, data[offset : offset + 2])]
            case _:
                return [Refused(Reason.UNKNOWN_OPERATION, "no such entry")]

    nodes[0].answer = answer
    assert control.quarantine("a") == [entry]
    assert control.read_quarantine("a", "e1") == data
    assert list(control.quarantine_chunks("a", "e1")) == [b"ab", b"cd", b"e"]
    with pytest.raises(OperationRefused, match="no such entry"):
        control.read_quarantine("a", "e2")
    with pytest.raises(NoAnswerError):
        control.quarantine("b", 0.1)
    nodes[0].answer = lambda request: [QuarantineChunk("e1", 7, b"x")]
    with pytest.raises(RemoteError, match="e1 from 7 where e1 from 0"):
        control.read_quarantine("a", "e1")


def test_an_answer_that_is_not_understood_is_the_nodes_fault(
    control: ControlClient, nodes: tuple[FakeControl, FakeControl]
) -> None:
    nodes[0].answer = lambda request: [b"\xc1"]
    with pytest.raises(RemoteError):
        control.quarantine("a")
    with pytest.raises(RemoteError):
        control.statuses()
    nodes[0].answer = lambda request: [Status(status())]
    with pytest.raises(RemoteError, match="not asked for: Status"):
        control.preflight(REQUEST)
