"""The record vectors of `records.json`: fields and the bytes that they must become.

Another implementation checks itself against that file. Changing a byte of it is a change of the
protocol, and needs a new version number. Written by, in tests: python -m golden.records
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from interlock.shared.epochs import EpochClosed, EpochOpened, Mode
from interlock.shared.operations import Check, Operation, Receipt, Request, Result
from interlock.shared.wire import HEADER_BYTES, Kind, encode_messages, encode_record, pack_name

FILE = Path(__file__).with_name("records.json")
TIME_NS = 1_430_438_400_123_456_789  # 2015-05-01T00:00:00.123456789Z
TOKEN = "00c0ffee00c0ffee"


def build() -> list[dict[str, Any]]:
    """A small log: an epoch is opened, a producer sends three messages, a tick passes. Then ann
    switches the lead to b: the epoch is closed, the next one opened, and the receipt logged."""
    log = _Log()
    first = EpochOpened(1, "a", Mode.GATED, 1, "", "first start")
    log.control("epoch-opened", Kind.EPOCH_OPENED, first)
    log.data("data with 3 messages", "bitstamp", [b"buy 1 BTC at 236.50", b"", b"\x00\xff\xc1L"])
    log.add("tick", Kind.TICK, "a", 0, b"\x80")
    log.control("epoch-closed", Kind.EPOCH_CLOSED, closed())
    log.leader, log.epoch = "b", 2
    log.control(
        "epoch-opened after a switchover",
        Kind.EPOCH_OPENED,
        EpochOpened(2, "b", Mode.GATED, 7, "ann", "patching a", TOKEN),
    )
    log.control("operation", Kind.OPERATION, receipt())
    return log.vectors


def closed() -> EpochClosed:
    return EpochClosed(1, "a", "b", True, "ann", "patching a", TOKEN)


def receipt() -> Receipt:
    return Receipt(
        id=TOKEN,
        request=Request(Operation.SWITCHOVER, "a"),
        operator="ann",
        approvers=["bob"],
        reason="patching a",
        attestation="",
        result=Result.DONE,
        text="b leads epoch 2, a is its standby, in sync",
        checks=[Check("no gap", True, "epoch 2 opens at seq 7")],
        epoch=2,
        started_ns=TIME_NS + 2_500,
        finished_ns=TIME_NS + 4_500,
        pause_ms=12.5,
    )


class _Log:
    """Encodes records one after the other."""

    def __init__(self) -> None:
        self.vectors: list[dict[str, Any]] = []
        self.leader = "a"
        self.epoch = 1
        self._seq = 1
        self._hash = 0

    def control(self, name: str, kind: Kind, payload: msgspec.Struct) -> None:
        self.add(name, kind, self.leader, 0, msgspec.msgpack.encode(payload))
        self.vectors[-1]["control"] = msgspec.to_builtins(payload)

    def data(self, name: str, producer: str, bodies: list[bytes]) -> None:
        self.add(name, Kind.DATA, producer, 1, encode_messages(bodies), len(bodies))
        self.vectors[-1]["messages_hex"] = [body.hex() for body in bodies]

    def add(
        self,
        name: str,
        kind: Kind,
        producer: str,
        producer_seq: int,
        payload: bytes,
        count: int = 1,
    ) -> None:
        time_ns = TIME_NS + 1_000 * len(self.vectors)
        record, own = encode_record(
            kind,
            self.epoch,
            self._seq,
            time_ns,
            pack_name(producer),
            producer_seq,
            count,
            payload,
            self._hash,
        )
        vector = {
            "name": name,
            "kind": int(kind),
            "epoch": self.epoch,
            "length": len(payload),
            "count": count,
            "seq": self._seq,
            "time_ns": time_ns,
            "producer": producer,
            "producer_seq": producer_seq,
            "prev_hash": self._hash,
            "hash": own,
            "header_hex": record[:HEADER_BYTES].hex(),
            "payload_hex": payload.hex(),
            "record_hex": record.hex(),
        }
        self.vectors.append(vector)
        self._seq += count
        self._hash = own


def encoded() -> bytes:
    return msgspec.json.format(msgspec.json.encode(build())) + b"\n"


if __name__ == "__main__":
    FILE.write_bytes(encoded())
