"""The network between nodes, clients and operators, as ZeroMQ over TCP shows it to a program.

Decides what arrives, and when. Within one connection order is kept. While a path is cut, what was
sent waits (TCP sends it again); when the path is back it arrives late, up to seconds after that, or
the connection breaks and that part is lost while later messages arrive: the peer then sees a new
routing id. A dialler's socket keeps what it could not send yet, so a process that starts late still
gets it. A new dial is a new socket: nothing of the old one reaches it, but what the old one sent
may reach the target late, after the new one was welcomed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING, Any

from .engine import MS, Engine

if TYPE_CHECKING:
    from .node import SimNode

QUESTION_KEPT_NS = 2_000 * MS  # how long a question to the peer lingers (`shared.peerline.KEEP_NS`)


class Paths:
    """Which directions are open. A path is (net, from, to), such as ("link", "a", "b")."""

    def __init__(self) -> None:
        self.cut: set[tuple[str, str, str]] = set()

    def is_open(self, net: str, source: str, target: str) -> bool:
        return (net, source, target) not in self.cut


class Pipe:
    """One dialled socket, from a node or a client to a ROUTER socket of `target`."""

    def __init__(
        self,
        network: Network,
        number: int,
        net: str,
        source: str,
        target: SimNode,
        inbox_kind: str,
        deliver: Callable[[Any], None],
    ) -> None:
        self._network = network
        self.number = number
        self.net, self.source, self.target = net, source, target
        self._kind = inbox_kind
        self._deliver = deliver
        self.generation = 0
        self.connected = False
        self.closed = False
        self._unsent: deque[Any] = deque()
        self._held: dict[bool, list[Any]] = {True: [], False: []}  # by direction; True: to target
        self._last_arrival = {True: 0, False: 0}

    @property
    def sender(self) -> bytes:
        """The routing id by which the target knows this connection now."""
        return b"%s.%d.%d" % (self.source.encode(), self.number, self.generation)

    def send(self, message: Any) -> None:
        """From the dialling side."""
        if self.connected:
            self._fly(message, to_target=True)
        else:
            self._unsent.append(message)

    def reply(self, sender: bytes, message: Any) -> None:
        """From the target, to a routing id; dropped if that is of an earlier connection."""
        if self.connected and sender == self.sender:
            self._fly(message, to_target=False)

    def connect(self) -> None:
        """If the target listens and the path is open: sends what waits."""
        if self.closed or self.connected or not self._listens() or not self._open_both():
            return
        self.connected = True
        self.generation += 1
        self._held = {True: [], False: []}
        while self._unsent:
            self._fly(self._unsent.popleft(), to_target=True)

    def snap(self) -> None:
        """The connection breaks: what is on its way is lost."""
        if self.connected:
            self.connected = False
            self._network.engine.after(self._network.reconnect_ns(), self.connect)

    def close(self) -> None:
        """The dialling side closes: what it sent still arrives, nothing comes back."""
        self.closed = True

    @property
    def is_over(self) -> bool:
        """Closed, and nothing of it can arrive any more."""
        return self.closed and not (self.connected and self._held[True])

    def healed(self, *, breaks: bool) -> None:
        """A path is open again: what waited arrives late, or is lost with the connection."""
        for to_target in (True, False):
            if self._held[to_target] and self._is_open(to_target=to_target):
                if breaks:
                    self.snap()
                    return
                waiting, self._held[to_target] = self._held[to_target], []
                late = self._network.late_ns()
                for message in waiting:
                    self._fly(message, to_target=to_target, late=late)
        self.connect()

    def _listens(self) -> bool:
        return self.target.core is not None  # one that is FAILED has bound control alone

    def _is_open(self, *, to_target: bool) -> bool:
        ends = (self.source, self.target.name)
        source, target = ends if to_target else ends[::-1]
        return self._network.paths.is_open(self.net, source, target)

    def _open_both(self) -> bool:
        return self._is_open(to_target=True) and self._is_open(to_target=False)

    def _fly(self, message: Any, *, to_target: bool, late: int = 0) -> None:
        engine = self._network.engine
        when = engine.now + self._network.delay_ns(self.net) + late
        when = max(self._last_arrival[to_target], when)
        self._last_arrival[to_target] = when
        engine.at(when, self._arrive, message, to_target, self.generation, self.sender)

    def _arrive(self, message: Any, to_target: bool, generation: int, sender: bytes) -> None:
        if generation != self.generation or not self.connected:
            return
        if not self._is_open(to_target=to_target) or self._held[to_target]:
            self._held[to_target].append(message)
        elif to_target:
            self.target.receive(self._kind, sender, message)
        elif not self.closed:
            self._deliver(message)


class Network:
    """All connections, the paths between the nodes, and the questions of one node to the other."""

    def __init__(self, engine: Engine, rng: Random, delay_us: int, reconnect_ms: int) -> None:
        self.engine = engine
        self.paths = Paths()
        self._rng = rng
        self.delay_us = delay_us
        self.control_late_ms = 0  # how much later than usual what is said on control arrives
        self._reconnect_ms = reconnect_ms
        self._pipes: list[Pipe] = []
        self._made = 0

    def delay_ns(self, net: str) -> int:
        base = 20_000 if net == "client" else self.delay_us * 1_000
        spread = self._rng.random()
        late_ms = self.control_late_ms * spread if net == "control" else 0
        return int(base * (0.5 + spread) + late_ms * MS) + (base * 20 if spread > 0.98 else 0)

    def late_ns(self) -> int:
        """How long TCP waits before it tries again what was lost on a path that is open again."""
        return int(self._rng.choice((0, 0, 0.1, 0.5, 3)) * self._rng.random() * 1_000 * MS)

    def reconnect_ns(self) -> int:
        return int(self._rng.random() * self._reconnect_ms * MS)

    def pipe(
        self, net: str, source: str, target: SimNode, kind: str, deliver: Callable[[Any], None]
    ) -> Pipe:
        self._made += 1
        made = Pipe(self, self._made, net, source, target, kind, deliver)
        self._pipes = [pipe for pipe in self._pipes if not pipe.is_over]
        self._pipes.append(made)
        made.connect()
        return made

    def open_pipes(self, net: str) -> list[Pipe]:
        return [pipe for pipe in self._pipes if pipe.net == net and not pipe.closed]

    def by_sender(self, sender: bytes) -> Pipe | None:
        return next((pipe for pipe in self._pipes if pipe.sender == sender), None)

    def process_ended(self, node: SimNode) -> None:
        for pipe in self._pipes:
            if pipe.target is node:
                pipe.connected = False

    def process_started(self, node: SimNode) -> None:
        for pipe in self._pipes:
            if pipe.target is node:
                self.engine.after(self.reconnect_ns(), pipe.connect)

    def cut(self, net: str, source: str, target: str) -> None:
        self.paths.cut.add((net, source, target))

    def heal(self) -> None:
        self.paths.cut.clear()
        for pipe in list(self._pipes):
            pipe.healed(breaks=self._rng.random() < 0.5)

    # Questions of a node to its peer's control socket -----------------------------------------

    def carry(
        self,
        source: str,
        target: str,
        arrive: Callable[[], bool],
        alive: Callable[[], bool],
        asked: int | None = None,
    ) -> None:
        """Carries a question or an answer; it waits for an open path and a running target for as
        long as the asker keeps the socket. `arrive` returns false while nobody takes it."""
        asked = self.engine.now if asked is None else asked
        if not alive() or self.engine.now - asked > QUESTION_KEPT_NS:
            return

        def land() -> None:
            if not (self.paths.is_open("control", source, target) and arrive()):
                self.engine.after(50 * MS, self.carry, source, target, arrive, alive, asked)

        self.engine.after(self.delay_ns("control"), land)
