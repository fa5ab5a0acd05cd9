"""Faults of one run: which, when, and how they heal.

Decides what befalls nodes, disks, network and clients, by the plan's list. A dead node is started
again after a while by its supervisor, unless an operator has attested that it stays stopped.
"""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

from interlock.shared.limits import CHUNK_BYTES
from interlock.shared.roles import Role
from interlock.shared.state import NodeMemory
from support.nodes import ROOMY

from .engine import MS, Process

if TYPE_CHECKING:
    from .node import SimNode
    from .world import SimWorld


AT_AN_EFFECT = ("kill at an effect", "power cut at an effect", "freeze at an effect")


class Faults:
    """Injects the plan's faults until the world heals."""

    def __init__(self, world: SimWorld) -> None:
        self.world = world
        self.rng: Random = world.rng
        self._on = True

    def start(self) -> None:
        engine = self.world.engine
        engine.spawn(self._inject(), 500 * MS)
        for node in self.world.nodes:
            engine.spawn(self._supervise(node), 100 * MS)

    def heal(self) -> None:
        self._on = False
        world = self.world
        world.network.heal()
        self._prompt()
        for node in world.nodes:
            node.room, node.sync_fails, node.sync_ns = ROOMY, False, world.sync_ns
            node.trap = None
            node.thaw()

    def _inject(self) -> Process:
        plan = self.world.plan
        while self._on:
            yield int(self.rng.random() * 2 * plan.fault_every_ms * MS)
            if self._on:
                kind = self.rng.choice(plan.faults)
                if self._befall(kind, self.rng.choice(self.world.nodes)):
                    self.world.seen.faults[kind] += 1

    def _supervise(self, node: SimNode) -> Process:
        """Starts the node again; in a healed world at once, else after a while."""
        world = self.world
        while True:
            yield int((0.1 + self.rng.random()) * world.plan.restart_ms * MS)
            if node.held or (self._on and node.asleep_until > world.now):
                continue
            # An operator who cannot reseed it, for want of a leader, has it repaired in the end.
            if node.failed is not None and self.rng.random() < (0.1 if self._on else 0.4):
                self._repair(node)
            elif not node.runs:
                node.sync_fails = False
                if node.lost_disk:
                    self._replace_disk(node)
                node.start()
                self._threaten(node)

    def _threaten(self, node: SimNode) -> None:
        """It may die again within its first steps: between a promise, an opening and a welcome."""
        if node.doomed is not None:
            node.trap, node.doomed = node.doomed, None
            return
        kinds = [kind for kind in AT_AN_EFFECT if kind in self.world.plan.faults]
        if kinds and self._on and self.rng.random() < 0.3:
            node.trap = (self.rng.randrange(20), self.rng.choice(kinds)[: -len(" at an effect")])

    def _for_a_while(self) -> int:
        return int(self.rng.choice((0.05, 0.3, 1.5, 4.0)) * (0.5 + self.rng.random()) * 1e9)

    def _befall(self, kind: str, node: SimNode) -> bool:  # noqa: C901 one case per fault
        world, rng = self.world, self.rng
        network, engine = world.network, world.engine
        peer = world.other(node)
        match kind:
            case "kill" | "power cut":
                node.kill(power_cut=kind == "power cut")
            case "node stopped in order" if node.core and not node.frozen and not node.effects:
                world.trace.add(node.name, "stopped")
                node.stop()
            case "freeze":
                node.freeze()
                engine.after(world.pause_ns(), node.thaw)
            case "one after the other":
                node.kill(power_cut=rng.random() < 0.5)
                delay = int(rng.choice((0.02, 0.3, 1.5)) * rng.random() * 1_000 * MS)
                engine.after(delay, peer.kill)
            case _ if kind in AT_AN_EFFECT:
                node.trap = (rng.choice((0, 1, 2, 3, 5, 8, 20, 60)), kind[: -len(" at an effect")])
                return False  # counted when it springs
            case "link cut":
                self._cut("link", both=True)
            case "link cut one way":
                self._cut("link", both=False)
            case "control cut":
                self._cut("control", both=rng.random() < 0.5)
            case "control slow":
                network.control_late_ms = rng.choice((50, 200, 400, 900))
                engine.after(self._for_a_while(), self._prompt)
            case "partition":
                self._cut("link", both=True)
                self._cut("control", both=True)
            case "connection breaks":
                for pipe in network.open_pipes("link"):
                    pipe.snap()
            case "client connection breaks":
                for pipe in network.open_pipes("client"):
                    pipe.snap()
            case "slow disk":
                node.sync_ns = rng.choice((20, 200, 1_000)) * MS
                engine.after(self._for_a_while(), self._quick, node)
            case "disk full":
                node.room = rng.choice((0, CHUNK_BYTES - 1, 2_000))
                engine.after(self._for_a_while(), self._roomy, node)
            case "sync fails":
                node.sync_fails = True
            case "clock step":
                node.wall_offset += rng.choice((-3_600, -1, 1, 3_600)) * 1_000 * MS
            case "producer dies":
                rng.choice(world.clients.submitters).restart()
            case "disk lost" if not peer.damaged and self._holds_all(peer):
                node.kill()
                node.lost_disk = True
            case "bit rot" if not node.damaged and not peer.lost_disk and self._holds_all(peer):
                node.damaged = True  # found at its next start
                node.kill(power_cut=rng.random() < 0.5)
            case _:
                return False
        if kind not in ("kill", "power cut", "freeze", "bit rot"):
            world.trace.add("world", "fault", (kind, node.name))
        return True

    def _prompt(self) -> None:
        self.world.network.control_late_ms = 0

    def _quick(self, node: SimNode) -> None:
        node.sync_ns = self.world.sync_ns

    def _roomy(self, node: SimNode) -> None:
        node.room = ROOMY

    def _cut(self, net: str, *, both: bool) -> None:
        network = self.world.network
        first, second = self.rng.choice((("a", "b"), ("b", "a")))
        network.cut(net, first, second)
        if both:
            network.cut(net, second, first)
        self.world.engine.after(self._for_a_while(), self._mend)

    def _mend(self) -> None:
        if self.world.network.paths.cut:
            self.world.trace.add("world", "mends", "all paths")
            self.world.network.heal()

    def _holds_all(self, node: SimNode) -> bool:
        registry = self.world.registry
        return registry.held_up_to(node) == registry.last

    def _replace_disk(self, node: SimNode) -> None:
        """Somebody puts an empty disk into a node that lost its own, and starts it as a standby, or
        by mistake as a primary."""
        node.lost_disk = False
        node.disks += 1
        node.replace_journal()
        role = Role.PRIMARY if self.rng.random() < 0.3 else Role.SECONDARY
        node.memory = NodeMemory(node.config.cluster, node.name, role)
        self.world.trace.add(node.name, "replaced", (role.value, "with an empty disk"))

    def _repair(self, node: SimNode) -> None:
        """Somebody stops a node that is FAILED and has its journal repaired from the peer's (`log
        repair`): it holds again what it held."""
        node.kill()
        node.damaged = False
        self.world.trace.add(node.name, "repaired")
        self.world.seen.faults["journal repaired"] += 1
