"""A whole world from one seed: two nodes, their network and disks, clients, operators and faults.

Decides how a seed becomes a plan (which level, which faults, how dense) and when a run is over: for
some virtual seconds faults happen; then all of them heal, operators repair, and the pair must drain
within a bound: every message confirmed, both journals equal byte by byte, every consumer at the
end.

What is generated is what the promises cover (docs/guarantees.md, "what survives what"). A power cut
takes any part of what was not synced, but never the last copy of a released record: at level
`received` and `written` two nodes that lose power together may lose what was released, by design.
Operators attest only what is true, and keep it true until the operation has ended; they never
accept loss. Damage to a disk is a node that does not start and is reseeded, and it befalls a node
only while the other one leads and holds everything.
"""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import Any

import msgspec

from interlock.shared.commands import PeerQuestion
from interlock.shared.config import AckLevel, Timing
from interlock.shared.effects import Effect
from interlock.shared.errors import InterlockError
from interlock.shared.messages import Message
from interlock.shared.roles import NodeState, Role
from support.nodes import pair_config

from .checkers import Violation
from .checks import Checks, Registry
from .clients import Clients
from .engine import MS, Engine, Trace
from .faults import Faults
from .gambits import Gambits
from .network import Network
from .node import SimNode
from .operators import Operators
from .plan import Plan

START = 1_000_000 * MS
EPOCH_WALL_NS = 1_400_000_000_000_000_000
DRAIN_NS = 120_000 * MS  # virtual time in which a healed world must have drained
LOOK_NS = 200 * MS


class Seen:
    """What a run has covered."""

    def __init__(self) -> None:
        self.faults: Counter[str] = Counter()
        self.operations: Counter[str] = Counter()
        self.transitions: Counter[tuple[str, str]] = Counter()
        self.totals: Counter[str] = Counter()

    def add(self, other: Seen) -> None:
        for name in ("faults", "operations", "transitions", "totals"):
            getattr(self, name).update(getattr(other, name))


