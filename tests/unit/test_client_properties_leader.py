"""Whatever a change of leader does: a producer's messages are in the log once, and a reader reads
the new leader's log, or stops because it had read what was given up.

Hypothesis draws what happens; a slow and obvious twin says what must come out.
"""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from interlock.client.consumer_core import ConsumerCore
from interlock.client.errors import BeyondHeadError, HistoryError
from interlock.shared.errors import Reason
from interlock.shared.messages import (
    Codec,
    Head,
    IntakeRequest,
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
from interlock.shared.wire import parse_records
from interlock.tests.unit.client_kit import CLUSTER, MS, SECOND, SESSION, LogBook
from interlock.tests.unit.test_client_properties import ProducerWorld, random_log

_replay_requests: Codec[ReplayRequest] = Codec(ReplayRequest)
_requests: Codec[IntakeRequest] = Codec(IntakeRequest)

A, B = "tcp://a:1", "tcp://b:1"

# A producer --------------------------------------------------------------------------------------


class PairWorld(ProducerWorld):
    """The lead moves between two nodes. The new leader holds all that was released and any part of
    the rest. The other one redirects, is silent, or does not know yet that its epoch has ended.
    """

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.leader, self.at, self.epoch = A, A, 1
        self.old_accepted = len(self.log)
        self.blocked = False

    def act(self, calm: bool = False) -> None:
        core = self.driver.core
        self._connect()
        if self.blocked:
            self.blocked = False
            core.blocked(False, self.driver.now)
        elif not calm and self.rng.random() < 0.05:
            self.blocked = True
            core.blocked(True, self.driver.now)
            self._connect()
        super().act(calm)
        while calm and (self.to_node or self.to_client):  # calm is quick, too
            while self.to_node:
                self._serve(_requests.decode(self.to_node.popleft()), calm)
            while self.to_client:
                self.driver.hear(self.to_client.popleft())
                self._connect()

    def _connect(self) -> None:
        endpoint = self.driver.dialled()
        if endpoint is not None:
            self.at, self.session, self.blocked = endpoint, False, False
            self.to_node.clear()
            self.to_client.clear()

    def _fail_over(self) -> None:
        self.old_accepted = len(self.log)
        told = list(self.to_client)
        session, old = self.session, self.leader
        super()._fail_over()
        self.epoch += 1
        if self.rng.random() < 0.7:
            self.leader = B if old == A else A
            if session and self.rng.random() < 0.5:
                self.to_client.extend(told)
                self.to_client.append(self._redirect(SESSION))

    def _redirect(self, session: int) -> Refused:
        return Refused(Reason.NOT_PRIMARY, "", session, leader=[self.leader])

    def _serve(self, request: IntakeRequest, calm: bool) -> None:
        if self.at != self.leader:
            self._serve_elsewhere(request, calm)
        elif isinstance(request, ProducerHello):
            if not calm and self.rng.random() < 0.3:
                self.to_client.append(Refused(Reason.BUSY, "", SESSION))
                return
            self.session = True
            self.to_client.append(self._welcome(self.epoch, len(self.log)))
        else:
            super()._serve(request, calm)

    def _serve_elsewhere(self, request: IntakeRequest, calm: bool) -> None:
        choice = 0.0 if calm else self.rng.random()
        if choice < 0.5:
            self.to_client.append(self._redirect(request.session))
        elif choice < 0.7:
            return
        elif isinstance(request, ProducerHello) and request.resume and self.epoch > 1:
            self.to_client.append(self._welcome(self.epoch - 1, self.old_accepted))
        elif isinstance(request, ProducerPing):
            self.to_client.append(ProducerPong(SESSION, "STALLED"))
        else:
            assert isinstance(request, Submit | ProducerHello)

    def _welcome(self, epoch: int, accepted: int) -> ProducerWelcome:
        return ProducerWelcome(
            SESSION, CLUSTER, "a", epoch, accepted, min(self.released, accepted), 65_536, 100
        )


@settings(max_examples=300, deadline=None)
@given(seed=st.integers(0, 2**32), steps=st.integers(0, 300))
def test_every_message_is_in_the_log_once_whoever_leads(seed: int, steps: int) -> None:
    world = PairWorld(seed)
    core = world.driver.core
    for _ in range(steps):
        world.act()
        assert core.error is None
    for _ in range(5_000):
        world.act(calm=True)
        if core.welcomed and not core.backlog.unconfirmed:
            break
    assert core.error is None
    assert all(batch.confirmed > index for _, batch, index in world.tickets)
    ours = [(body, seq) for seq, body in world.log if not body.startswith(b"earlier")]
    assert ours == [(body, batch.seq_at(index)) for body, batch, index in world.tickets]


# A reader ---------------------------------------------------------------------------------------


class PartedWorld:
    """`a` released alone what the new leader `b` lacks; both publish and replay for a while,
    then `b` alone.
    """

    def __init__(self, seed: int) -> None:
        self.rng = rng = random.Random(seed)
        self.old, _ = random_log(rng)
        self.new = self.old.copy()
        self.new.cut(rng.randrange(len(self.new.records)))
        for _ in range(rng.randrange(1, 3)):
            self.new.open(max(self.old.epoch, self.new.epoch) + 1, "b")
            for number in range(rng.randrange(12)):
                self.new.data(*[b"n"] * rng.randrange(1, 4), producer_seq=number + 1)
        self.now = SECOND
        self.from_seq = rng.randrange(1, min(self.old.last_seq, self.new.last_seq) + 1)
        self.core = ConsumerCore(CLUSTER, 2, self.now, from_seq=self.from_seq)
        self.pending: list[tuple[int, bytes]] = []
        self.read: list[tuple[int, int]] = []
        self.live = {"a": 0, "b": 0}

    def act(self, calm: bool = False) -> None:
        rng, core = self.rng, self.core
        if core.request is not None:
            (node, frame), core.request = core.request, None
            if node == 1 and calm:
                core.unsent(self.now)
            else:
                self.pending.append((node, self._answer(node, frame, calm)))
        elif self.pending and (calm or rng.random() < 0.5):
            core.replayed(*self.pending.pop(rng.randrange(len(self.pending))), self.now)
        elif calm or rng.random() < 0.5:
            self.now += 100 * MS
            core.tick(self.now)
            self._publish_head("b" if calm else rng.choice("ab"), calm)
            if calm:
                core.feed(self.new.records[-1], self.now)
        else:
            self._publish(rng.choice("ab"))
        while core.deliveries:
            record = core.deliveries.popleft().record
            self.read.append((record.seq, record.hash))

    def _log(self, name: str) -> LogBook:
        return self.old if name == "a" else self.new

    def _released(self, log: LogBook, calm: bool) -> int:
        return log.last_seq if calm else self.rng.choice([0, *log.firsts]) or log.last_seq

    def _publish_head(self, name: str, calm: bool) -> None:
        log = self._log(name)
        head = Head(CLUSTER, name, log.epoch, self._released(log, calm))
        self.core.feed(encode(head), self.now)

    def _publish(self, name: str) -> None:
        records, count = self._log(name).records, self.rng.randrange(1, 4)
        if self.rng.random() < 0.2:
            self.live[name] = self.rng.randrange(len(records))
        live = self.live[name]
        self.live[name] = min(live + count, len(records) - 1)
        self.core.feed(b"".join(records[live : live + count]), self.now)

    def _answer(self, node: int, frame: bytes, calm: bool) -> bytes:
        request = _replay_requests.decode(frame)
        name = "ba"[node]
        log = self._log(name)
        released = self._released(log, calm)
        if request.from_seq > released + 1:
            return encode(ReplayRefused(request.request, Reason.BEYOND_HEAD, "", 1, released))
        raw = log.replay(request.from_seq, self.rng.randrange(1, 5), released)
        return encode(ReplayChunk(request.request, CLUSTER, name, released, 1, memoryview(raw)))

    def log_of_b(self) -> list[tuple[int, int]]:
        """Seq and hash of what is to be read."""
        records = [parse_records(raw)[0] for raw in self.new.records]
        return [(each.seq, each.hash) for each in records if each.last_seq >= self.from_seq]


@settings(max_examples=500, deadline=None)
@given(seed=st.integers(0, 2**32), steps=st.integers(0, 100))
def test_a_reader_reads_the_new_leaders_log_or_stops_if_it_had_read_what_was_given_up(
    seed: int, steps: int
) -> None:
    world = PartedWorld(seed)
    expected = world.log_of_b()
    for step in range(steps + 400):
        world.act(calm=step >= steps)
    error = world.core.error
    gone = [place for place in world.read if place not in expected]
    if isinstance(error, BeyondHeadError):
        assert not world.read
    elif gone or "nobody goes on" in str(error):
        assert isinstance(error, HistoryError)
    else:
        assert error is None
        assert world.read == expected
