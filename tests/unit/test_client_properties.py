"""Whatever the network does, a reader reads the log and a producer's messages are in it once.

Hypothesis draws what happens; a slow and obvious twin says what must come out.
"""

from __future__ import annotations

import random
from collections import deque
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from interlock.client.consumer_core import ConsumerCore
from interlock.client.errors import BeyondHeadError
from interlock.shared.errors import Reason
from interlock.shared.messages import (
    Codec,
    Confirmed,
    Head,
    IntakeRequest,
    Message,
    ProducerHello,
    ProducerPing,
    ProducerPong,
    ProducerWelcome,
    Refused,
    ReplayChunk,
    ReplayRefused,
    ReplayRequest,
    Submit,
    encode,
)
from interlock.shared.producers import Run
from interlock.shared.wire import decode_messages
from interlock.tests.unit.client_kit import (
    CLUSTER,
    MS,
    SECOND,
    SESSION,
    LogBook,
    ProducerDriver,
    damaged,
)

_replay_requests: Codec[ReplayRequest] = Codec(ReplayRequest)
_requests: Codec[IntakeRequest] = Codec(IntakeRequest)

# A reader ---------------------------------------------------------------------------------------


def random_log(rng: random.Random) -> tuple[LogBook, dict[int, bytes]]:
    """A log, and the body at each of its seqs."""
    log, truth, number = LogBook(), {}, 1
    log.open(1)
    for _ in range(rng.randrange(1, 25)):
        kind = rng.random()
        if kind < 0.1:
            log.open(log.epoch + rng.randrange(1, 3))
        elif kind < 0.2:
            log.tick()
        else:
            bodies = [b"%d" % rng.randrange(10**6) for _ in range(rng.randrange(1, 6))]
            first = log.last_seq + 1
            log.data(*bodies, producer_seq=number)
            number += len(bodies)
            truth.update((first + index, body) for index, body in enumerate(bodies))
    return log, truth


class ReaderWorld:
    """A reader and two nodes that serve one log, of which they know different heads as released."""

    def __init__(self, seed: int) -> None:
        self.rng = rng = random.Random(seed)
        self.log, self.truth = random_log(rng)
        self.from_seq = rng.randrange(1, self.log.last_seq + 1)
        self.now = SECOND
        self.core = ConsumerCore(CLUSTER, 2, self.now, from_seq=self.from_seq)
        self.read: list[tuple[int, bytes]] = []
        self.pending: list[tuple[int, bytes]] = []
        self.live = 0

    def act(self, calm: bool = False) -> None:
        rng, core = self.rng, self.core
        if core.request is not None:
            (node, frame), core.request = core.request, None
            if not calm and rng.random() < 0.2:
                core.unsent(self.now)
            else:
                self.pending.append((node, self._answer(node, frame, calm)))
        elif self.pending and (calm or rng.random() < 0.5):
            node, answer = self.pending.pop(0 if calm else rng.randrange(len(self.pending)))
            if calm or rng.random() < 0.9:
                core.replayed(node, answer, self.now)
        elif calm or rng.random() < 0.4:
            self.now += 100 * MS
            core.tick(self.now)
            core.feed(encode(Head(CLUSTER, "a", self.log.epoch, self._released(calm))), self.now)
        else:
            self._publish()
        self._collect()

    def _released(self, calm: bool) -> int:
        if calm:
            return self.log.last_seq
        return self.log.firsts[self.rng.randrange(len(self.log.firsts))] - 1

    def _publish(self) -> None:
        """A frame of the feed: mostly the next, sometimes an old one, lost, doubled or damaged."""
        rng, records = self.rng, self.log.records
        if rng.random() < 0.2:
            self.live = rng.randrange(len(records))
        count = rng.randrange(1, 4)
        frame = b"".join(records[self.live : self.live + count])
        self.live = min(self.live + count, len(records) - 1)
        for _ in range(rng.choice([0, 1, 1, 1, 2])):
            self.core.feed(damaged(frame) if rng.random() < 0.1 else frame, self.now)

    def _answer(self, node: int, frame: bytes, calm: bool) -> bytes:
        request = _replay_requests.decode(frame)
        released = self._released(calm)
        if request.from_seq > released + 1:
            return encode(ReplayRefused(request.request, Reason.BEYOND_HEAD, "", 1, released))
        raw = self.log.replay(request.from_seq, self.rng.randrange(1, 5), released)
        return encode(
            ReplayChunk(request.request, CLUSTER, "ba"[node], released, 1, memoryview(raw))
        )

    def _collect(self) -> None:
        while self.core.deliveries:
            delivery = self.core.deliveries.popleft()
            if delivery.record.kind == 1:
                first = delivery.record.seq
                self.read += [
                    (first + index, body)
                    for index, body in enumerate(delivery.bodies)
                    if index >= delivery.skip
                ]

    def expected(self) -> list[tuple[int, bytes]]:
        return [(seq, body) for seq, body in sorted(self.truth.items()) if seq >= self.from_seq]


@settings(max_examples=300, deadline=None)
@given(seed=st.integers(0, 2**32), steps=st.integers(0, 120))
def test_a_reader_reads_exactly_the_log_whatever_the_feed_and_the_nodes_do(
    seed: int, steps: int
) -> None:
    world = ReaderWorld(seed)
    expected = world.expected()
    for step in range(steps + 400):
        world.act(calm=step >= steps)
        assert world.read == expected[: len(world.read)]
        if world.core.error is not None:
            # Both nodes may really have said that they have not released what was asked for first.
            assert isinstance(world.core.error, BeyondHeadError)
            assert not world.read
            return
    assert world.read == expected


