"""The record vectors of `records.json`: fields and the bytes that they must become.

Another implementation checks itself against that file. Changing a byte of it is a change of the
protocol, and needs a new version number. Written by, in tests: python -m golden.records
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from interlock.shared.epochs import EpochOpened, Mode
from interlock.shared.wire import HEADER_BYTES, Kind, encode_messages, encode_record, pack_name

FILE = Path(__file__).with_name("records.json")
TIME_NS = 1_430_438_400_123_456_789  # 2015-05-01T00:00:00.123456789Z


def build() -> list[dict[str, Any]]:
    """A small log: an epoch is opened, a producer sends three messages, a tick passes."""
    opened = EpochOpened(1, "a", Mode.GATED, 1, "", "first start")
    messages = [b"buy 1 BTC at 236.50", b"", bytes([0, 255, 193, 76])]
    first = _vector(
        "epoch-opened", Kind.EPOCH_OPENED, 1, 0, "a", 0, msgspec.msgpack.encode(opened), 0
    )
    first["opened"] = msgspec.to_builtins(opened)
    second = _vector(
        "data with 3 messages",
        Kind.DATA,
        2,
        1_000,
        "bitstamp",
        1,
        encode_messages(messages),
        first["hash"],
        count=3,
    )
    second["messages_hex"] = [message.hex() for message in messages]
    third = _vector("tick", Kind.TICK, 5, 2_000, "a", 0, b"\x80", second["hash"])
    return [first, second, third]


def _vector(
    name: str,
    kind: Kind,
    seq: int,
    after_ns: int,
    producer: str,
    producer_seq: int,
    payload: bytes,
    prev_hash: int,
    count: int = 1,
) -> dict[str, Any]:
    time_ns = TIME_NS + after_ns
    record, own = encode_record(
        kind, 1, seq, time_ns, pack_name(producer), producer_seq, count, payload, prev_hash
    )
    return {
        "name": name,
        "kind": int(kind),
        "epoch": 1,
        "length": len(payload),
        "count": count,
        "seq": seq,
        "time_ns": time_ns,
        "producer": producer,
        "producer_seq": producer_seq,
        "prev_hash": prev_hash,
        "hash": own,
        "header_hex": record[:HEADER_BYTES].hex(),
        "payload_hex": payload.hex(),
        "record_hex": record.hex(),
    }


def encoded() -> bytes:
    return msgspec.json.format(msgspec.json.encode(build())) + b"\n"


if __name__ == "__main__":
    FILE.write_bytes(encoded())
