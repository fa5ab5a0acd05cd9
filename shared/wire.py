"""The record: the one encoding that link, journals, feed and replay share.

Decides the byte layout of a record and what makes one valid by itself. Does not decide whether a
record fits the log (that is `chain`), nor what control payloads mean (`messages`, `epochs`).

Layout, little-endian, 72 bytes of header, then the payload:

    offset size field
         0    2 magic         C1 4C   (C1 starts no MessagePack value: a frame of records and a
                                       message of the protocol can never be taken for each other)
         2    1 version       1
         3    1 kind          Kind
         4    4 epoch
         8    4 length        bytes of payload
        12    4 count         messages in the payload; 1 for control records
        16    8 seq           number of the first message; the record covers seq .. seq+count-1
        24    8 time_ns       nanoseconds since 1970, never falling along the log
        32   16 producer      ASCII name, padded with NUL; of control records: the leader's name
        48    8 producer_seq  number of the first message in its producer's own count; 0 for control
        56    8 prev_hash     `hash` of the record before; 0 for the first
        64    8 hash          XXH3-64 of bytes 0..63 and the payload

The payload of a data record is a MessagePack array of `count` byte strings (bin), opaque to us.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence
from enum import IntEnum
from typing import Final

import msgspec
from xxhash import xxh3_64, xxh3_64_intdigest

from .errors import Reason, RemoteError
from .limits import MAX_NAME_BYTES, MAX_PAYLOAD_BYTES, MAX_RECORD_MESSAGES

VERSION: Final = 1
MAGIC: Final = b"\xc1L"
HEADER: Final = struct.Struct("<2sBBIIIQQ16sQQQ")
HEADER_BYTES: Final = HEADER.size
_UNHASHED: Final = struct.Struct("<2sBBIIIQQ16sQQ")
_HASH: Final = struct.Struct("<Q")
_SHORT: Final = 4_096  # bytes of a payload
_NAME: Final = re.compile(f"[!-~]{{1,{MAX_NAME_BYTES}}}")

_messages_decoder: Final = msgspec.msgpack.Decoder(list[bytes])
_messages_encoder: Final = msgspec.msgpack.Encoder()


class Kind(IntEnum):
    """What a record is. Everything but DATA is a control record and holds one message."""

    DATA = 1
    EPOCH_OPENED = 2
    EPOCH_CLOSED = 3
    TICK = 4
    SNAPSHOT = 5
    ACTIVATION = 6
    OPERATION = 7


_KINDS: Final = {int(kind): kind for kind in Kind}


class Position(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A place in a history: the log up to and including `seq`, identified by that record's hash."""

    seq: int
    hash: int


GENESIS: Final = Position(0, 0)


class Record(msgspec.Struct, frozen=True, gc=False):
    """One record as found in a buffer. `raw` and `payload` are views of that buffer, not copies."""

    kind: Kind
    epoch: int
    count: int
    seq: int
    time_ns: int
    producer: str
    producer_seq: int
    prev_hash: int
    hash: int
    payload: memoryview
    raw: memoryview

    @property
    def last_seq(self) -> int:
        return self.seq + self.count - 1

    @property
    def position(self) -> Position:
        return Position(self.seq + self.count - 1, self.hash)


def pack_name(name: str) -> bytes:
    """The 16 bytes of a name: 1 to 16 printable ASCII characters without spaces.

    Raises RemoteError(BAD_NAME) for any other string.
    """
    if not _NAME.fullmatch(name):
        raise RemoteError(
            Reason.BAD_NAME,
            f"the name {name[:40]!r} is not 1 to {MAX_NAME_BYTES} printable ASCII characters "
            "without spaces",
        )
    return name.encode("ascii").ljust(MAX_NAME_BYTES, b"\0")


def encode_record(
    kind: Kind,
    epoch: int,
    seq: int,
    time_ns: int,
    producer: bytes,
    producer_seq: int,
    count: int,
    payload: bytes | msgspec.Raw,
    prev_hash: int,
) -> tuple[bytes, int]:
    """The bytes of a record and its hash. `producer` is the result of `pack_name`.

    Hot path: the caller has validated the fields, which are packed as they are.
    """
    head = _UNHASHED.pack(
        MAGIC,
        VERSION,
        kind,
        epoch,
        len(payload),
        count,
        seq,
        time_ns,
        producer,
        producer_seq,
        prev_hash,
    )
    own = _hash(head, payload)
    return b"".join((head, _HASH.pack(own), payload)), own


