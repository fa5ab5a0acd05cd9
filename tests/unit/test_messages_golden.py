"""The messages' bytes against golden vectors, and `docs/protocol.md` against the code.

Somebody writes a client from that page alone: a table that says otherwise than the code would be
found out by them, with a frame refused as malformed.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
from golden import messages as golden

from interlock.shared import commands, epochs, limits, operations, telemetry, wire
from interlock.shared import messages as protocol
from interlock.shared.errors import Reason

PAGE = Path(__file__).resolve().parents[2] / "docs" / "protocol.md"
TEXT = PAGE.read_text("utf-8")
VECTORS: list[dict[str, Any]] = msgspec.json.decode(golden.FILE.read_bytes())
IDS = [f"{vector['name']}-{index}" for index, vector in enumerate(VECTORS)]

MESSAGES: dict[str, type[protocol.Message]] = {
    kind.__struct_config__.tag: kind for kind in protocol.Message.__subclasses__()
}


def plain(value: Any) -> Any:
    """A field of a vector as MessagePack's own types."""
    if isinstance(value, dict):
        if list(value) == ["bin"]:
            return bytes.fromhex(value["bin"])
        return {key: plain(one) for key, one in value.items()}
    return [plain(one) for one in value] if isinstance(value, list) else value


def test_the_golden_file_is_what_the_encoder_writes() -> None:
    assert golden.FILE.read_bytes() == golden.encoded()


def test_there_is_a_vector_of_every_message() -> None:
    assert {vector["name"] for vector in VECTORS} == set(MESSAGES)


@pytest.mark.parametrize("vector", VECTORS, ids=IDS)
def test_golden_bytes_are_an_array_of_the_name_and_the_fields(vector: dict[str, Any]) -> None:
    """By MessagePack alone, without our types."""
    array = [vector["name"], *map(plain, vector["fields"].values())]
    assert msgspec.msgpack.decode(bytes.fromhex(vector["hex"])) == array
    assert msgspec.msgpack.encode(array).hex() == vector["hex"]


@pytest.mark.parametrize("vector", VECTORS, ids=IDS)
def test_golden_bytes_decode_to_their_message(vector: dict[str, Any]) -> None:
    frame = bytes.fromhex(vector["hex"])
    codec: protocol.Codec[protocol.Message] = protocol.Codec(MESSAGES[vector["name"]])
    assert protocol.encode(codec.decode(frame)) == frame


# The page -------------------------------------------------------------------------------------


def table_after(heading: str, head: str = "|") -> list[list[str]]:
    """The cells of the first table after a heading whose head begins so, without that head."""
    rows = TEXT[TEXT.index(f"\n{heading}") :].splitlines()[1:]
    start = next(number for number, row in enumerate(rows) if row.startswith(head)) + 2
    table = []
    for row in rows[start:]:
        if not row.startswith("|"):
            break
        table.append([cell.strip() for cell in row.strip("|").split("|")])
    return table


WORDS = {"NodeStatus": "status", "QuarantineEntry": "entry"}


def documented_number(kind: msgspec.inspect.IntType) -> str:
    match kind:
        case msgspec.inspect.IntType(ge=0, lt=None):
            return "u64"
        case msgspec.inspect.IntType(ge=0, lt=4_294_967_296):
            return "u32"
        case msgspec.inspect.IntType(ge=1, lt=4_611_686_018_427_387_904):
            return "number"
        case msgspec.inspect.IntType(ge=1, le=4_096):
            return "count"
        case msgspec.inspect.IntType(ge=None, gt=None, le=None, lt=None):
            return "int"
    raise AssertionError(f"the page has no word for {kind}")


def documented_type(kind: msgspec.inspect.Type) -> str:
    """The page's word for the type of a field."""
    match kind:
        case msgspec.inspect.IntType():
            return documented_number(kind)
        case msgspec.inspect.BoolType():
            return "bool"
        case msgspec.inspect.StrType(max_length=1_000):
            return "text"
        case msgspec.inspect.StrType(min_length=1, max_length=64):
            return "name"
        case msgspec.inspect.StrType(min_length=1, max_length=500):
            return "sentence"
        case msgspec.inspect.EnumType(cls=cls):
            return cls.__name__.lower()
        case msgspec.inspect.BytesType() | msgspec.inspect.MemoryViewType():
            return "bin"
        case msgspec.inspect.RawType():
            return "messages"
        case msgspec.inspect.StructType(cls=cls):
            return WORDS.get(cls.__name__, cls.__name__.lower())
        case msgspec.inspect.UnionType(types=(one, msgspec.inspect.NoneType())):
            return f"{documented_type(one)} or nil"
        case msgspec.inspect.ListType(item_type=item):
            return f"[{documented_type(item)}]"
    raise AssertionError(f"the page has no word for {kind}")


@pytest.mark.parametrize("name", sorted(MESSAGES))
def test_the_page_lists_the_fields_of_each_message(name: str) -> None:
    info = msgspec.inspect.type_info(MESSAGES[name])
    assert isinstance(info, msgspec.inspect.StructType)
    expected = [
        [str(number), field.name, documented_type(field.type)]
        for number, field in enumerate(info.fields, 1)
    ]
    assert [row[:3] for row in table_after(f"#### `{name}`:")] == expected


