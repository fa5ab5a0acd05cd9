"""The message vectors of `messages.json`: one example of each message and the bytes of its frame.

Another implementation checks itself against that file. Changing a byte of it is a change of the
protocol, and needs a new version number. Written by: python -m interlock.tests.golden.messages
"""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Any

import msgspec

from interlock.shared.epochs import Epoch, Mode
from interlock.shared.errors import Reason
from interlock.shared.messages import (
    PROTOCOL_VERSION,
    Confirmed,
    GetStatus,
    Head,
    LinkAck,
    LinkBeat,
    LinkFetch,
    LinkHello,
    LinkPromise,
    LinkPromised,
    LinkRecords,
    LinkTail,
    LinkWelcome,
    Message,
    ProducerBye,
    ProducerHello,
    ProducerPing,
    ProducerPong,
    ProducerWelcome,
    Refused,
    ReplayChunk,
    ReplayRefused,
    ReplayRequest,
    Status,
    Submit,
    encode,
)
from interlock.shared.producers import Run
from interlock.shared.telemetry import (
    JournalStatus,
    LinkStatus,
    NodeStatus,
    PendingStatus,
    ProducerStatus,
    Watermarks,
)
from interlock.shared.wire import Position, encode_messages

from . import records

FILE = Path(__file__).with_name("messages.json")
CLUSTER = "7d0e4d2c-0000-4000-8000-000000000001"
SESSION = 8_070_450_532_247_928_833  # needs more than 53 bits, as a random one does
LINK_SESSION = (3 << 24) + 1
TIME_NS = 1_430_438_400_123_456_789

_opened, _data, _tick = records.build()
OPENED = Position(1, _opened["hash"])
DATA = Position(4, _data["hash"])
TICK = bytes.fromhex(_tick["record_hex"])


def _status() -> NodeStatus:
    return NodeStatus(
        cluster=CLUSTER,
        node="a",
        role="primary",
        state="GATED",
        why="the standby b follows",
        state_since_ns=TIME_NS - 5_000_000_000,
        time_ns=TIME_NS,
        started_ns=TIME_NS - 6_000_000_000,
        incarnation=2,
        pid=4711,
        version="0.1.0",
        epoch=1,
        mode="gated",
        leader="a",
        promised_epoch=1,
        ack_level="written",
        watermarks=Watermarks(5, 5, 4, 4, 4),
        pending=PendingStatus(1, 73, 0.5, 262_144, 67_108_864),
        link=LinkStatus("b", True, 12.5, "IN_SYNC", 3, 1, 73, 0.5),
        journal=JournalStatus("a", 1, 1, 67_108_864, 67_108_000, 84_000_000_000),
        producers=[ProducerStatus("bitstamp", True, 3, 3)],
        producers_known=1,
        counters={"messages": 3},
        refused={"intake.gap": 2},
        events=["00:00:00Z GATED: the standby b follows"],
    )


# (socket, who sends it, the message)
MESSAGES: list[tuple[str, str, Message]] = [
    ("intake", "producer", ProducerHello(PROTOCOL_VERSION, CLUSTER, "bitstamp", SESSION, False)),
    ("intake", "node", ProducerWelcome(SESSION, CLUSTER, "a", 1, 100, 90, 65_536, 100)),
    (
        "intake",
        "producer",
        Submit(SESSION, 1, 101, 3, msgspec.Raw(encode_messages([b"buy", b"", b"\x00\xff"]))),
    ),
    ("intake", "node", Confirmed(SESSION, 1, [Run(91, 0, 10), Run(101, 70_000, 3)])),
    (
        "intake",
        "node",
        Refused(Reason.GAP, "producer_seq 105 where 104 was expected", SESSION, 1, 104, []),
    ),
    (
        "intake",
        "node",
        Refused(
            Reason.NOT_PRIMARY, "try a", SESSION, 0, 0, ["tcp://127.0.0.1:7101", "ipc:///run/a"]
        ),
    ),
    ("intake", "producer", ProducerPing(SESSION)),
    ("intake", "node", ProducerPong(SESSION, "STALLED")),
    ("intake", "producer", ProducerBye(SESSION)),
    ("feed", "node", Head(CLUSTER, "a", 1, 70_002)),
    ("replay", "consumer", ReplayRequest(PROTOCOL_VERSION, CLUSTER, 7, 5, 1_048_576)),
    ("replay", "node", ReplayChunk(7, CLUSTER, "b", 5, 1, memoryview(TICK))),
    ("replay", "node", ReplayRefused(7, Reason.BEYOND_HEAD, "beyond the head", 1, 5)),
    (
        "link",
        "secondary",
        LinkHello(
            PROTOCOL_VERSION,
            CLUSTER,
            "b",
            3,
            LINK_SESSION,
            [Epoch(1, "a", Mode.GATED, 1, OPENED.hash)],
            DATA,
            1,
            "written",
        ),
    ),
    ("link", "primary", LinkFetch(LINK_SESSION, OPENED)),
    ("link", "secondary", LinkTail(LINK_SESSION, TICK)),
    ("link", "primary", LinkPromise(LINK_SESSION, 2)),
    ("link", "secondary", LinkPromised(LINK_SESSION, 2)),
    ("link", "primary", LinkWelcome(LINK_SESSION, "a", 2, 1, DATA, DATA, "written")),
    ("link", "primary", LinkRecords(LINK_SESSION, 4, memoryview(TICK))),
    ("link", "secondary", LinkAck(LINK_SESSION, 1, DATA)),
    ("link", "primary", LinkBeat(LINK_SESSION, 1, 5, 4, 4, "GATED")),
    ("control", "anybody", GetStatus(PROTOCOL_VERSION)),
    ("control", "node", Status(_status())),
]


def build() -> list[dict[str, Any]]:
    return [
        {
            "name": message.__struct_config__.tag,
            "socket": socket,
            "from": sender,
            "fields": {
                field: _plain(getattr(message, field)) for field in message.__struct_fields__
            },
            "hex": encode(message).hex(),
        }
        for socket, sender, message in MESSAGES
    ]


def _plain(value: Any) -> Any:
    """As JSON shows it; a byte string as {"bin": hex}."""
    if isinstance(value, msgspec.Raw):
        value = msgspec.msgpack.decode(value)
    match value:
        case bytes() | memoryview():
            return {"bin": bytes(value).hex()}
        case Enum():
            return value.value
        case list() | tuple():
            return [_plain(one) for one in value]
        case msgspec.Struct():
            return msgspec.to_builtins(value)
        case _:
            return value


def encoded() -> bytes:
    return msgspec.json.format(msgspec.json.encode(build())) + b"\n"


if __name__ == "__main__":
    FILE.write_bytes(encoded())