# A producer --------------------------------------------------------------------------------------


class ProducerWorld:
    """A producer and a pair of nodes, seen from outside: one log with a released part.

    The log starts with messages of an earlier session of the name, the last of them unreleased.
    """

    def __init__(self, seed: int) -> None:
        self.rng = rng = random.Random(seed)
        self.driver = ProducerDriver(
            window=rng.choice([5, 50]), record_messages=rng.choice([1, 3, 10])
        )
        self.seq = 0
        self.log: list[tuple[int, bytes]] = []  # seq and body of producer_seq 1, 2, ...
        for number in range(rng.randrange(0, 6)):
            self._append(b"earlier %d" % number)
        self.released = rng.randrange(0, len(self.log) + 1)
        self.welcomed_at: int | None = None
        self.to_node: deque[bytes] = deque()
        self.to_client: deque[Message] = deque()
        self.session = False
        self.awaiting: list[tuple[int, int]] = []
        self.tickets: list[tuple[bytes, Any, int]] = []

    def _append(self, body: bytes) -> None:
        self.seq += self.rng.choice([1, 1, 1, 7])
        self.log.append((self.seq, body))

    def act(self, calm: bool = False) -> None:
        driver, rng = self.driver, self.rng
        self._connect()
        self.to_node.extend(driver.core.outbox)
        driver.core.outbox.clear()
        choice = rng.random()
        if calm:
            choice = rng.choice([0.3, 0.5, 0.65, 0.99])
        if choice < 0.2:
            if driver.core.welcomed:
                self._send()
        elif choice < 0.45:
            if self.to_node:
                self._serve(_requests.decode(self.to_node.popleft()), calm)
        elif choice < 0.6:
            if self.to_client:
                driver.hear(self.to_client.popleft())
        elif choice < 0.75:
            self._release(rng.randrange(1, 8) if not calm else len(self.log))
        elif choice < 0.78:
            self.session = False  # the node restarts
            self.to_client.clear()
        elif choice < 0.8:
            self._fail_over()
        else:
            driver.pass_ms(rng.choice([1, 20, 300]))

    def _connect(self) -> None:
        if self.driver.dialled() is not None:
            self.to_node.clear()
            self.to_client.clear()

    def _send(self) -> None:
        body = b"message %d" % len(self.tickets)
        [(batch, index)] = self.driver.send(body)
        if batch is not None:
            self.tickets.append((body, batch, index))

    def _fail_over(self) -> None:
        """The new primary has all that was released, and any part of the rest."""
        del self.log[self.rng.randrange(self.released, len(self.log) + 1) :]
        self.session = False
        self.awaiting.clear()
        self.to_client.clear()

    def _serve(self, request: IntakeRequest, calm: bool) -> None:
        match request:
            case ProducerHello():
                self.session = True
                self.to_client.append(
                    ProducerWelcome(
                        SESSION, CLUSTER, "a", 1, len(self.log), self.released, 65_536, 100
                    )
                )
            case ProducerPing() if self.session:
                self.to_client.append(ProducerPong(SESSION, "GATED"))
            case Submit() if self.session:
                self._take(request, calm)
            case _:
                self.to_client.append(Refused(Reason.NO_SESSION, "", SESSION))

    def _take(self, submit: Submit, calm: bool) -> None:
        first, last = submit.producer_seq, submit.producer_seq + submit.count - 1
        accepted = len(self.log)
        reason = None
        if first > accepted + 1:
            reason = Reason.GAP
        elif last > accepted and not calm and self.rng.random() < 0.2:
            reason = Reason.BUSY
        if reason is not None:
            self.to_client.append(
                Refused(reason, "", SESSION, submit.attempt, expected=accepted + 1)
            )
            return
        for body in decode_messages(submit.messages)[max(0, accepted + 1 - first) :]:
            self._append(body)
        self._confirm(first, min(last, self.released))
        if last > self.released:
            self.awaiting.append((max(first, self.released + 1), last))

    def _release(self, count: int) -> None:
        before, self.released = self.released, min(len(self.log), self.released + count)
        if self.session:
            self._confirm(before + 1, self.released)
            for first, last in self.awaiting:
                self._confirm(first, min(last, self.released))
            self.awaiting = [(a, b) for a, b in self.awaiting if b > self.released]

    def _confirm(self, first: int, last: int) -> None:
        runs: list[Run] = []
        for number in range(first, last + 1):
            seq = self.log[number - 1][0]
            if runs and runs[-1].seq + runs[-1].count == seq and self.rng.random() < 0.8:
                runs[-1] = Run(runs[-1].producer_seq, runs[-1].seq, runs[-1].count + 1)
            else:
                runs.append(Run(number, seq, 1))
        if runs:
            self.to_client.append(Confirmed(SESSION, 1, runs))


@settings(max_examples=300, deadline=None)
@given(seed=st.integers(0, 2**32), steps=st.integers(0, 300))
def test_every_message_is_in_the_log_once_and_in_order_with_the_seq_that_was_confirmed(
    seed: int, steps: int
) -> None:
    world = ProducerWorld(seed)
    for _ in range(steps):
        world.act()
        assert world.driver.core.error is None
    for _ in range(5_000):
        world.act(calm=True)
        if world.driver.core.welcomed and not world.driver.core.backlog.unconfirmed:
            break
    assert world.driver.core.error is None
    assert all(batch.confirmed > index for _, batch, index in world.tickets)
    ours = [(body, seq) for seq, body in world.log if not body.startswith(b"earlier")]
    assert ours == [(body, batch.seq_at(index)) for body, batch, index in world.tickets]
