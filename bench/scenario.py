"""What one run does: the load, the pair that it is put on, and for how long.

Decides what a valid scenario is. How the pair is set up (ack level, transport, keys, idle strategy)
is a `Setup`, which a scenario makes from its own fields.
"""

from __future__ import annotations

from enum import Enum
from typing import Annotated

import msgspec

from ..shared.config import AckLevel
from ..shared.errors import UserError
from ..shared.idling import Idle
from ..shared.limits import MAX_PAYLOAD_BYTES, MAX_PRODUCER_RECORDS, MAX_RECORD_MESSAGES

STAMP_BYTES = 8  # of a message: when it was sent, for the consumer to compare
MAX_SDK_PRODUCERS = 16  # each is a process of its own
BYTES_AROUND = 5  # MessagePack puts up to so many before each message


class Load(Enum):
    """How messages are sent."""

    CLOSED = "closed"  # one in flight: the next one follows the confirmation
    OPEN = "open"  # at a fixed rate, timed from when each one was due
    SATURATION = "saturation"  # as fast as the window allows


class Transport(Enum):
    """What the endpoints of the pair are."""

    TCP = "tcp"
    IPC = "ipc"


class Client(Enum):
    """Who sends. `raw` speaks the protocol with records of a fixed size, encoded once: what is
    measured then is the pair and not the SDK."""

    SDK = "sdk"
    RAW = "raw"


class Setup(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A pair, as `interlock init` makes it unless this says otherwise.

    `keys`: CURVE on all sockets. `idle`: how the nodes wait. `tables`: further settings, such as
    `{"limits": {"segment_bytes": 2097152}}`.
    """

    ack_level: AckLevel = AckLevel.WRITTEN
    transport: Transport = Transport.TCP
    keys: bool = True
    idle: Idle = Idle.BLOCK
    tables: dict[str, dict[str, int | str | bool]] = {}


class Scenario(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One run. `record`: messages in a record; 0: as many as come together (SDK only).

    `window`: messages of each producer that may be unconfirmed. `consumers` read each message
    through the SDK; of `drains` further ones only the socket is read; `sleepers` subscribe and
    never read. `rate` is that of all producers together. Without `keys`, as the peers that it is
    compared with have none either; `idle` is how the nodes wait, `client_idle` how the SDK does.
    """

    load: Load = Load.SATURATION
    client: Client = Client.SDK
    size: Annotated[int, msgspec.Meta(ge=STAMP_BYTES, le=65_536)] = 128
    record: Annotated[int, msgspec.Meta(ge=0, le=MAX_RECORD_MESSAGES)] = 0
    window: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 16_384
    rate: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    producers: Annotated[int, msgspec.Meta(ge=1, le=1_000)] = 1
    consumers: Annotated[int, msgspec.Meta(ge=0, le=8)] = 1
    drains: Annotated[int, msgspec.Meta(ge=0, le=64)] = 0
    sleepers: Annotated[int, msgspec.Meta(ge=0, le=64)] = 0
    ack_level: AckLevel = AckLevel.WRITTEN
    transport: Transport = Transport.TCP
    keys: bool = False
    idle: Idle = Idle.BLOCK
    client_idle: Idle = Idle.BLOCK
    tables: dict[str, dict[str, int | str | bool]] = {}
    seconds: Annotated[float, msgspec.Meta(gt=0, le=86_400)] = 5.0
    warm_up_s: Annotated[float, msgspec.Meta(ge=0, le=600)] = 1.0

    @property
    def setup(self) -> Setup:
        return Setup(self.ack_level, self.transport, self.keys, self.idle, self.tables)

    def check(self) -> None:
        """Raises UserError for what cannot be run."""
        if self.load is Load.OPEN and not self.rate:
            raise UserError("an open loop needs a rate: name the messages per second")
        if self.client is Client.SDK and self.producers > MAX_SDK_PRODUCERS:
            raise UserError(
                f"{self.producers} producers of the SDK would be as many processes; at most "
                f"{MAX_SDK_PRODUCERS} make sense on one machine, so take raw ones for more"
            )
        if self.client is Client.RAW and not self.record:
            raise UserError("a raw producer has records of a fixed size: name the messages in one")
        if self.record * (self.size + BYTES_AROUND) > MAX_PAYLOAD_BYTES:
            raise UserError(
                f"{self.record} messages of {self.size} bytes do not fit a record of "
                f"{MAX_PAYLOAD_BYTES} bytes; take fewer or smaller ones"
            )

    @property
    def records_in_flight(self) -> int:
        """Of a producer with records of a fixed size: what its window allows."""
        return max(1, min(MAX_PRODUCER_RECORDS, self.window // max(1, self.record)))

    def told(self) -> str:
        """In one line, for tables."""
        record = f"{self.record} per record" if self.record else "adaptive records"
        parts = [self.load.value, self.client.value, f"{self.size} B", record]
        if self.load is Load.OPEN:
            parts.append(f"{self.rate:,.0f}/s")
        elif self.load is Load.SATURATION:
            parts.append(f"window {self.window:,}")
        counts = {
            "producers": self.producers - 1 and self.producers,
            "consumers": self.consumers,
            "drains": self.drains,
            "sleepers": self.sleepers,
        }
        for name, count in counts.items():
            if count:
                parts.append(f"{count} {name if count > 1 else name.removesuffix('s')}")
        parts += [self.ack_level.value, self.transport.value]
        if self.keys:
            parts.append("keys")
        if self.idle is not Idle.BLOCK:
            parts.append(f"nodes {self.idle.value}")
        if self.client_idle is not Idle.BLOCK:
            parts.append(f"clients {self.client_idle.value}")
        for table, settings in self.tables.items():
            parts += [f"{table}.{key}={value}" for key, value in settings.items()]
        return ", ".join(parts)


def parse(text: str) -> Scenario:
    """A scenario from `key=value,...`. Raises UserError naming the key that is wrong."""
    given: dict[str, str] = {}
    for part in filter(None, text.split(",")):
        key, equals, value = part.strip().partition("=")
        if not equals:
            raise UserError(f"{part!r}: expected key=value, such as size=256")
        if key in given:
            raise UserError(f"{key} is given twice")
        given[key] = value
    try:
        found = msgspec.convert(given, Scenario, strict=False)
    except msgspec.ValidationError as error:
        what, _, where = str(error).partition(" - at ")
        place = where.strip("`").removeprefix("$.") or "the scenario"
        raise UserError(f"{place}: {what[:1].lower()}{what[1:]}") from None
    found.check()
    return found
