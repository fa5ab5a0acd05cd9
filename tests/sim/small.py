"""A pair in which every step is an action that the explorer chooses (`exhaust`).

Decides what an action is: what waits in one socket is delivered, and the turn that follows it,
killed at any effect or not; the end of a sync in the background; a start; a lost message; 0.6 s
that pass; an operation that an operator begins (its preflight is one step with it: executing asks
the peer again). Nothing happens by itself, and there is no randomness. The cores, the turn, the
disks and the checkers are those of the simulator.
"""

from __future__ import annotations

from collections import deque
from typing import Any

import msgspec

from interlock.shared.commands import (
    Execute,
    GetPreflight,
    Outcome,
    PeerQuestion,
    PreflightReport,
)
from interlock.shared.config import AckLevel, Config, Timing
from interlock.shared.effects import Effect
from interlock.shared.messages import (
    PROTOCOL_VERSION,
    Message,
    ProducerHello,
    Refused,
    Submit,
)
from interlock.shared.operations import Operation, Preflight, Request
from interlock.shared.roles import Role
from interlock.shared.wire import encode_messages
from support.nodes import pair_config

from .canon import Canon
from .checks import Checks, Registry
from .clients import Clients
from .engine import MS, Engine, Trace
from .node import SimNode
from .operators import attested_truly
from .pieces import OPERATIONS, Action, Budget, SmallNode, Socket
from .world import EPOCH_WALL_NS, START, Seen

STEP_NS = 3 * MS  # each action takes that, so that timers that are due are looked at
WAIT_NS = 600 * MS
PRODUCER, SESSION = "p", 7
TIMING = Timing(
    heartbeat_ms=400,
    link_timeout_ms=1_000,
    tick_interval_ms=0,
    sync_interval_ms=3_600_000,
    drain_timeout_ms=1_500,
)