MAPS: dict[str, type[msgspec.Struct]] = {
    "Payload `epoch-opened`": epochs.EpochOpened,
    "Payload `epoch-closed`": epochs.EpochClosed,
    "Map `request`": operations.Request,
    "Map `preflight`": operations.Preflight,
    "Map `guard`": operations.Guard,
    "Map `risk`": operations.Risk,
    "Map `receipt`": operations.Receipt,
    "Map `check`": operations.Check,
    "Map `entry`": commands.QuarantineEntry,
}


def documented_value(kind: msgspec.inspect.Type) -> str:
    """The page's word for the type of a value in a map; its bounds are told in words."""
    match kind:
        case msgspec.inspect.StrType():
            return "str"
        case msgspec.inspect.IntType():
            return "int"
        case msgspec.inspect.FloatType():
            return "float"
        case msgspec.inspect.ListType(item_type=item):
            return f"[{documented_value(item)}]"
        case msgspec.inspect.DictType(key_type=key, value_type=value):
            return f"{{{documented_value(key)}: {documented_value(value)}}}"
    return documented_type(kind)


@pytest.mark.parametrize("heading", MAPS)
def test_the_page_lists_the_keys_of_each_map(heading: str) -> None:
    info = msgspec.inspect.type_info(MAPS[heading])
    assert isinstance(info, msgspec.inspect.StructType)
    expected = [[field.name, documented_value(field.type)] for field in info.fields]
    assert [row[:2] for row in table_after(f"#### {heading}")] == expected


def test_the_page_tells_the_defaults_of_a_request() -> None:
    """They are what may be left out."""
    info = msgspec.inspect.type_info(operations.Request)
    assert isinstance(info, msgspec.inspect.StructType)
    optional = {field.name for field in info.fields if not field.required}
    rows = table_after("#### Map `request`")
    assert {row[0] for row in rows if "Default " in row[2]} == optional


def test_the_page_lists_the_operations_and_results() -> None:
    rows = table_after("## How to operate")
    assert [row[0].strip("`") for row in rows] == [one.value for one in operations.Operation]
    (result,) = (row[2] for row in table_after("#### Map `receipt`") if row[0] == "result")
    assert re.findall(r"`(\w+)`", result) == [one.value for one in operations.Result]


def test_the_page_has_no_other_map() -> None:
    found = re.findall(r"^#### ((?:Map|Payload) `[a-z-]+`)", TEXT, re.MULTILINE)
    assert sorted(found) == sorted(MAPS)


def test_the_page_has_no_other_message() -> None:
    assert set(re.findall(r"^#### `([a-z-]+)`:", TEXT, re.MULTILINE)) == set(MESSAGES)


def test_the_page_lists_the_reasons() -> None:
    assert [row[0].strip("`") for row in table_after("## Reasons")] == [one.value for one in Reason]


def test_the_page_lists_the_fields_of_a_record() -> None:
    sizes = [int(row[1]) for row in table_after("## Records")]
    offsets = [int(row[0]) for row in table_after("## Records")]
    assert offsets == [sum(sizes[:index]) for index in range(len(sizes))]
    assert sum(sizes) == wire.HEADER_BYTES


def test_the_page_lists_the_kinds_of_records() -> None:
    rows = table_after("## Records", "| kind |")
    assert [(int(row[0]), row[1]) for row in rows] == [
        (int(kind), kind.name.lower().replace("_", "-")) for kind in wire.Kind
    ]


def test_the_page_lists_the_keys_of_a_status() -> None:
    structs = {
        "status": telemetry.NodeStatus,
        "watermarks": telemetry.Watermarks,
        "pending": telemetry.PendingStatus,
        "link": telemetry.LinkStatus,
        "journal": telemetry.JournalStatus,
        "producers": telemetry.ProducerStatus,
        "stages": telemetry.StageStatus,
        "unprotected": telemetry.Unprotected,
        "divergence": telemetry.Divergence,
    }
    for name, struct in structs.items():
        (row,) = re.findall(rf"^\| {name}[^|`]* \| (`.*) \|$", TEXT, re.MULTILINE)
        assert tuple(re.findall(r"`(\w+)`", row)) == struct.__struct_fields__, name


def test_the_page_tells_the_limits() -> None:
    told = {row[0]: row[1] for row in table_after("## Limits")}
    for beginning, bound in {
        "one frame; a larger": limits.MAX_FRAME_BYTES,
        "one frame to replay": limits.MAX_SMALL_FRAME_BYTES,
        "one subscription": limits.MAX_SUBSCRIPTION_BYTES,
        "payload of a record": limits.MAX_PAYLOAD_BYTES,
        "messages of one record": limits.MAX_RECORD_MESSAGES,
        "name of a producer": limits.MAX_NAME_BYTES,
        "unconfirmed records": limits.MAX_PRODUCER_RECORDS,
        "producers of one log": limits.MAX_PRODUCERS,
        "one frame of the feed": limits.CHUNK_BYTES,
    }.items():
        (value,) = (value for what, value in told.items() if what.startswith(beginning))
        assert int(value.split()[0]) == bound, beginning


def test_the_page_tells_the_versions() -> None:
    told = f"The record's version is {wire.VERSION}, the protocol's is {protocol.PROTOCOL_VERSION}."
    assert told in TEXT
    versions = {
        row[3] for name in MESSAGES for row in table_after(f"#### `{name}`:") if row[1] == "version"
    }
    assert versions == {str(protocol.PROTOCOL_VERSION)}
