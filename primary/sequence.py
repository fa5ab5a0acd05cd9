"""Step 2, sequence: gives each accepted submission its place in the total order and its bytes.

Decides seq, time and hash chain. The record is encoded here, once; every later step passes the
same bytes on.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from ..shared.epochs import Epoch, EpochClosed, EpochOpened
from ..shared.errors import LocalError
from ..shared.handed import Opening
from ..shared.limits import CHUNK_BYTES
from ..shared.log import LogState
from ..shared.operations import Receipt
from ..shared.wire import GENESIS, Kind, Position, encode_record, pack_name
from .intake import Fresh

_control_encoder = msgspec.msgpack.Encoder()


class Sequenced(msgspec.Struct, frozen=True, gc=False):
    """A record with its place, pending until it is released. `producer` is empty for control."""

    raw: bytes
    last: Position
    producer: str
    producer_seq: int
    count: int
    since_ns: int

    @property
    def first_seq(self) -> int:
        return self.last.seq - self.count + 1


def groups(records: list[Sequenced]) -> Iterator[tuple[bytes, Position]]:
    """Frames of whole records back to back, each with its end: up to CHUNK_BYTES, or one."""
    if len(records) == 1:  # the rule while one message is in flight: nothing to join
        yield records[0].raw, records[0].last
        return
    group: list[bytes] = []
    size = 0
    last = GENESIS
    for record in records:
        if group and size + len(record.raw) > CHUNK_BYTES:
            yield b"".join(group), last
            group, size = [], 0
        group.append(record.raw)
        size += len(record.raw)
        last = record.last
    if group:
        yield b"".join(group), last


class Sequencer:
    """Extends the log. The only writer of `log` on a primary."""

    def __init__(self, log: LogState, leader: str) -> None:
        self._log = log
        self._leader = leader
        self._leader_name = pack_name(leader)

    def data(self, fresh: Fresh, now_ns: int, wall_ns: int) -> Sequenced:
        """The next data record. Time never falls along the log, whatever the clock does."""
        log = self._log
        chain = log.chain
        seq = chain.last_seq + 1
        if wall_ns < chain.time_ns:
            wall_ns = chain.time_ns
        session = fresh.session
        raw, own_hash = encode_record(
            Kind.DATA,
            chain.epoch,
            seq,
            wall_ns,
            session.packed_name,
            fresh.producer_seq,
            fresh.count,
            fresh.payload,
            chain.hash,
        )
        log.producers.append(session.name, fresh.producer_seq, seq, fresh.count)
        chain.last_seq = seq + fresh.count - 1
        chain.hash = own_hash
        chain.time_ns = wall_ns
        return Sequenced(
            raw,
            Position(chain.last_seq, own_hash),
            session.name,
            fresh.producer_seq,
            fresh.count,
            now_ns,
        )

    def tick(self, now_ns: int, wall_ns: int) -> Sequenced:
        """A record that only carries the time, so that timers run on a quiet log."""
        return self._control(Kind.TICK, self._log.chain.epoch, b"\x80", now_ns, wall_ns)

    def open_epoch(self, opening: Opening, now_ns: int, wall_ns: int) -> Sequenced:
        """The record that opens an epoch. Its number was promised by the peer, or taken alone by an
        operator's decision."""
        log, number = self._log, opening.number
        if number <= log.history.number:
            raise LocalError(f"epoch {number} after epoch {log.history.number}")
        seq = log.last_seq + 1
        opened = EpochOpened(
            number,
            self._leader,
            opening.mode,
            seq,
            opening.operator,
            opening.reason,
            opening.operation,
            opening.accepted_loss,
        )
        record = self._control(
            Kind.EPOCH_OPENED, number, _control_encoder.encode(opened), now_ns, wall_ns
        )
        log.history.open(
            Epoch(number, self._leader, opening.mode, seq, record.last.hash, opening.accepted_loss)
        )
        log.closed = None
        return record

    def close_epoch(self, closed: EpochClosed, now_ns: int, wall_ns: int) -> Sequenced:
        """The last record of the epoch: nothing may follow it but an opening."""
        record = self._control(
            Kind.EPOCH_CLOSED, closed.number, _control_encoder.encode(closed), now_ns, wall_ns
        )
        self._log.closed = closed
        return record

    def operation(self, receipt: Receipt, now_ns: int, wall_ns: int) -> Sequenced:
        """The record of what came of an operation."""
        payload = _control_encoder.encode(receipt)
        record = self._control(Kind.OPERATION, self._log.chain.epoch, payload, now_ns, wall_ns)
        self._log.take_receipt(receipt)
        return record

    def _control(
        self, kind: Kind, epoch: int, payload: bytes, now_ns: int, wall_ns: int
    ) -> Sequenced:
        chain = self._log.chain
        seq = chain.last_seq + 1
        wall_ns = max(wall_ns, chain.time_ns)
        raw, own_hash = encode_record(
            kind, epoch, seq, wall_ns, self._leader_name, 0, 1, payload, chain.hash
        )
        chain.last_seq, chain.hash, chain.time_ns, chain.epoch = seq, own_hash, wall_ns, epoch
        return Sequenced(raw, Position(seq, own_hash), "", 0, 1, now_ns)
