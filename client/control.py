"""Asks nodes over the control socket: their status, and the operations of operators.

Decides nothing; a node that does not answer in time is reported as None, never guessed about. So
`execute` that got no answer returns None: it may have happened, and `settle` asks what became of
it. Only what a node itself refused is an `OperationRefused`.

Each question has a socket of its own: an answer that comes too late can not be taken for that of
the next question.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from typing import Final, TypeVar

import zmq

from ..shared.commands import (
    Approve,
    Approved,
    ControlReply,
    ControlRequest,
    Execute,
    GetOperation,
    GetPreflight,
    GetQuarantine,
    GetStatus,
    KeysReloaded,
    Outcome,
    PreflightReport,
    Quarantine,
    QuarantineChunk,
    QuarantineEntry,
    ReadQuarantine,
    ReloadKeys,
    Status,
    UnderWay,
)
from ..shared.config import Config
from ..shared.credentials import Credentials, credentials
from ..shared.errors import Reason, RemoteError
from ..shared.messages import PROTOCOL_VERSION, Codec, Refused, encode
from ..shared.operations import Preflight, Receipt, Request
from ..shared.telemetry import NodeStatus
from .advice import leads
from .dealer import Dealer
from .errors import DeniedError, NoAnswerError, OperationRefused

ANSWER_S: Final = 3.0  # for what a node answers at once
SETTLE_EVERY_S: Final = 0.1

R = TypeVar("R")

_replies: Final[Codec[ControlReply]] = Codec(ControlReply)


def ask_status(config: Config, timeout: float = 1.0) -> dict[str, NodeStatus | None]:
    """The status of each node of the pair by name, asked at once; None for one that did not answer
    within `timeout` seconds.

    Raises RemoteError if a node refuses, or answers what is not understood (another version);
    DeniedError if no node lets this side's key in; UserError if the key cannot be used.
    """
    endpoints = {name: node.control for name, node in config.nodes.items()}
    return _ask_all(endpoints, credentials(config, operator=True), timeout)


def ask_node(config: Config, node: str, timeout: float = 1.0) -> NodeStatus | None:
    """The status of one node; None if it did not answer in time. Raises as `ask_status`."""
    endpoints = {node: config.node(node).control}
    return _ask_all(endpoints, credentials(config, operator=True), timeout)[node]


def find_leader(statuses: Mapping[str, NodeStatus | None]) -> str | None:
    """The node that leads with an epoch open, the highest if two say so; None: nobody does.

    An old primary that was cut off goes on saying that it leads. Its epoch is lower.
    """
    leading = {name: status for name, status in statuses.items() if status and leads(status)}
    return max(leading, key=lambda name: leading[name].epoch, default=None)


class ControlClient:
    """Talks to the control sockets of a pair; keeps nothing between two questions.

    Every `timeout` is in seconds. UserError names a node that the configuration lacks; RemoteError
    an answer that is not understood; DeniedError says that the node does not let our key in.
    """

    def __init__(self, config: Config) -> None:
        """Raises UserError if the pair uses keys and the operator's cannot be used."""
        self.config = config
        self._credentials = credentials(config, operator=True)

    def ask(
        self, node: str, message: ControlRequest, timeout: float = ANSWER_S
    ) -> ControlReply | None:
        """What the node answers, a refusal too; None if nothing came in time."""
        for reply in self._answers(node, message, timeout):
            return reply
        return None

    def statuses(self, timeout: float = 1.0) -> dict[str, NodeStatus | None]:
        """As `ask_status`."""
        return ask_status(self.config, timeout)

    def find_leader(self, statuses: Mapping[str, NodeStatus | None]) -> str | None:
        """As the function of this name."""
        return find_leader(statuses)

    def preflight(self, request: Request, timeout: float = ANSWER_S) -> Preflight:
        """What the operation would need and do. Changes nothing.

        Raises OperationRefused, or NoAnswerError.
        """
        message = GetPreflight(PROTOCOL_VERSION, self.config.cluster, request)
        reply = self._must(request.node, message, timeout)
        return _expect(reply, PreflightReport).preflight

    def execute(
        self,
        node: str,
        token: str,
        operator: str,
        reason: str,
        confirm: str,
        attestation: str = "",
        timeout: float = 30.0,
    ) -> Receipt | None:
        """Does what the token's preflight showed, and waits for its end.

        None: no answer, or none that can be read, came in time. It may have happened, or may still:
        ask `settle`. Raises OperationRefused if the node did not begin it.
        """
        message = Execute(
            PROTOCOL_VERSION, self.config.cluster, token, operator, reason, confirm, attestation
        )
        try:
            for reply in self._answers(node, message, timeout):
                if isinstance(reply, Outcome):
                    return reply.receipt
                if isinstance(reply, Refused):
                    raise OperationRefused(reply.reason, reply.text)
        except RemoteError:
            return None
        return None

    def settle(self, node: str, token: str, timeout: float = ANSWER_S) -> Receipt | UnderWay | None:
        """What became of an operation: asks both nodes, `node` first, until one of them knows.

        Until `timeout` has passed it waits for the end of one that is under way, and returns
        UnderWay then. None: nobody knows.
        """
        self.config.node(node)
        names = sorted(self.config.nodes, key=lambda name: name != node)
        end = time.monotonic() + timeout
        under_way: UnderWay | None = None
        while (left := end - time.monotonic()) > 0:
            for name in names:
                found = self._fate(name, token, min(left, timeout / 4))
                if isinstance(found, Receipt):
                    return found
                under_way = found or under_way
            time.sleep(max(0.0, min(SETTLE_EVERY_S, end - time.monotonic())))
        return under_way

    def reload_keys(self, node: str, timeout: float = ANSWER_S) -> KeysReloaded:
        """Has the node read its list of allowed keys now. Raises OperationRefused (it stays as it
        was), or NoAnswerError."""
        return _expect(self._must(node, ReloadKeys(PROTOCOL_VERSION), timeout), KeysReloaded)

    def approve(
        self, node: str, token: str, operator: str, timeout: float = ANSWER_S
    ) -> Approved | None:
        """Agrees to another operator's operation; None: no answer came. Approving twice does no
        harm. Raises OperationRefused.
        """
        message = Approve(PROTOCOL_VERSION, self.config.cluster, token, operator)
        reply = self.ask(node, message, timeout)
        return None if reply is None else _expect(reply, Approved)

    def quarantine(self, node: str, timeout: float = ANSWER_S) -> list[QuarantineEntry]:
        """The tails that the node keeps. Raises OperationRefused, or NoAnswerError."""
        reply = self._must(node, GetQuarantine(PROTOCOL_VERSION), timeout)
        return _expect(reply, Quarantine).entries

    def read_quarantine(self, node: str, entry: str, timeout: float = ANSWER_S) -> bytes:
        """All bytes of an entry. Raises as `quarantine_chunks`."""
        return b"".join(self.quarantine_chunks(node, entry, timeout))

    def quarantine_chunks(
        self, node: str, entry: str, timeout: float = ANSWER_S
    ) -> Iterator[bytes]:
        """The bytes of an entry, about a megabyte at a time, `timeout` for each.

        Raises OperationRefused (no such entry, or its bytes are gone), or NoAnswerError.
        """
        offset = 0
        while True:
            message = ReadQuarantine(PROTOCOL_VERSION, entry, offset)
            chunk = _expect(self._must(node, message, timeout), QuarantineChunk)
            if (chunk.entry, chunk.offset) != (entry, offset):
                raise RemoteError(
                    Reason.MALFORMED,
                    f"node {node} sent {chunk.entry} from {chunk.offset} where {entry} from "
                    f"{offset} was asked for",
                )
            if not chunk.data:
                return
            offset += len(chunk.data)
            yield chunk.data

    def _fate(self, node: str, token: str, timeout: float) -> Receipt | UnderWay | None:
        try:
            reply = self.ask(node, GetOperation(PROTOCOL_VERSION, token), timeout)
        except RemoteError:
            return None
        if isinstance(reply, Outcome):
            return reply.receipt
        return reply if isinstance(reply, UnderWay) else None

    def _must(self, node: str, message: ControlRequest, timeout: float) -> ControlReply:
        reply = self.ask(node, message, timeout)
        if reply is None:
            endpoint = self.config.node(node).control
            raise NoAnswerError(f"node {node} has not answered at {endpoint} within {timeout:g} s")
        return reply

    def _answers(
        self, node: str, message: ControlRequest, timeout: float
    ) -> Iterator[ControlReply]:
        """All that the node answers to one question, until the time is up."""
        end = time.monotonic() + timeout
        with Dealer(self.config.node(node).control, self._credentials) as dealer:
            dealer.send(encode(message))
            while (left := end - time.monotonic()) > 0:
                if (frame := dealer.receive(left)) is None:
                    return
                yield _replies.decode(frame)


