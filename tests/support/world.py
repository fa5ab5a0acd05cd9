"""A pair in memory: both production cores, with a link, journals and clocks that tests control.

Nothing here decides protocol. The world performs effects one by one, so a test can kill a node
between any two of them, cut the link and lose what was not synced. Whatever is published or
confirmed is checked at that moment against both journals.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import msgspec

from interlock.primary.core import PrimaryCore
from interlock.secondary.core import SecondaryCore
from interlock.shared.commands import (
    Approve,
    Execute,
    GetOperation,
    GetPreflight,
    Outcome,
    PeerQuestion,
    PreflightReport,
)
from interlock.shared.config import AckLevel
from interlock.shared.effects import Effect
from interlock.shared.epochs import Mode
from interlock.shared.messages import (
    PROTOCOL_VERSION,
    Confirmed,
    IntakeReply,
    IntakeRequest,
    Message,
    ProducerHello,
    Refused,
    Submit,
)
from interlock.shared.operations import Operation, Preflight, Receipt, Request
from interlock.shared.roles import Role
from interlock.shared.wire import MAGIC, Record, decode_messages, encode_messages, parse_records

from .nodes import MS, ROOMY, Killed, MemoryJournal, Node, pair_config

__all__ = [
    "MS",
    "ROOMY",
    "Killed",
    "MemoryJournal",
    "Node",
    "World",
    "pair_config",
    "submission",
]


def submission(session: int, producer_seq: int, *bodies: bytes) -> Submit:
    payload = msgspec.Raw(encode_messages(list(bodies)))
    return Submit(session, 0, producer_seq, len(bodies), payload)


class World:
    """Two nodes "a" (first primary) and "b" (first secondary), their link, their control sockets,
    producers' replies and feeds."""

    def __init__(
        self, level: AckLevel = AckLevel.WRITTEN, *, approvals: int = 1, **limits: int
    ) -> None:
        self.config = pair_config(level, approvals, **limits)
        self.level = level
        self.now = 1_000_000 * MS
        self.wall_offset = 1_400_000_000_000_000_000
        self.a = Node(self, self.config, "a", Role.PRIMARY)
        self.b = Node(self, self.config, "b", Role.SECONDARY)
        self.dials = 0
        self.sockets: dict[str, bytes] = {}  # the link socket of each node that has dialled
        self.link_up = True
        self.control_up = True
        self.replies: list[tuple[bytes, IntakeReply]] = []
        self.answers: deque[tuple[bytes, Message]] = deque()
        self.feed: list[Record] = []
        self.released: dict[int, int] = {}  # last seq of each published record: its hash
        self.forked = False  # set where an operator lies or accepts loss: two values are then told
        self._fed: dict[str, tuple[object, int]] = {}  # what each core has published last
        self.confirmed: dict[tuple[str, int], int] = {}
        self.names: dict[int, str] = {}
        self.on_effect: Callable[[Node, Effect], None] = lambda node, effect: None

    # Running ----------------------------------------------------------------------------------

    @property
    def wall(self) -> int:
        return self.now + self.wall_offset

    @property
    def nodes(self) -> tuple[Node, Node]:
        return self.a, self.b

    def other(self, node: Node) -> Node:
        return self.b if node is self.a else self.a

    @property
    def leader(self) -> Node:
        """The node that runs as a primary with an open epoch, of the highest epoch."""
        leading = [
            (node.core.reign.epoch, node)
            for node in self.nodes
            if isinstance(node.core, PrimaryCore) and node.core.reign.epoch
        ]
        assert leading, f"nobody leads: a {self.a.notes[-2:]}, b {self.b.notes[-2:]}"
        return max(leading, key=lambda each: each[0])[1]

    @property
    def primary(self) -> PrimaryCore:
        assert isinstance(self.a.core, PrimaryCore)
        return self.a.core

    @property
    def secondary(self) -> SecondaryCore:
        assert isinstance(self.b.core, SecondaryCore)
        return self.b.core

    @property
    def released_seq(self) -> int:
        return self.leader.released_seq

    def start(self) -> World:
        self.a.start()
        self.b.start()
        self.settle()
        return self

    def settle(self, ms: int = 3_000) -> None:
        """Lets time pass, long enough for time-outs and dialling, and everything be delivered."""
        for _ in range(max(1, ms // 50)):
            self.now += 50 * MS
            self.deliver()

    def deliver(self, turns: int = 12) -> None:
        """Turns of both nodes without time passing, until nothing is on its way."""
        for _ in range(turns):
            self.turn(self.a)
            self.turn(self.b)
            if not self.a.inbox and not self.b.inbox:
                break

    def turn(self, node: Node) -> None:
        """One turn of a node: takes what has arrived for it, then performs the effects."""
        node.turn()

    def before_effect(self, node: Node, effect: Effect) -> None:
        self.on_effect(node, effect)

    def kill_at(self, name: str, at: int) -> Callable[[], bool]:
        """Kills node `name` before its effect number `at` from now; the returned function tells
        whether it came to that."""
        count = 0

        def on_effect(node: Node, effect: Effect) -> None:
            nonlocal count
            if node.name == name:
                count += 1
                if count == at:
                    raise Killed

        self.on_effect = on_effect
        return lambda: count >= at

    # The network ------------------------------------------------------------------------------

    def link_to_primary(self, node: Node, message: Message) -> None:
        socket = self.sockets.get(node.name)
        peer = self.other(node)
        if self.link_up and socket and peer.core is not None:
            peer.inbox.append(("hello_side", (socket, message)))

    def link_to_dialler(self, node: Node, to: bytes, message: Message) -> None:
        peer = self.other(node)
        if self.link_up and peer.core is not None and self.sockets.get(peer.name) == to:
            peer.inbox.append(("dial_side", (message,)))

    def dialled(self, node: Node) -> None:
        self.hung_up(node)
        self.dials += 1
        self.sockets[node.name] = b"dial-%d" % self.dials

    def hung_up(self, node: Node) -> None:
        """The connection that `node` dialled is gone, with all that was on its way to it. What it
        has sent still arrives."""
        self.sockets.pop(node.name, None)
        node.inbox = deque(each for each in node.inbox if each[0] != "dial_side")

    def drop_link(self) -> None:
        """Everything on its way is lost, as when a connection breaks."""
        for node in self.nodes:
            kept = [each for each in node.inbox if each[0] not in ("dial_side", "hello_side")]
            node.inbox = deque(kept)

    def cut(self) -> None:
        self.link_up = False
        self.drop_link()

    def partition(self) -> None:
        """Neither link nor control gets through between the nodes."""
        self.cut()
        self.control_up = False

    def heal(self) -> None:
        self.link_up = self.control_up = True

    def asks_peer(self, node: Node, number: int, question: PeerQuestion) -> None:
        peer = self.other(node)
        if self.control_up and peer.core is not None:
            peer.inbox.append(("control", (b"peer-%s-%d" % (node.name.encode(), number), question)))

    def answered(self, node: Node, to: bytes, message: Message) -> None:
        if to.startswith(b"peer-"):
            asker = self.other(node)
            if self.control_up and asker.core is not None:
                asker.inbox.append(("peer_answer", (int(to.rpartition(b"-")[2]), message)))
        else:
            self.answers.append((to, message))

    # Operators --------------------------------------------------------------------------------

    def command(self, node: Node, message: Any, ms: int = 400) -> Message | None:
        """The answer to a command on control; None if none comes in time."""
        assert node.core is not None, f"{node.name} does not run"
        sender = b"op-%d" % len(self.answers)
        self.answers.clear()
        node.inbox.append(("control", (sender, message)))
        for _ in range(max(1, ms // 5)):
            self.deliver()
            for to, answer in self.answers:
                if to == sender:
                    return answer
            self.now += 5 * MS
        return None

    def preflight(self, node: Node, operation: Operation, **arguments: Any) -> Preflight:
        request = Request(operation, node.name, **arguments)
        answer = self.command(node, GetPreflight(PROTOCOL_VERSION, self.config.cluster, request))
        assert isinstance(answer, PreflightReport), answer
        return answer.preflight

    def execute(
        self, node: Node, preflight: Preflight, *, operator: str = "ann", ms: int = 12_000
    ) -> Receipt | Refused | None:
        """Executes what was shown; None if no outcome comes in time."""
        assert preflight.token, [guard for guard in preflight.guards if not guard.passed]
        execute = Execute(
            PROTOCOL_VERSION,
            self.config.cluster,
            preflight.token,
            operator,
            "a test",
            node.name,
            preflight.attestation,
        )
        answer = self.command(node, execute, ms)
        if isinstance(answer, Outcome):
            return answer.receipt
        assert answer is None or isinstance(answer, Refused)
        return answer

    def operate(self, node: Node, operation: Operation, **arguments: Any) -> Receipt:
        """Preflight and execution; fails unless the operation has an outcome."""
        ended = self.execute(node, self.preflight(node, operation, **arguments))
        assert isinstance(ended, Receipt), ended
        return ended

    def approve(self, node: Node, token: str, operator: str) -> Message | None:
        return self.command(node, Approve(PROTOCOL_VERSION, self.config.cluster, token, operator))

    def outcome(self, node: Node, token: str) -> Message | None:
        return self.command(node, GetOperation(PROTOCOL_VERSION, token))

    # Producers --------------------------------------------------------------------------------

    def hello(
        self, name: str, session: int, *, resume: bool = False, node: Node | None = None
    ) -> IntakeReply:
        self.names[session] = name
        hello = ProducerHello(PROTOCOL_VERSION, "", name, session, resume)
        return self.ask(session, hello, node)

    def submit(
        self, session: int, producer_seq: int, *bodies: bytes, node: Node | None = None
    ) -> None:
        """Submits without waiting. The sender's routing id is its session number."""
        submit = submission(session, producer_seq, *bodies)
        (node or self.a).inbox.append(("intake", (b"%d" % session, submit)))

    def ask(self, session: int, request: IntakeRequest, node: Node | None = None) -> IntakeReply:
        """The answer that comes back in the same turn."""
        node = node or self.a
        before = len(self.replies)
        node.inbox.append(("intake", (b"%d" % session, request)))
        self.turn(node)
        return self.replies[before][1]

    def ask_secondary(self, session: int, request: IntakeRequest) -> IntakeReply:
        return self.ask(session, request, self.b)

    def replied(self, node: Node, to: bytes, message: Message) -> None:
        self.replies.append((to, message))  # type: ignore[arg-type]
        if isinstance(message, Confirmed):
            name = self.names[message.session]
            for run in message.runs:
                for index in range(run.count if run.seq else 0):
                    self._check_confirmed(node, run.seq + index)
                    key = (name, run.producer_seq + index)
                    assert self.confirmed.setdefault(key, run.seq + index) == run.seq + index, (
                        f"{key} was confirmed at two seqs"
                    )

    # What must hold ---------------------------------------------------------------------------

    def published(self, node: Node, frame: bytes) -> None:
        for record in parse_records(frame) if frame.startswith(MAGIC) else []:
            self._check_released(node, record)
            self.feed.append(record)

    @staticmethod
    def releases_alone(node: Node) -> bool:
        """Whether the node's newest epoch, by its log, is one in solo."""
        newest = node.journal.state.history.last
        return newest is not None and newest.mode is Mode.SOLO

    def _check_released(self, node: Node, record: Record) -> None:
        """P1 at the moment of release, and P3: in order, without gaps unless they are replayed."""
        core, last = self._fed.get(node.name, (None, 0))
        assert record.seq > last or core is not node.core, (
            f"seq {record.seq} published after seq {last} by {node.name}"
        )
        self._fed[node.name] = (node.core, record.last_seq)
        held = self.released.setdefault(record.last_seq, record.hash)
        assert held == record.hash or self.forked, (
            f"seq {record.last_seq} was released with two values"
        )
        alone = self.releases_alone(node)
        for each in self.nodes:
            if alone and each is not node:
                continue
            held_hash = each.journal.hash_at(record.last_seq)
            if self.level is AckLevel.RECEIVED and each is not node and held_hash is None:
                continue  # still in the standby's memory
            assert held_hash == record.hash, f"seq {record.seq} released and not with {each.name}"
            if self.level is AckLevel.SYNCED or alone:
                assert record.last_seq <= each.journal.synced_seq, f"not synced on {each.name}"

    def _check_confirmed(self, node: Node, seq: int) -> None:
        for each in self.nodes:
            if self.releases_alone(node) and each is not node:
                continue
            held = each.journal.last_seq >= seq
            assert held or self.level is AckLevel.RECEIVED, f"{seq} confirmed, not on {each.name}"

    def assert_identical(self) -> None:
        """Both journals are equal byte by byte, and everything in them is released."""
        assert self.a.journal.bytes() == self.b.journal.bytes()
        assert self.released_seq == self.a.journal.last_seq

    def data(self, node: Node | None = None) -> list[tuple[str, int, bytes]]:
        """(producer, producer_seq, body) of every data message in a journal, in log order."""
        found = []
        for record in (node or self.a).journal.records:
            if record.producer_seq:
                for index, body in enumerate(decode_messages(record.payload)):
                    found.append((record.producer, record.producer_seq + index, body))
        return found