class SimWorld:
    """One run. `run` raises Violation."""

    def __init__(self, seed: int, *, trace: int = 60) -> None:
        self.seed = seed
        self.rng = rng = Random(seed)
        self.plan = plan = Plan.draw(rng)
        self.engine = Engine(START)
        self.trace = Trace(self.engine, trace)
        self.seen = Seen()
        self.level: AckLevel = plan.level
        self.config = msgspec.structs.replace(
            pair_config(plan.level, **plan.limits),
            timing=Timing(drain_timeout_ms=plan.drain_timeout_ms),
        )
        self.poll_ns = plan.poll_ms * MS
        self.sync_ns = plan.sync_us * 1_000
        self.submit_ns = plan.submit_ms * MS
        self.healing = False
        self.executed: dict[str, Any] = {}  # operations that an operator has executed, by token
        self.registry = Registry()
        self.network = Network(self.engine, rng, plan.delay_us, plan.reconnect_ms)
        self.checks = Checks(self)
        self.a = SimNode(self, self.config, "a", Role.PRIMARY)
        self.b = SimNode(self, self.config, "b", Role.SECONDARY)
        self.nodes = (self.a, self.b)
        self._links: dict[str, Any] = {}  # the link pipe of each node that has dialled
        self.clients = Clients(self)
        self.operators = Operators(self)
        self.faults = Faults(self)
        self.gambits = Gambits(self)

    # The run ----------------------------------------------------------------------------------

    def run(self) -> Seen:
        try:
            self._run()
        except InterlockError as error:
            raise Violation("no core stops by its own bug", f"{error!r}") from error
        except AssertionError as error:
            if isinstance(error, Violation):
                raise
            raise Violation("no assertion fails", f"{error!r}") from error
        self.seen.totals["steps"] = self.engine.steps
        self.seen.totals["released"] = self.registry.last
        self.seen.totals["epochs"] = len(self.checks.reigns.openings)
        return self.seen

    def _run(self) -> None:
        plan = self.plan
        self.a.start()
        self.b.start()
        self.clients.make(self.rng, plan.submitters, plan.raws, plan.readers, plan.messages)
        self.operators.start()
        self.faults.start()
        self.gambits.start()
        self.engine.run_until(START + plan.fault_ms * MS)
        self.heal()
        end = self.engine.now + DRAIN_NS
        while self.engine.now < end:
            self.engine.run_until(self.engine.now + LOOK_NS)
            if self.drained():
                break
        else:
            raise Violation("drains after healing", self.describe())
        self.seen.totals["drain_ms"] = (self.engine.now - end + DRAIN_NS) // MS
        for node in self.nodes:
            self.clients.check_log(node)

    def heal(self) -> None:
        """No more faults: paths open, disks well, nodes run; operators do the rest."""
        self.healing = True
        self.trace.add("world", "heals")
        self.faults.heal()

    def drained(self) -> bool:
        a, b = self.nodes
        return (
            self.clients.done
            and a.core is not None
            and b.core is not None
            and {a.state, b.state} == {NodeState.GATED, NodeState.IN_SYNC}
            and self.registry.last == a.journal.last_seq == b.journal.last_seq
            and a.journal.bytes() == b.journal.bytes()
        )

    def describe(self) -> str:
        parts = []
        for node in self.nodes:
            state = f"{node.state.value} ({node.why})" if node.runs else "down"
            parts.append(f"{node.name} {state}, log ends at {node.journal.last_seq}")
        clients = self.clients
        parts += [
            f"{each.name} submitted {each.submitted} of {each.total}, "
            f"{each.core.backlog.unconfirmed} unconfirmed: {each.core.waiting_for()}"
            for each in clients.submitters
        ]
        parts += [f"{raw.name} confirmed {raw.confirmed} of {raw.total}" for raw in clients.raws]
        parts += [f"{reader.name} wants {reader.next}" for reader in clients.readers]
        return f"released up to {self.registry.last}; " + "; ".join(parts)

    # Nodes and time ---------------------------------------------------------------------------

    @property
    def now(self) -> int:
        return self.engine.now

    @property
    def wall(self) -> int:
        return self.engine.now + EPOCH_WALL_NS

    def node(self, name: str) -> SimNode:
        return self.a if name == "a" else self.b

    def other(self, node: SimNode) -> SimNode:
        return self.b if node is self.a else self.a

    def turn_delay_ns(self) -> int:
        return int(self.rng.random() * 200_000)

    def turn_size(self) -> int:
        return 1 if self.rng.random() < 0.2 else 256

    def pause_ns(self) -> int:
        return int((0.05 + self.rng.random() * 3) * 1_000 * MS)

    def lose_unsynced(self, node: SimNode) -> None:
        """A power cut: any prefix of what was not synced stays; never is the last copy of a
        released record lost (see above)."""
        journal = node.journal
        low = self.registry.spared(node, self.other(node))
        kept = self.rng.choice((low, self.rng.randint(low, journal.length)))
        lost = journal.keep(kept)
        self.trace.add(node.name, "lost", (len(lost), "unsynced records; it holds", kept))

    # What nodes ask of the world (support.nodes.Net) ------------------------------------------

    def before_effect(self, node: SimNode, effect: Effect) -> None: ...

    def link_to_primary(self, node: SimNode, message: Message) -> None:
        pipe = self._links.get(node.name)
        if pipe is not None:
            pipe.send(message)

    def link_to_dialler(self, node: SimNode, to: bytes, message: Message) -> None:
        pipe = self.network.by_sender(to)
        if pipe is not None:
            pipe.reply(to, message)

    def dialled(self, node: SimNode) -> None:
        self.hung_up(node)
        peer = self.other(node)
        self._links[node.name] = self.network.pipe(
            "link", node.name, peer, "hello_side", lambda m: node.receive("dial_side", m)
        )

    def hung_up(self, node: SimNode) -> None:
        pipe = self._links.pop(node.name, None)
        if pipe is not None:
            pipe.close()
        kept = [each for each in node.inbox if each[0] != "dial_side"]
        node.inbox.clear()
        node.inbox.extend(kept)

    def replied(self, node: SimNode, to: bytes, message: Message) -> None:
        pipe = self.network.by_sender(to)
        if pipe is not None:
            pipe.reply(to, message)

    def published(self, node: SimNode, frame: bytes) -> None:
        for reader in self.clients.readers:
            reader.published(node, frame)

    def answered(self, node: SimNode, to: bytes, message: Message) -> None:
        self.trace.add(node.name, "->control", (to, message))
        if not to.startswith(b"peer-"):
            self.operators.answered(to, message)
            return
        asker, life, number = to[5:].decode().split("-")
        target = self.node(asker)

        def alive() -> bool:
            return target.runs and target.life == int(life)

        def arrive() -> bool:
            target.receive("peer_answer", int(number), message)
            return True

        self.network.carry(node.name, asker, arrive, alive)

    def asks_peer(self, node: SimNode, number: int, question: PeerQuestion) -> None:
        peer, life = self.other(node), node.life
        sender = f"peer-{node.name}-{life}-{number}".encode()

        def alive() -> bool:
            return node.runs and node.life == life

        def arrive() -> bool:
            if not peer.runs:
                return False
            peer.receive("control", sender, question)
            return True

        self.network.carry(node.name, peer.name, arrive, alive)