def _expect(reply: ControlReply, kind: type[R]) -> R:
    """The reply as what was asked for. Raises OperationRefused, or RemoteError."""
    if isinstance(reply, kind):
        return reply
    if isinstance(reply, Refused):
        raise OperationRefused(reply.reason, reply.text)
    raise RemoteError(Reason.MALFORMED, f"an answer that was not asked for: {type(reply).__name__}")


def _ask_all(
    endpoints: dict[str, str], who: Credentials, timeout: float
) -> dict[str, NodeStatus | None]:
    found: dict[str, NodeStatus | None] = dict.fromkeys(endpoints)
    denied: DeniedError | None = None
    end = time.monotonic() + timeout
    with ExitStack() as stack:
        waiting: dict[str, Dealer] = {}
        for name, endpoint in endpoints.items():
            waiting[name] = stack.enter_context(Dealer(endpoint, who))
            waiting[name].send(encode(GetStatus(PROTOCOL_VERSION)))
        while waiting and (left := end - time.monotonic()) > 0:
            _wait(waiting.values(), left)
            for name, dealer in list(waiting.items()):
                try:
                    frame = dealer.receive(0)
                except DeniedError as error:
                    denied, frame = error, None
                    del waiting[name]
                if frame is not None:
                    found[name] = _status(frame)
                    del waiting[name]
    if denied is not None and not any(found.values()):
        raise denied
    return found


def _wait(dealers: Iterable[Dealer], seconds: float) -> None:
    """Until one of them has something to look at."""
    poller = zmq.Poller()
    for dealer in dealers:
        poller.register(dealer.socket, zmq.POLLIN)
        poller.register(dealer.watch.events, zmq.POLLIN)
    poller.poll(int(seconds * 1000) + 1)


def _status(frame: bytes) -> NodeStatus:
    reply = _replies.decode(frame)
    if isinstance(reply, Refused):
        raise RemoteError(reply.reason, reply.text)
    if not isinstance(reply, Status):
        raise RemoteError(Reason.MALFORMED, f"an answer that was not asked for: {reply}")
    return reply.status