def _hash(head: bytes | memoryview, payload: bytes | memoryview | msgspec.Raw) -> int:
    """XXH3-64 of both. Joining what is short takes less than a hash object does."""
    if len(payload) <= _SHORT:
        return xxh3_64_intdigest(b"".join((head, payload)))
    digest = xxh3_64(head)
    digest.update(payload)
    return digest.intdigest()


def record_size(buffer: bytes | memoryview, offset: int) -> int:
    """Bytes of the record whose header starts at `offset`, as that header claims; unchecked."""
    length: int = HEADER.unpack_from(buffer, offset)[4]
    return HEADER_BYTES + length


def parse_record(buffer: memoryview, offset: int) -> Record:
    """The record at `offset`, checked as far as a record can be by itself.

    Raises RemoteError (MALFORMED, WRONG_VERSION, OVERSIZED, BAD_COUNT, BAD_HASH) for anything else.
    """
    if len(buffer) - offset < HEADER_BYTES:
        raise RemoteError(Reason.MALFORMED, "a record ends within its header")
    (
        magic,
        version,
        kind,
        epoch,
        length,
        count,
        seq,
        time_ns,
        name,
        producer_seq,
        prev_hash,
        own,
    ) = HEADER.unpack_from(buffer, offset)
    if magic != MAGIC:
        raise RemoteError(Reason.MALFORMED, f"no record starts here (magic {magic.hex()})")
    if version != VERSION:
        raise RemoteError(
            Reason.WRONG_VERSION, f"record version {version}; this end reads version {VERSION}"
        )
    if length > MAX_PAYLOAD_BYTES:
        raise RemoteError(
            Reason.OVERSIZED, f"a payload of {length} bytes; {MAX_PAYLOAD_BYTES} allowed"
        )
    start = offset + HEADER_BYTES
    payload = buffer[start : start + length]
    if len(payload) != length:
        raise RemoteError(Reason.MALFORMED, "a record ends within its payload")
    if _hash(buffer[offset : start - 8], payload) != own:
        raise RemoteError(
            Reason.BAD_HASH, f"the bytes of the record at seq {seq} do not match its hash"
        )
    if kind not in _KINDS or seq == 0:
        raise RemoteError(Reason.MALFORMED, f"a record of kind {kind} at seq {seq}")
    if not 1 <= count <= MAX_RECORD_MESSAGES or (count != 1 and kind != Kind.DATA):
        raise RemoteError(Reason.BAD_COUNT, f"a record of kind {kind} that counts {count} messages")
    return Record(
        _KINDS[kind],
        epoch,
        count,
        seq,
        time_ns,
        _names.get(name) or _unpack_name(name),
        producer_seq,
        prev_hash,
        own,
        payload,
        buffer[offset : start + length],
    )


_names: dict[bytes, str] = {}


def _unpack_name(field: bytes) -> str:
    try:
        name = field.rstrip(b"\0").decode("ascii")
    except UnicodeDecodeError:
        name = ""
    if not _NAME.fullmatch(name):
        raise RemoteError(Reason.BAD_NAME, f"a record whose producer name is {field!r}")
    if len(_names) > 20_000:  # a cache of a hostile sender's names must not grow for ever
        _names.clear()
    _names[field] = name
    return name


def parse_records(buffer: bytes | memoryview) -> list[Record]:
    """All records of a frame, in order. Raises RemoteError if any byte of it is not a record's."""
    view = memoryview(buffer)
    records = []
    offset = 0
    while offset < len(view):
        record = parse_record(view, offset)
        records.append(record)
        offset += HEADER_BYTES + len(record.payload)
    return records


def last_position(buffer: bytes) -> Position:
    """Where a frame of whole records, as a journal returns them, ends. Not checked again."""
    offset = 0
    while True:
        fields = HEADER.unpack_from(buffer, offset)
        offset += HEADER_BYTES + fields[4]
        if offset >= len(buffer):
            return Position(fields[6] + fields[5] - 1, fields[11])


def encode_messages(messages: Sequence[bytes]) -> bytes:
    """The payload of a data record."""
    return _messages_encoder.encode(messages)


def decode_messages(payload: bytes | memoryview | msgspec.Raw) -> list[bytes]:
    """The messages of a data record's payload. Raises RemoteError(MALFORMED) for anything else."""
    try:
        return _messages_decoder.decode(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise RemoteError(
            Reason.MALFORMED, f"the payload is not a MessagePack array of byte strings: {error}"
        ) from None
