"""Stories that broke earlier drafts (DESIGN section 7), or that the simulator found, played with
other timing: who dies when, for how long, at which effect after its start.

Decides the order of the blows; operators still attest only what is true, and the nodes do what they
do. Chance alone comes to such an order once in many thousand seeds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from interlock.shared.operations import Operation
from interlock.shared.roles import NodeState

from .engine import MS, Process

if TYPE_CHECKING:
    from .node import SimNode
    from .world import SimWorld

O = Operation  # noqa: E741 short, for the stories below


class Gambits:
    """Plays stories, one after the other, until the world heals."""

    def __init__(self, world: SimWorld) -> None:
        self.world = world
        self.rng = world.rng

    def start(self) -> None:
        if self.world.plan.gambits:
            self.world.engine.spawn(self._play(), 800 * MS)

    def _play(self) -> Process:
        stories: list[Callable[[SimNode, SimNode], Process]] = [
            self._solo_and_back,
            self._over_a_promoted_one,
            self._handed_over_and_solo,
            self._shorter_standby,
            self._shorter_primary,
            self._solo_gives_way,
            self._late_acks,
        ]
        if self.world.seed % 11 == 9:  # a story that needs several goes in one world
            stories = [self._demoted_with_a_tail]
        while not self.world.healing:
            yield self._ms(100, 1_500)
            leader = next((node for node in self.world.nodes if node.leads), None)
            if leader is None or leader.state is not NodeState.GATED:
                yield from self.world.operators.look_and_repair()
            else:
                story = self.rng.choice(stories)
                self.world.seen.faults["story:" + story.__name__.replace("_", " ")] += 1
                yield from story(leader, self.world.other(leader))
                yield self._ms(500, 2_000)

    def _ms(self, low: int, high: int) -> int:
        return self.rng.randint(low, high) * MS

    def _down(self, node: SimNode, low: int, high: int) -> None:
        """Dies, by its process or its power, and stays down for so many ms."""
        node.kill(power_cut=self.rng.random() < 0.5)
        node.asleep_until = self.world.now + self._ms(low, high)

    def _until(self, node: SimNode, state: NodeState, ms: int) -> Process:
        end = self.world.now + ms * MS
        while self.world.now < end and not (node.core is not None and node.state is state):
            yield 50 * MS

    def _operate(self, node: SimNode, operation: Operation, **arguments: bool) -> Process:
        if node.core is not None and not node.held:
            yield from self.world.operators.operate("gambit", node, operation, **arguments)

    def _solo_and_back(self, leader: SimNode, other: SimNode) -> Process:
        """Alone for a while; then both start, and the leader dies over its new epoch."""
        self._down(other, 4_000, 6_000)
        yield from self._until(leader, NodeState.STALLED, 2_000)
        yield from self._operate(leader, O.SOLO)
        yield self._ms(300, 1_500)
        self._down(leader, 50, 500)
        leader.doomed = (self.rng.randint(3, 40), "kill")
        other.asleep_until = self.world.now + self._ms(0, 800)
        yield self._ms(1_000, 2_500)
        if self.rng.random() < 0.7:
            self._down(leader, 5_000, 8_000)
            yield self._ms(0, 300)
            yield from self._operate(other, O.PROMOTE, solo=self.rng.random() < 0.5)

    def _over_a_promoted_one(self, leader: SimNode, other: SimNode) -> Process:
        """The other is promoted and leads alone; it dies, and the old one is told to go on."""
        self._down(leader, 4_000, 6_000)
        yield self._ms(800, 1_500)
        yield from self._operate(other, O.PROMOTE, solo=True)
        yield self._ms(300, 1_500)
        self._down(other, 6_000, 9_000)
        leader.asleep_until = self.world.now + self._ms(0, 300)
        yield self._ms(500, 1_500)
        yield from self._operate(leader, O.SOLO)

    def _handed_over_and_solo(self, leader: SimNode, other: SimNode) -> Process:
        """Both die while one hands over; the one goes on alone, the other remembers."""
        self.world.engine.spawn(self._trap_when_draining(leader, other))
        yield from self._operate(leader, O.SWITCHOVER)
        if other.core is not None:
            self._down(other, 6_000, 9_000)
        yield self._ms(1_000, 3_000)
        yield from self._operate(leader, O.SOLO)
        yield self._ms(300, 1_500)
        self._down(leader, 6_000, 9_000)
        other.asleep_until = 0
        yield self._ms(500, 1_500)
        yield from self._operate(other, O.PROMOTE, solo=self.rng.random() < 0.5)

    def _trap_when_draining(self, leader: SimNode, other: SimNode) -> Process:
        """The standby dies over the closing record, and the leader a moment later."""
        end = self.world.now + 2_000 * MS
        while self.world.now < end and leader.core is not None:
            draining = leader.core.reign.draining if leader.leads else None
            if draining is not None and draining.closed is not None:
                other.trap = (self.rng.randint(0, 5), "kill")
                other.asleep_until = self.world.now + self._ms(6_000, 9_000)
                while other.core is not None and self.world.now < end:
                    yield MS // 10
                if leader.core is not None:
                    self._down(leader, 50, 300)
                return
            yield MS // 10

    def _shorter_standby(self, leader: SimNode, other: SimNode) -> Process:
        """The standby loses what it acknowledged, and is alone when it comes back."""
        other.kill(power_cut=True)
        other.asleep_until = self.world.now + self._ms(300, 800)
        yield self._ms(0, 100)
        self._down(leader, 6_000, 9_000)
        yield self._ms(1_200, 2_500)
        yield from self._operate(other, O.PROMOTE, solo=self.rng.random() < 0.5)

    def _shorter_primary(self, leader: SimNode, other: SimNode) -> Process:
        """The primary loses what it released, and the one that holds it is to be reseeded."""
        network = self.world.network
        network.cut("link", leader.name, other.name)
        network.cut("link", other.name, leader.name)
        leader.kill(power_cut=True)
        leader.asleep_until = self.world.now + self._ms(100, 500)
        yield self._ms(1_000, 2_500)
        yield from self._operate(other, O.REINSTATE, reseed=True)
        network.heal()

    def _solo_gives_way(self, leader: SimNode, other: SimNode) -> Process:
        """Cut off on the link alone: solo, and then the other is promoted over it."""
        network = self.world.network
        network.cut("link", leader.name, other.name)
        network.cut("link", other.name, leader.name)
        yield from self._until(leader, NodeState.STALLED, 2_500)
        yield from self._operate(leader, O.SOLO)
        yield self._ms(300, 1_500)
        if self.rng.random() < 0.5:
            yield from self._operate(leader, O.GATE)
        yield from self._operate(other, O.PROMOTE, solo=self.rng.random() < 0.5)
        yield self._ms(300, 2_000)
        network.heal()

    def _late_acks(self, leader: SimNode, other: SimNode) -> Process:
        """What the standby said is held up; it comes back shorter; then that arrives."""
        network = self.world.network
        network.cut("link", other.name, leader.name)
        yield self._ms(100, 800)
        other.kill(power_cut=True)
        other.asleep_until = self.world.now + self._ms(10, 100)
        yield self._ms(0, 300)
        network.heal()

    def _demoted_with_a_tail(self, leader: SimNode, other: SimNode) -> Process:
        """Demoted while it holds what nobody acknowledged; the other is promoted without that, and
        the old leader dials it."""
        network = self.world.network
        network.cut("link", leader.name, other.name)
        network.cut("link", other.name, leader.name)
        yield from self._until(leader, NodeState.STALLED, 2_500)
        yield from self._operate(leader, O.DEMOTE)
        self._down(leader, 2_000, 4_000)
        yield self._ms(100, 500)
        yield from self._operate(other, O.PROMOTE, solo=True)
        network.heal()
        yield self._ms(2_000, 4_000)
