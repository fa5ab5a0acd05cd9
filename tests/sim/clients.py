"""Producers and consumers of the simulated world, and the checks of what they are told.

`Submitter` runs the real `client.producer_core`; `RawProducer` speaks the protocol itself and
rudely: overlapping and repeated submissions, another body after each doubt, no back-off; so it
shows what a refusal is worth. `Reader` runs the real `client.consumer_core` over both feeds and
both replay sockets. Every message body is unique, so that a body tells who submitted it.
"""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Any

import msgspec

from interlock.client.backlog import Batch
from interlock.client.consumer_core import ConsumerCore
from interlock.client.producer_core import ProducerCore
from interlock.shared.errors import RemoteError
from interlock.shared.messages import (
    PROTOCOL_VERSION,
    Codec,
    Confirmed,
    IntakeRequest,
    ProducerHello,
    ProducerWelcome,
    Refused,
    ReplayRefused,
    ReplayRequest,
    Submit,
    encode,
)
from interlock.shared.wire import Kind, decode_messages, encode_messages

from .checkers import Violation
from .engine import MS

if TYPE_CHECKING:
    from .network import Pipe
    from .node import SimNode
    from .world import SimWorld

_requests = Codec[IntakeRequest](IntakeRequest)
_replays = Codec[ReplayRequest](ReplayRequest)


class Submitter:
    """A client application with the real producer core. It may be killed, and then goes on with
    `resume`: from the first number that is not confirmed, with the same bodies."""

    def __init__(self, world: SimWorld, rng: Random, name: str, total: int) -> None:
        self.world, self.rng, self.name, self.total = world, rng, name, total
        self.pipe: Pipe | None = None
        self.batches: list[Batch] = []
        self._tick_at = 0
        self.born = 0
        self.core = self._make(resume=False)

    def _make(self, *, resume: bool) -> ProducerCore:
        self.born += 1
        session = self.rng.getrandbits(62)
        self.world.clients.names[session] = self.name
        self.submitted = -1  # until the first welcome nothing is submitted
        endpoints = [node.config.node(node.name).intake for node in self.world.nodes]
        return ProducerCore(
            self.name,
            self.world.config.cluster,
            session,
            endpoints,
            self.world.now,
            window=self.rng.choice((4, 1_000)),
            record_messages=self.rng.choice((1, 3, 256)),
            record_bytes=65_536,
            records_in_flight=self.rng.choice((1, 4, 16)),
            resume=resume,
        )

    def start(self) -> None:
        self.pump()
        self.world.engine.after(self.rng.randrange(200 * MS), self._application)

    def restart(self) -> None:
        """The application dies and is started again."""
        if self.pipe is not None:
            self.pipe.close()
            self.pipe = None
        self.core = self._make(resume=True)
        self.pump()

    def body(self, number: int) -> bytes:
        return b"%s:%d" % (self.name.encode(), number)

    @property
    def done(self) -> bool:
        return self.submitted >= self.total and not self.core.backlog.unconfirmed

    def _application(self) -> None:
        core, now = self.core, self.world.now
        if core.welcomed and core.error is None:
            if self.submitted < 0:
                self.submitted = core.backlog.next - 1
            burst = self.total if self.world.healing else self.rng.choice((1, 1, 2, 5))
            while burst and self.submitted < self.total:
                batch = core.submit(self.body(self.submitted + 1), now)
                if batch is None:
                    break
                self.submitted += 1
                burst -= 1
                if not self.batches or self.batches[-1] is not batch:
                    self.batches.append(batch)
            if self.rng.random() < 0.3 or self.world.healing:
                core.flush(now)
        self.pump()
        self.world.engine.after(int(self.rng.random() * self.world.submit_ns), self._application)

    def receive(self, message: Any) -> None:
        self.core.received(encode(message), self.world.now)
        self.pump()

    def tick(self, when: int) -> None:
        if when == self._tick_at:
            self.core.tick(self.world.now)
            self.pump()

    def pump(self) -> None:
        """What the shell of a producer does after each call."""
        core, world = self.core, self.world
        if core.error is not None:
            raise Violation("producers go on", f"producer {self.name}: {core.error}")
        if core.connection.dial is not None:
            endpoint, core.connection.dial = core.connection.dial, None
            if self.pipe is not None:
                self.pipe.close()
            node = next(n for n in world.nodes if n.config.node(n.name).intake == endpoint)
            self.pipe = world.network.pipe("client", self.name, node, "intake", self.receive)
        assert self.pipe is not None
        if core.outbox:
            core.blocked(not self.pipe.connected, world.now)
            if core.connection.dial is not None:
                self.pump()
                return
        if self.pipe.connected:
            for frame in core.outbox:
                self.pipe.send(_requests.decode(frame))
            core.outbox.clear()
        self.core.progressed.clear()
        when = max(core.deadline_ns, world.now + MS)
        if when != self._tick_at:
            self._tick_at = when
            world.engine.at(when, self.tick, when)


