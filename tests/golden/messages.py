"""The message vectors of `messages.json`: one example of each message and the bytes of its frame.

Another implementation checks itself against that file. Changing a byte of it is a change of the
protocol, and needs a new version number. Written by, in tests: python -m golden.messages
"""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Any

import msgspec

from interlock.shared.errors import Reason
from interlock.shared.messages import (
    PROTOCOL_VERSION,
    Confirmed,
    Head,
    LinkAck,
    LinkBeat,
    LinkEngage,
    LinkFetch,
    LinkHello,
    LinkPromise,
    LinkPromised,
    LinkReceipts,
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
    Submit,
    encode,
)
from interlock.shared.producers import Run
from interlock.shared.wire import encode_messages

from .control import CLUSTER, CONTROL, DATA, EPOCH_1, EPOCH_2, OPENED, RAW, receipt

FILE = Path(__file__).with_name("messages.json")
SESSION = 8_070_450_532_247_928_833  # needs more than 53 bits, as a random one does
LINK_SESSION = (3 << 24) + 1
TICK = RAW["tick"]

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
            [EPOCH_1, EPOCH_2],
            DATA,
            2,
            "written",
        ),
    ),
    ("link", "primary", LinkFetch(LINK_SESSION, OPENED)),
    ("link", "secondary", LinkTail(LINK_SESSION, TICK)),
    ("link", "primary", LinkPromise(LINK_SESSION, 2)),
    ("link", "secondary", LinkPromised(LINK_SESSION, 2)),
    ("link", "primary", LinkWelcome(LINK_SESSION, "a", 2, 1, DATA, DATA, "written")),
    ("link", "primary", LinkWelcome(LINK_SESSION, "a", 2, 3, DATA, None, "written")),
    ("link", "primary", LinkEngage(LINK_SESSION, 4, DATA)),
    ("link", "secondary", LinkReceipts(LINK_SESSION, [receipt()])),
    ("link", "primary", LinkRecords(LINK_SESSION, 4, memoryview(TICK))),
    ("link", "secondary", LinkAck(LINK_SESSION, 1, DATA)),
    ("link", "primary", LinkBeat(LINK_SESSION, 1, 5, 4, 4, "GATED")),
    *(("control", sender, message) for sender, message in CONTROL),
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
