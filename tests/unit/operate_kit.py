"""Nodes that answer control messages as a test tells them to, on real sockets, and short ways to
make what they say.

Slow and obvious: one thread, a list of what was asked, and a function that answers.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import zmq
from typer.testing import CliRunner, Result

from interlock.cli.main import app
from interlock.client.local import free_ports
from interlock.shared.commands import (
    Approve,
    Approved,
    ControlRequest,
    Execute,
    GetOperation,
    GetPreflight,
    GetStatus,
    Outcome,
    PreflightReport,
    Status,
)
from interlock.shared.config import SOCKETS, Config, load_config
from interlock.shared.errors import Reason
from interlock.shared.messages import Codec, Message, Refused, encode
from interlock.shared.operations import Check, Guard, Preflight, Receipt, Request, Risk
from interlock.shared.operations import Result as Ended
from interlock.shared.telemetry import (
    JournalStatus,
    LinkStatus,
    NodeStatus,
    PendingStatus,
    Watermarks,
)

CLUSTER = "7d0e4d2c-0000-4000-8000-000000000001"
TOKEN = "00c0ffee00c0ffee"
PASSES = Guard("state fits", True, "b is ORPHANED", "a standby")
FAILS = Guard("disk [red]space", False, "0 bytes", "9 bytes", "free space on b")


def status(node: str, role: str, state: str, **other: Any) -> NodeStatus:
    """What a node says of itself; `other` replaces fields."""
    peer = "b" if node == "a" else "a"
    plain = NodeStatus(
        cluster="c",
        node=node,
        role=role,
        state=state,
        why=f"{state} as the test says",
        state_since_ns=1,
        time_ns=2,
        started_ns=0,
        incarnation=1,
        pid=1,
        version="0",
        epoch=3,
        mode="gated",
        leader="a",
        promised_epoch=0,
        ack_level="written",
        watermarks=Watermarks(),
        pending=PendingStatus(),
        link=LinkStatus(peer=peer),
        journal=JournalStatus(),
        producers=[],
        producers_known=0,
        counters={},
        refused={},
        events=[],
    )
    return msgspec.structs.replace(plain, **other)


class ControlNode:
    """One node's control socket. `asked`: every request so far, in order."""

    def __init__(self, config: Config, name: str, said: NodeStatus) -> None:
        self.name = name
        self.said = said
        self.cluster = config.cluster
        self.asked: list[ControlRequest] = []
        self.guards = [PASSES]
        self.risks: list[Risk] = []
        self.attestation = ""
        self.approvals = 1
        self.approvers: list[str] = []
        self.expires_ms = 30_000
        self.receipt: Receipt | None = None
        self.result = Ended.DONE
        self.silent: tuple[type, ...] = ()  # what is taken and never answered
        self.refuses: dict[type, Refused] = {}
        self.script: Callable[[ControlRequest], Message | None] = lambda _: None
        self.request: Request | None = None  # of the newest preflight
        self._context: zmq.Context[Any] = zmq.Context()
        self._socket = self._context.socket(zmq.ROUTER)
        self._socket.bind(config.node(name).control)
        self._stopping = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def of(self, kind: type) -> list[Any]:
        """What was asked of one kind."""
        return [message for message in self.asked if isinstance(message, kind)]

    def stop(self) -> None:
        self._stopping = True
        self._thread.join(10)
        self._context.destroy(linger=0)

    def _run(self) -> None:
        requests: Codec[ControlRequest] = Codec(ControlRequest)
        while not self._stopping:
            if not self._socket.poll(20):
                continue
            sender, frame = self._socket.recv_multipart()
            message = requests.decode(frame)
            self.asked.append(message)
            answer = self._answer(message)
            if answer is not None:
                self._socket.send_multipart([sender, encode(answer)])

    def _answer(self, message: ControlRequest) -> Message | None:
        scripted = self.script(message)
        if scripted is not None:
            return scripted
        refusal = self.refuses.get(type(message))
        if refusal is not None and type(message) not in self.silent:
            return refusal
        match message:
            case GetStatus():
                return Status(self.said)
            case GetPreflight(_, _, request):
                self.request = request
                return PreflightReport(self.preflight(request))
            case Execute():
                return self._execute(message)
            case Approve():
                assert self.request is not None
                self.approvers.append(message.operator)
                return Approved(message.token, self.request, self.approvers)
            case GetOperation() if self.receipt is not None:
                return Outcome(self.receipt)
            case _:
                return Refused(Reason.UNKNOWN_OPERATION, "not known here")

    def preflight(self, request: Request) -> Preflight:
        passes = all(guard.passed for guard in self.guards)
        return Preflight(
            request,
            self.cluster,
            3,
            self.guards,
            self.risks,
            ["the test goes on"],
            Watermarks(10, 10, 10, 9, 9),
            "the peer says [bold]nothing",
            self.name,
            self.attestation,
            self.approvals,
            TOKEN if passes else "",
            self.expires_ms if passes else 0,
        )

    def _execute(self, execute: Execute) -> Message | None:
        if len({execute.operator, *self.approvers}) < self.approvals:
            return Refused(Reason.NOT_CONFIRMED, "another operator must approve")
        assert self.request is not None
        self.receipt = receipt_of(self.request, execute, self.result, self.approvers)
        return None if Execute in self.silent else Outcome(self.receipt)


def receipt_of(
    request: Request, execute: Execute, result: Ended, approvers: list[str] | None = None
) -> Receipt:
    return Receipt(
        execute.token,
        request,
        execute.operator,
        approvers or [],
        execute.reason,
        execute.attestation,
        result,
        "so it [red]ended",
        [Check("no gap", True, "seq 1 to 10")],
        4,
        1_000_000_000,
        1_250_000_000,
        12.5,
    )


def config_text(base_port: int, elsewhere: dict[str, str]) -> str:
    """The least that a configuration has to say. `elsewhere`: endpoints by `node.socket`."""
    lines = ["[pair]", f'cluster = "{CLUSTER}"', 'primary = "a"']
    for index, name in enumerate("ab"):
        lines += [f"[nodes.{name}]", f'data = "{name}"']
        first = base_port + index * len(SOCKETS)
        for number, socket in enumerate(SOCKETS):
            plain = f"tcp://127.0.0.1:{first + number}"
            lines.append(f'{socket} = "{elsewhere.get(f"{name}.{socket}", plain)}"')
    return "\n".join(lines)


class Stage:
    """A configuration in a directory, the nodes that answer, and the command line before them."""

    def __init__(self, directory: Path, elsewhere: dict[str, str] | None = None) -> None:
        self.path = directory / "interlock.toml"
        self.path.write_text(config_text(free_ports(), elsewhere or {}), "utf-8")
        self.config = load_config(self.path)
        self.nodes: dict[str, ControlNode] = {}

    def add(self, name: str, role: str, state: str, **other: Any) -> ControlNode:
        self.nodes[name] = ControlNode(self.config, name, status(name, role, state, **other))
        return self.nodes[name]

    def run(self, *words: str, input: str | None = None) -> Result:  # noqa: A002
        return CliRunner().invoke(app, [*words, "-c", str(self.path)], input=input)

    def close(self) -> None:
        for node in self.nodes.values():
            node.stop()