class RawProducer:
    """Speaks the intake protocol without the library: overlaps, repeats, and takes another body
    whenever it does not know what became of the last one."""

    def __init__(self, world: SimWorld, rng: Random, name: str, total: int) -> None:
        self.world, self.rng, self.name, self.total = world, rng, name, total
        self.pipe: Pipe | None = None
        self.session = 0
        self.confirmed = 0
        self.open = False
        self.attempt = 0
        self.drawn = 0
        self.bodies: dict[int, list[bytes]] = {}  # by number: what was submitted, newest last
        self.sent: dict[int, tuple[int, list[bytes]]] = {}  # by attempt: first number and bodies
        self.refused: set[bytes] = set()

    def start(self) -> None:
        self._dial()
        self.world.engine.after(self.rng.randrange(300 * MS), self._act)

    @property
    def done(self) -> bool:
        return self.confirmed >= self.total

    def _dial(self) -> None:
        if self.pipe is not None:
            self.pipe.close()
        self.open = False
        self.session = self.rng.getrandbits(62)
        self.world.clients.names[self.session] = self.name
        node = self.rng.choice(self.world.nodes)
        self.pipe = self.world.network.pipe("client", self.name, node, "intake", self.receive)
        self.pipe.send(ProducerHello(PROTOCOL_VERSION, "", self.name, self.session, False))

    def _act(self) -> None:
        if not self.open or self.rng.random() < 0.05:
            self._dial()
        elif not self.done:
            self._submit()
        self.world.engine.after(
            int((0.1 + self.rng.random()) * 2 * self.world.submit_ns), self._act
        )

    def _submit(self) -> None:
        """From a number at or before the first unconfirmed one, sometimes well before it."""
        back = self.rng.choice((0, 0, 0, 1, 3))
        first = max(1, self.confirmed + 1 - back)
        count = self.rng.choice((1, 2, 4))
        bodies = []
        for number in range(first, first + count):
            self.drawn += 1
            bodies.append(b"%s:%d:%d" % (self.name.encode(), number, self.drawn))
            self.bodies.setdefault(number, []).append(bodies[-1])
        self.attempt += 1
        self.sent[self.attempt] = (first, bodies)
        assert self.pipe is not None
        payload = msgspec.Raw(encode_messages(bodies))
        self.pipe.send(Submit(self.session, self.attempt, first, count, payload))

    def receive(self, message: Any) -> None:
        if isinstance(message, ProducerWelcome):
            self.open = message.session == self.session
            self.confirmed = max(self.confirmed, message.confirmed_producer_seq)
        elif isinstance(message, Confirmed):
            for run in message.runs:
                if run.producer_seq <= self.confirmed + 1:
                    self.confirmed = max(self.confirmed, run.producer_seq + run.count - 1)
        elif isinstance(message, Refused):
            self._on_refused(message)

    def _on_refused(self, refused: Refused) -> None:
        """Nothing of what was refused may ever be delivered, but for what the log held before."""
        if refused.attempt in self.sent and refused.session == self.session:
            self.refused.update(self.sent[refused.attempt][1])
        else:
            self.open = False


class Reader:
    """A consumer with the real core: both feeds lose frames, replay answers late or not at all."""

    def __init__(self, world: SimWorld, rng: Random, name: str) -> None:
        self.world, self.rng, self.name = world, rng, name
        self.core = ConsumerCore(world.config.cluster, 2, world.now)
        self.next = 1
        self.epoch = 0
        self.lossy = rng.choice((0.0, 0.02, 0.3))
        self.slow_ns = rng.choice((50_000, 20 * MS))
        self._arrival = {"a": 0, "b": 0}
        self._tick_at = 0

    def start(self) -> None:
        self.pump()

    def published(self, node: SimNode, frame: bytes) -> None:
        if self.rng.random() < self.lossy:
            return
        when = self.world.now + int(self.rng.random() * self.slow_ns)
        when = self._arrival[node.name] = max(when, self._arrival[node.name])
        self.world.engine.at(when, self._feed, frame)

    def _feed(self, frame: bytes) -> None:
        self.core.feed(frame, self.world.now)
        self.pump()

    def _tick(self, when: int) -> None:
        if when == self._tick_at:
            self.core.tick(self.world.now)
            self.pump()

    def _ask(self, index: int, frame: bytes) -> None:
        """The request reaches a node, which answers from its journal; the answer comes back."""
        node = self.world.nodes[index]
        if node.core is None or node.frozen or self.rng.random() < self.lossy:
            return
        request = _replays.decode(frame)
        released_seq = node.released_seq
        try:
            reply: Any = node.replay_server()._answer(request, released_seq)
            self.world.checks.replayed(node, reply)
        except RemoteError as error:
            reply = ReplayRefused(request.request, error.reason, error.text, 1, released_seq)
        delay = int(self.rng.random() * self.slow_ns)
        self.world.engine.after(delay, self._answered, index, encode(reply))

    def _answered(self, index: int, frame: bytes) -> None:
        self.core.replayed(index, frame, self.world.now)
        self.pump()

    def pump(self) -> None:
        core, world = self.core, self.world
        while core.deliveries:
            delivery = core.deliveries.popleft()
            record = delivery.record
            if record.seq != self.next or record.epoch < self.epoch:
                raise Violation(
                    "delivery is contiguous",
                    f"{self.name} got seq {record.seq} in epoch {record.epoch}, wanted "
                    f"{self.next} in {self.epoch}",
                )
            world.checks.one_value.told(f"the consumer {self.name}", record)
            self.next, self.epoch = record.last_seq + 1, record.epoch
        if core.error is not None:
            raise Violation("consumers go on", f"consumer {self.name}: {core.error}")
        if core.request is not None:
            index, frame = core.request
            core.request = None
            world.engine.after(int(self.rng.random() * self.slow_ns), self._ask, index, frame)
        when = max(core.deadline_ns, world.now + MS)
        if when != self._tick_at:
            self._tick_at = when
            world.engine.at(when, self._tick, when)


