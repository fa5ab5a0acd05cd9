"""The record's bytes, against golden vectors, and against any bytes at all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from golden import records as golden
from hypothesis import given
from hypothesis import strategies as st
from xxhash import xxh3_64_intdigest

from interlock.shared.epochs import (
    EpochOpened,
    Mode,
    decode_epoch_closed,
    decode_epoch_opened,
)
from interlock.shared.errors import Reason, RemoteError
from interlock.shared.limits import MAX_PAYLOAD_BYTES, MAX_RECORD_MESSAGES
from interlock.shared.log import LogState
from interlock.shared.operations import decode_receipt
from interlock.shared.wire import (
    HEADER,
    HEADER_BYTES,
    Kind,
    Position,
    Record,
    decode_messages,
    encode_messages,
    encode_record,
    pack_name,
    parse_record,
    parse_records,
    record_size,
)

VECTORS: list[dict[str, Any]] = msgspec.json.decode(golden.FILE.read_bytes())

# What the payloads of control records are; a tick's is empty.
DECODERS: dict[Kind, Callable[[Record], Any]] = {
    Kind.EPOCH_OPENED: decode_epoch_opened,
    Kind.EPOCH_CLOSED: decode_epoch_closed,
    Kind.OPERATION: decode_receipt,
}

# The layout as docs and module say it: offset and size of each field.
LAYOUT = {
    "kind": (3, 1),
    "epoch": (4, 4),
    "length": (8, 4),
    "count": (12, 4),
    "seq": (16, 8),
    "time_ns": (24, 8),
    "producer_seq": (48, 8),
    "prev_hash": (56, 8),
    "hash": (64, 8),
}


def record(**changes: Any) -> bytes:
    """A valid data record, but for the changed header fields; the hash is made to match."""
    payload: bytes = changes.pop("payload", encode_messages([b"x", b"y"]))
    fields: dict[str, Any] = {
        "magic": b"\xc1L",
        "version": 1,
        "kind": 1,
        "epoch": 3,
        "length": len(payload),
        "count": 2,
        "seq": 7,
        "time_ns": 1,
        "producer": pack_name("p"),
        "producer_seq": 1,
        "prev_hash": 9,
    } | changes
    head = HEADER.pack(*fields.values(), 0)[:-8]
    return head + xxh3_64_intdigest(head + payload).to_bytes(8, "little") + payload


# Golden vectors -------------------------------------------------------------------------------


def test_the_golden_file_is_what_the_encoder_writes() -> None:
    assert golden.FILE.read_bytes() == golden.encoded()


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_golden_bytes_by_the_documented_layout(vector: dict[str, Any]) -> None:
    """Read by offsets, not by our own struct: a wrong format string would agree with itself."""
    raw = bytes.fromhex(vector["record_hex"])
    assert raw[:3] == b"\xc1L\x01"
    for field, (offset, size) in LAYOUT.items():
        assert int.from_bytes(raw[offset : offset + size], "little") == vector[field], field
    assert raw[32:48].rstrip(b"\0").decode() == vector["producer"]
    assert raw[72:].hex() == vector["payload_hex"]
    assert raw[:72].hex() == vector["header_hex"]
    assert len(raw) == 72 + vector["length"]
    assert xxh3_64_intdigest(raw[:64] + raw[72:]) == vector["hash"]


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_golden_bytes_parse_to_their_fields(vector: dict[str, Any]) -> None:
    raw = bytes.fromhex(vector["record_hex"])
    parsed = parse_record(memoryview(raw), 0)
    for field in ("epoch", "count", "seq", "time_ns", "producer", "producer_seq", "prev_hash"):
        assert getattr(parsed, field) == vector[field], field
    assert parsed.kind == vector["kind"]
    assert parsed.position == Position(vector["seq"] + vector["count"] - 1, vector["hash"])
    assert parsed.raw == raw
    assert record_size(raw, 0) == len(raw)
    if parsed.kind is Kind.DATA:
        assert [one.hex() for one in decode_messages(parsed.payload)] == vector["messages_hex"]
    if parsed.kind in DECODERS:
        assert msgspec.to_builtins(DECODERS[parsed.kind](parsed)) == vector["control"]
        # By MessagePack alone: a map of the names, in this order.
        plain = msgspec.msgpack.decode(parsed.payload)
        assert list(plain.items()) == list(vector["control"].items())


def test_the_golden_records_are_one_log() -> None:
    frame = b"".join(bytes.fromhex(vector["record_hex"]) for vector in VECTORS)
    parsed = parse_records(frame)
    assert [one.seq for one in parsed] == [1, 2, 5, 6, 7, 8]
    state = LogState()
    for one in parsed:
        state.apply(one)
    assert [epoch.leader for epoch in state.history.epochs] == ["a", "b"]
    assert list(state.operations) == [golden.TOKEN]


def test_there_is_a_golden_record_of_every_kind_that_is_written() -> None:
    assert {vector["kind"] for vector in VECTORS} == set(Kind) - {Kind.SNAPSHOT, Kind.ACTIVATION}


# Round trips ----------------------------------------------------------------------------------


@given(
    st.lists(st.binary(max_size=50), min_size=1, max_size=20),
    st.integers(1, 2**63),
    st.integers(0, 2**64 - 1),
    st.integers(0, 2**32 - 1),
)
def test_what_is_encoded_is_parsed(messages: list[bytes], seq: int, other: int, epoch: int) -> None:
    payload = encode_messages(messages)
    raw, own = encode_record(
        Kind.DATA, epoch, seq, other, pack_name("p!~"), other, len(messages), payload, other
    )
    parsed = parse_record(memoryview(raw), 0)
    assert (parsed.kind, parsed.epoch, parsed.count, parsed.seq) == (
        Kind.DATA,
        epoch,
        len(messages),
        seq,
    )
    assert (parsed.time_ns, parsed.producer, parsed.producer_seq) == (other, "p!~", other)
    assert (parsed.prev_hash, parsed.hash) == (other, own)
    assert decode_messages(parsed.payload) == messages
    assert parsed.last_seq == seq + len(messages) - 1


def test_views_of_the_frame_are_no_copies() -> None:
    frame = record() + record(seq=8)
    second = parse_records(frame)[1]
    assert second.raw.obj is frame
    assert second.payload.obj is frame


# Refusals -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", Reason.MALFORMED),
        (record()[:71], Reason.MALFORMED),
        (record()[:-1], Reason.MALFORMED),
        (record(magic=b"\xc1M"), Reason.MALFORMED),
        (record(version=2), Reason.WRONG_VERSION),
        (record(length=MAX_PAYLOAD_BYTES + 1), Reason.OVERSIZED),
        (record(payload=bytes(MAX_PAYLOAD_BYTES + 1)), Reason.OVERSIZED),
        (record(length=3), Reason.BAD_HASH),
        (record()[:-1] + b"z", Reason.BAD_HASH),
        (record(kind=0), Reason.MALFORMED),
        (record(kind=8), Reason.MALFORMED),
        (record(seq=0), Reason.MALFORMED),
        (record(count=0), Reason.BAD_COUNT),
        (record(count=MAX_RECORD_MESSAGES + 1), Reason.BAD_COUNT),
        (record(kind=4), Reason.BAD_COUNT),
        (record(producer=bytes(16)), Reason.BAD_NAME),
        (record(producer=b"a b".ljust(16, b"\0")), Reason.BAD_NAME),
        (record(producer=b"a\0b".ljust(16, b"\0")), Reason.BAD_NAME),
        (record(producer=b"\xff".ljust(16, b"\0")), Reason.BAD_NAME),
    ],
)
def test_what_is_no_record_is_refused_with_its_reason(raw: bytes, reason: Reason) -> None:
    with pytest.raises(RemoteError) as caught:
        parse_record(memoryview(raw), 0)
    assert caught.value.reason is reason


@pytest.mark.parametrize("name", ["", "a b", "a" * 17, "ä", "a\n", "a\0", "\x7f"])
def test_names_that_do_not_fit_a_header_are_refused(name: str) -> None:
    with pytest.raises(RemoteError) as caught:
        pack_name(name)
    assert caught.value.reason is Reason.BAD_NAME


@pytest.mark.parametrize("name", ["a", "a" * 16, "!~", "desk-7/fix:XNYS"])
def test_names_come_back(name: str) -> None:
    assert parse_record(memoryview(record(producer=pack_name(name))), 0).producer == name


@pytest.mark.parametrize(
    "payload", [b"", b"\x80", b"\xa1x", b"\x91\xa1x", b"\x92\xc4\x01x", b"\x91\xc4\x01xy"]
)
def test_payloads_that_are_no_array_of_byte_strings_are_refused(payload: bytes) -> None:
    with pytest.raises(RemoteError) as caught:
        decode_messages(payload)
    assert caught.value.reason is Reason.MALFORMED


@pytest.mark.parametrize(
    ("payload", "text"),
    [
        (b"\x80", "cannot be read"),
        (b"\xff" * 20, "cannot be read"),
        (msgspec.msgpack.encode(EpochOpened(2, "a", Mode.SOLO, 1, "", "")), "says it opens"),
        (msgspec.msgpack.encode(EpochOpened(1, "a", Mode.SOLO, 2, "", "")), "says it opens"),
    ],
)
def test_epoch_records_that_lie_are_refused(payload: bytes, text: str) -> None:
    raw, _ = encode_record(Kind.EPOCH_OPENED, 1, 1, 1, pack_name("a"), 0, 1, payload, 0)
    with pytest.raises(RemoteError, match=text):
        decode_epoch_opened(parse_record(memoryview(raw), 0))


# Any bytes ------------------------------------------------------------------------------------

pieces = st.one_of(
    st.binary(max_size=120),
    st.builds(record, count=st.integers(0, 3), seq=st.integers(0, 3), kind=st.integers(0, 9)),
    st.builds(lambda raw, cut: raw[:cut], st.builds(record), st.integers(0, 90)),
    st.just(b"\xc1L\x01"),
)


@given(st.lists(pieces, max_size=5).map(b"".join))
def test_any_bytes_are_records_or_refused(frame: bytes) -> None:
    try:
        parsed = parse_records(frame)
    except RemoteError:
        return
    assert b"".join(one.raw for one in parsed) == frame
    assert all(isinstance(one, Record) for one in parsed)


@given(st.integers(0, 8 * len(record()) - 1))
def test_no_single_flipped_bit_goes_unnoticed(bit: int) -> None:
    raw = bytearray(record())
    raw[bit // 8] ^= 1 << bit % 8
    with pytest.raises(RemoteError):
        parse_record(memoryview(raw), 0)


def test_the_header_has_the_documented_size() -> None:
    assert HEADER_BYTES == 72


@pytest.mark.parametrize("size", [1, 4_095, 4_096, 4_097, 70_000])
def test_the_hash_covers_header_and_payload_of_any_length(size: int) -> None:
    """Short and long payloads are hashed in two ways, which have to be one."""
    raw, own = encode_record(Kind.DATA, 1, 7, 9, pack_name("p"), 1, 1, bytes(size), 5)
    assert own == xxh3_64_intdigest(raw[: HEADER_BYTES - 8] + raw[HEADER_BYTES:])
    assert parse_record(memoryview(raw), 0).hash == own
    for at in (4, HEADER_BYTES, len(raw) - 1):
        damaged = bytearray(raw)
        damaged[at] ^= 1
        with pytest.raises(RemoteError):
            parse_record(memoryview(bytes(damaged)), 0)