class SmallWorld:
    """What `SimWorld` is to the simulator, with every choice outside."""

    def __init__(self, level: AckLevel, budget: Budget) -> None:
        self.level = level
        self.budget = budget
        self.config: Config = msgspec.structs.replace(pair_config(level), timing=TIMING)
        self.engine = Engine(START)
        self.trace = Trace(self.engine, 0)
        self.seen = Seen()
        self.sync_ns = self.poll_ns = 0
        self.executed: dict[str, Any] = {}
        self.registry = Registry()
        self.network = self
        self.checks = Checks(self)  # type: ignore[arg-type]
        self.clients = Clients(self)  # type: ignore[arg-type]
        self.clients.names[SESSION] = PRODUCER
        self.a = SmallNode(self, self.config, "a", Role.PRIMARY)  # type: ignore[arg-type]
        self.b = SmallNode(self, self.config, "b", Role.SECONDARY)  # type: ignore[arg-type]
        self.nodes = (self.a, self.b)
        self.sockets: list[Socket] = []
        self.questions: dict[str, deque[tuple[bytes, PeerQuestion]]] = {"a": deque(), "b": deque()}
        self.replies: dict[str, deque[tuple[int, int, Message]]] = {"a": deque(), "b": deque()}
        self.ordered = ""  # the token of the operation under way, and where and in which life
        self.ordered_at: tuple[str, int] = ("", 0)
        self.report: Message | None = None
        self._dials = 0

    # The state, and what may follow -----------------------------------------------------------

    def key(self) -> int:
        """Equal for equal states, as far as `canon` can tell."""
        parts: list[Any] = [self.registry.last, self.registry.gated_end, self.budget]
        canon = Canon(self.now)
        times = sorted({t for n in self.nodes for t in (n.heard_ns, n.solo_ns, n.promoted_ns)})
        for node in self.nodes:
            journal = node.journal
            end = journal.records[-1].hash if journal.records else 0
            order = [times.index(t) for t in (node.heard_ns, node.solo_ns, node.promoted_ns)]
            parts += [end, journal.synced, node.memory, node.syncing, node.held, order]
            parts += [node.core, node.core and node.desk, node.boot, len(node.quarantine)]
        parts += [self.sockets, self.questions, self.replies]
        parts.append(self.ordered)
        return hash(canon.of(parts))

    def actions(self) -> list[Action]:
        """All that can happen now, but for deaths in the middle of a turn."""
        found = []
        for node in self.nodes:
            if node.core is not None:
                found += self._actions_of(node)
            elif not node.held:
                found.append(Action("start", node.name))
        if self.budget.faults:
            if any(socket.out or socket.back for socket in self.sockets):
                found.append(Action("break"))
            found += [Action("lose question to", name) for name, q in self.questions.items() if q]
            found += [Action("lose answer to", name) for name, q in self.replies.items() if q]
        if self.budget.waits:
            found.append(Action("wait"))
        return found

    def _actions_of(self, node: SmallNode) -> list[Action]:
        left, name, found = self.budget, node.name, []
        for index, socket in enumerate(self.sockets):
            if socket.out and socket.dialler != name:
                found.append(Action("link to", name, str(index)))
            if socket.back and socket.dialler == name and not socket.closed:
                found.append(Action("link back to", name, str(index)))
        waiting = {
            "question to": self.questions[name],
            "answer to": self.replies[name],
            "synced": node.syncing,
            "submit to": left.messages and node.leads,
        }
        found += [Action(what, name) for what, has in waiting.items() if has]
        if left.faults:
            found += [Action("dies", name, how) for how in ("kill", "power cut")]
        if left.operations and not self.ordered:
            found += [
                Action("operate", name, what)
                for what, (states, _, _) in OPERATIONS.items()
                if node.state in states
            ]
        return found

    # Doing it ---------------------------------------------------------------------------------

    def do(self, action: Action) -> bool:
        """Performs one action; false if it turns out to change nothing. Raises Violation."""
        self.engine.now += STEP_NS
        if action.how:
            self.budget.faults -= 1
            self.node(action.node).trap = (action.trap, action.how)
        done = getattr(self, "_" + action.what.replace(" ", "_"))(action)
        for node in self.nodes:
            node.trap = None
        self._mind_order()
        return done is not False

    def _deliver(self, name: str, kind: str, *item: Any) -> None:
        self._drain(name, kind, deque([item]))

    def _drain(self, name: str, kind: str, items: deque[Any]) -> None:
        """A turn that takes all that waits in one socket, as a shell does."""
        node = self.node(name)
        node.inbox.extend((kind, item) for item in items)
        items.clear()
        node.step()

    def _link_to(self, action: Action) -> None:
        socket = self.sockets[int(action.detail)]
        items = deque((socket.sender, message) for message in socket.out)
        socket.out.clear()
        self._prune()
        self._drain(action.node, "hello_side", items)

    def _link_back_to(self, action: Action) -> None:
        back = self.sockets[int(action.detail)].back
        items = deque((message,) for message in back)
        back.clear()
        self._drain(action.node, "dial_side", items)

    def _question_to(self, action: Action) -> None:
        self._drain(action.node, "control", self.questions[action.node])

    def _answer_to(self, action: Action) -> None:
        life, waiting = self.node(action.node).life, self.replies[action.node]
        items = deque(tuple(each[1:]) for each in waiting if each[0] == life)
        waiting.clear()
        self._drain(action.node, "peer_answer", items)

    def _synced(self, action: Action) -> None:
        node = self.node(action.node)
        node.syncing = False
        node.journal.sync()
        node.step()

    def _start(self, action: Action) -> None:
        node = self.node(action.node)
        node.start()
        node.step()

    def _dies(self, action: Action) -> None:
        self.budget.faults -= 1
        self.node(action.node).kill(power_cut=action.detail == "power cut")

    def _submit_to(self, action: Action) -> bool:
        """The next message that this node's log does not hold, up to the third."""
        node = self.node(action.node)
        entry = node.journal.state.producers.get(PRODUCER)
        number = entry.last_producer_seq + 1 if entry else 1
        if number > 3:
            return False
        self.budget.messages -= 1
        hello = ProducerHello(PROTOCOL_VERSION, "", PRODUCER, SESSION, False)
        body = encode_messages([b"%s:%d" % (PRODUCER.encode(), number)])
        node.inbox.append(("intake", (b"client", hello)))
        submit = Submit(SESSION, number, number, 1, msgspec.Raw(body))
        self._deliver(action.node, "intake", b"client", submit)
        return True

    def _break(self, action: Action) -> None:
        """The connections break: what is on its way is lost, the sockets stay."""
        self.budget.faults -= 1
        for socket in self.sockets:
            socket.out.clear()
            socket.back.clear()

    def _lose_question_to(self, action: Action) -> None:
        self.budget.faults -= 1
        self.questions[action.node].popleft()

    def _lose_answer_to(self, action: Action) -> None:
        self.budget.faults -= 1
        self.replies[action.node].popleft()

    def _wait(self, action: Action) -> None:
        self.budget.waits -= 1
        self.engine.now += WAIT_NS
        for node in self.nodes:
            if node.core is not None:
                node.step()

    # The operator -----------------------------------------------------------------------------

    def _preflight(self, node: SmallNode, operation: Operation, arguments: Any) -> Preflight | None:
        """In one go: the peer answers at once, or is down."""
        peer = self.other(node)
        request = Request(operation, node.name, **arguments)
        question = GetPreflight(PROTOCOL_VERSION, self.config.cluster, request)
        asked, answers = self.questions[peer.name], self.replies[node.name]
        before = len(asked)
        self._deliver(node.name, "control", b"op", question)
        if peer.core is None:
            while len(asked) > before:
                asked.pop()
            self.engine.now += WAIT_NS // 2 + STEP_NS
            node.step()
        elif len(asked) > before:
            self._deliver(peer.name, "control", *asked.pop())
            if answers:
                self._deliver(node.name, "peer_answer", *answers.pop()[1:])
        found = self.report.preflight if isinstance(self.report, PreflightReport) else None
        return found if found is not None and found.token else None

    def _operate(self, action: Action) -> bool:
        """A preflight and, if it passes and what it needs attested is true, its execution."""
        node = self.node(action.node)
        peer = self.other(node)
        _, operation, arguments = OPERATIONS[action.detail]
        self.report = None
        shown = self._preflight(node, operation, arguments)
        if shown is None or node.core is None:
            return False
        if shown.attestation:
            if peer.core is not None or not attested_truly(node, peer, shown.attestation):
                return False
            peer.held = shown.token
        self.budget.operations -= 1
        self.executed[shown.token] = shown.request
        self.ordered, self.ordered_at = shown.token, (node.name, node.life)
        self.report = None
        order = Execute(
            PROTOCOL_VERSION,
            self.config.cluster,
            shown.token,
            "op",
            "to see what comes of it",
            node.name,
            shown.attestation,
        )
        self._deliver(node.name, "control", b"op", order)
        return True

    def _mind_order(self) -> None:
        """The operation has ended, or the process that carried it out has."""
        if not self.ordered:
            return
        node = self.node(self.ordered_at[0])
        if node.core is not None and node.life == self.ordered_at[1]:
            if isinstance(self.report, Outcome):
                self.checks.receipt(self.report.receipt)
            elif not isinstance(self.report, Refused):
                return
        for each in self.nodes:
            if each.held == self.ordered:
                each.held = ""
        self.ordered, self.report = "", None

    # What nodes ask of the world --------------------------------------------------------------

    @property
    def now(self) -> int:
        return self.engine.now

    @property
    def wall(self) -> int:
        """It stands still: else the time at which a record was written would tell states apart."""
        return EPOCH_WALL_NS

    def node(self, name: str) -> SmallNode:
        return self.a if name == "a" else self.b

    def other(self, node: SimNode) -> SmallNode:
        return self.b if node is self.a else self.a

    def turn_size(self) -> int:
        return 256

    def lose_unsynced(self, node: SimNode) -> None:
        node.journal.keep(self.registry.spared(node, self.other(node)))

    def process_started(self, node: SimNode) -> None: ...

    def process_ended(self, node: SimNode) -> None:
        for socket in self.sockets:
            if socket.dialler != node.name:
                socket.out.clear()
        self._prune()

    def dialled(self, node: SimNode) -> None:
        self.hung_up(node)
        self._dials += 1
        self.sockets.append(Socket(node.name, self._dials))

    def hung_up(self, node: SimNode) -> None:
        for socket in self.sockets:
            if socket.dialler == node.name:
                socket.closed = True
                socket.back.clear()
        self._prune()

    def _prune(self) -> None:
        self.sockets = [each for each in self.sockets if not each.closed or each.out]

    def link_to_primary(self, node: SimNode, message: Message) -> None:
        for socket in self.sockets:
            if socket.dialler == node.name and not socket.closed:
                socket.out.append(message)

    def link_to_dialler(self, node: SimNode, to: bytes, message: Message) -> None:
        for socket in self.sockets:
            if socket.sender == to and not socket.closed:
                socket.back.append(message)

    def replied(self, node: SimNode, to: bytes, message: Message) -> None: ...
    def published(self, node: SimNode, frame: bytes) -> None: ...
    def before_effect(self, node: SimNode, effect: Effect) -> None: ...

    def answered(self, node: SimNode, to: bytes, message: Message) -> None:
        if to == b"op":
            self.report = message
            return
        asker, life, number = to[5:].decode().split("-")
        self.replies[asker].append((int(life), int(number), message))

    def asks_peer(self, node: SimNode, number: int, question: PeerQuestion) -> None:
        sender = f"peer-{node.name}-{node.life}-{number}".encode()
        self.questions[self.other(node).name].append((sender, question))