class Clients:
    """All of them, and what they were told."""

    def __init__(self, world: SimWorld) -> None:
        self.world = world
        self.names: dict[int, str] = {}  # by session
        self.seqs: dict[tuple[str, int], int] = {}  # what was confirmed
        self.submitters: list[Submitter] = []
        self.raws: list[RawProducer] = []
        self.readers: list[Reader] = []

    def make(self, rng: Random, submitters: int, raws: int, readers: int, total: int) -> None:
        self.submitters = [
            Submitter(self.world, rng, f"p{index}", total) for index in range(submitters)
        ]
        self.raws = [RawProducer(self.world, rng, f"r{index}", total) for index in range(raws)]
        self.readers = [Reader(self.world, rng, f"c{index}") for index in range(readers)]
        for each in (*self.submitters, *self.raws, *self.readers):
            each.start()

    @property
    def done(self) -> bool:
        last = self.world.registry.last
        return all(each.done for each in (*self.submitters, *self.raws)) and all(
            each.next == last + 1 for each in self.readers
        )

    def confirmed(self, node: SimNode, confirmed: Confirmed) -> None:
        """P4 and P1 at the moment when a confirmation leaves a node."""
        name = self.names[confirmed.session]
        for run in confirmed.runs:
            if not run.seq:
                continue
            last = run.seq + run.count - 1
            record = node.journal.covering(last)
            if record is None:
                raise Violation("confirmed is in the log", f"{node.name} confirms seq {last}")
            self.world.checks.release(node, record.last_seq)
            for index in range(run.count):
                key, seq = (name, run.producer_seq + index), run.seq + index
                record = node.journal.covering(seq)
                at = record.producer_seq + seq - record.seq if record is not None else 0
                if record is None or (record.producer, at) != key:
                    raise Violation(
                        "confirmed is in the log", f"{node.name} confirms {key} at seq {seq}"
                    )
                self.world.checks.one_value.told(f"a confirmation of {node.name}", record)
                if self.seqs.setdefault(key, seq) != seq:
                    raise Violation(
                        "exactly once", f"{key} is confirmed at {seq} and at {self.seqs[key]}"
                    )

    def check_log(self, node: SimNode) -> None:
        """At the end: the log holds each number once, what was confirmed where it was confirmed,
        and nothing that was refused."""
        nexts: dict[str, int] = {}
        refused = {body for raw in self.raws for body in raw.refused}
        for record in node.journal.records:
            if record.kind is not Kind.DATA:
                continue
            for index, body in enumerate(decode_messages(record.payload)):
                name, number = record.producer, record.producer_seq + index
                expected = nexts.get(name, 1)
                if number != expected:
                    raise Violation("exactly once", f"{name} {number} follows {expected - 1}")
                nexts[name] = number + 1
                at = self.seqs.get((name, number), record.seq + index)
                if at != record.seq + index:
                    raise Violation(
                        "exactly once", f"{name} {number} is at {record.seq + index}, not {at}"
                    )
                if body in refused:
                    raise Violation("refused is never delivered", f"{body!r} is in the log")
                if not body.startswith(b"%s:%d" % (name.encode(), number)):
                    raise Violation("exactly once", f"{name} {number} holds {body!r}")
        for name, number in self.seqs:
            if number >= nexts.get(name, 1):
                raise Violation("confirmed is delivered", f"{name} {number} is not in the log")
