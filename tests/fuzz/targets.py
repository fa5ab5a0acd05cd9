"""What is fuzzed: functions that take any bytes, and fail if the product does not stand them.

Decides what "stands them" means for each decoder: the one type of error that is documented, or a
value that encodes to itself. A hash keeps mutated records from every check behind it, so records
and journals are judged a second time with their hashes made right.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
from golden import messages as golden_messages
from golden import records as golden_records
from xxhash import xxh3_64_digest, xxh3_64_intdigest

from interlock.shared.commands import ControlReply, ControlRequest, PeerAnswer
from interlock.shared.config import Config, parse_config
from interlock.shared.epochs import decode_epoch_closed, decode_epoch_opened
from interlock.shared.errors import LocalError, RemoteError, UserError
from interlock.shared.journal import Journal, JournalReader, verify
from interlock.shared.journal.checkpoint import checkpoint_path, decode_checkpoint
from interlock.shared.limits import MAX_PAYLOAD_BYTES
from interlock.shared.messages import (
    Codec,
    Head,
    IntakeReply,
    IntakeRequest,
    LinkFromPrimary,
    LinkFromSecondary,
    Message,
    ReplayReply,
    ReplayRequest,
    encode,
)
from interlock.shared.operations import decode_receipt
from interlock.shared.wire import (
    HEADER_BYTES,
    Kind,
    Record,
    decode_messages,
    encode_messages,
    parse_records,
)
from support.journal_kit import FastDisk

CORPUS = Path(__file__).with_name("corpus")
SEGMENT_BYTES = 4_096
CODECS: tuple[Codec[Message], ...] = tuple(
    Codec(kind)
    for kind in (
        IntakeRequest,
        IntakeReply,
        LinkFromSecondary,
        LinkFromPrimary,
        ReplayRequest,
        ReplayReply,
        Head,
        ControlRequest,
        ControlReply,
        PeerAnswer,
    )
)
PAYLOADS = {
    Kind.EPOCH_OPENED: decode_epoch_opened,
    Kind.EPOCH_CLOSED: decode_epoch_closed,
    Kind.OPERATION: decode_receipt,
}


def records(data: bytes) -> None:
    """A frame of records, as it comes and with its hashes made right."""
    for frame in (data, b"".join(mended(data))):
        try:
            found = parse_records(frame)
        except RemoteError:
            continue
        assert b"".join(bytes(record.raw) for record in found) == frame
        for record in found:
            with suppress(RemoteError):
                _payload(record)


def _payload(record: Record) -> None:
    if record.kind is Kind.DATA:
        messages = decode_messages(record.payload)
        assert decode_messages(encode_messages(messages)) == messages
    elif record.kind in PAYLOADS:
        PAYLOADS[record.kind](record)


def messages(data: bytes) -> None:
    """A frame of any socket, on every socket."""
    for codec in CODECS:
        try:
            found = codec.decode(data)
        except RemoteError:
            continue
        again = codec.decode(encode(found))
        assert encode(again) == encode(found)


def journal(data: bytes) -> None:
    """A directory: two bytes say how long the checkpoint is, then come it and the records."""
    length = int.from_bytes(data[:2], "little")
    body, rest = data[2 : 2 + length], data[2 + length :]
    for log in {rest, b"".join(mended(rest))}:
        if len(log) <= SEGMENT_BYTES:
            _journal(body, log)


def _journal(checkpoint: bytes, log: bytes) -> None:
    with TemporaryDirectory() as own:
        directory = Path(own)
        segment = directory / f"{1:020d}.log"
        segment.write_bytes(log.ljust(SEGMENT_BYTES, b"\0"))
        whole = xxh3_64_digest(checkpoint)[::-1] + checkpoint
        decoded = decode_checkpoint(whole)
        if decoded is not None and 0 <= decoded.dump.position.seq < 10**20:
            checkpoint_path(directory, decoded.dump.position.seq).write_bytes(whole)
        verify(directory)
        before = segment.read_bytes()
        try:
            opened = Journal.open(directory, SEGMENT_BYTES, FastDisk())
        except LocalError:
            assert segment.read_bytes() == before, "what is damaged was changed"
            return
        state = opened.state.position
        opened.close()
        *_, last = [None, *JournalReader(directory).records()]
        assert (last.position if last else None) in (state, None)
        again = Journal.open(directory, SEGMENT_BYTES, FastDisk())
        assert again.state.position == state, "opened again, it is another log"
        again.close()


def config(data: bytes) -> None:
    """A configuration file."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return
    with suppress(UserError):
        assert isinstance(parse_config(text, Path("interlock.toml")), Config)


TARGETS: dict[str, Callable[[bytes], None]] = {
    "records": records,
    "messages": messages,
    "journal": journal,
    "config": config,
}


def mended(data: bytes) -> Iterator[bytes]:
    """The records that these bytes may have been meant as, each with the hashes that it needs."""
    previous = 0
    while len(data) >= HEADER_BYTES:
        length = min(struct.unpack_from("<I", data, 8)[0], MAX_PAYLOAD_BYTES)
        record, data = data[: HEADER_BYTES + length], data[HEADER_BYTES + length :]
        head = record[:56] + previous.to_bytes(8, "little")
        previous = xxh3_64_intdigest(head + record[HEADER_BYTES:])
        yield head + previous.to_bytes(8, "little") + record[HEADER_BYTES:]


def seeds(target: str) -> list[bytes]:
    """Well-formed inputs to begin with."""
    log = [bytes.fromhex(one["record_hex"]) for one in golden_records.build()]
    match target:
        case "messages":
            vectors = msgspec.json.decode(golden_messages.FILE.read_bytes())
            return [bytes.fromhex(vector["hex"]) for vector in vectors]
        case "records":
            return [*log, b"".join(log)]
        case "journal":
            return [b"\0\0" + b"".join(log[:count]) for count in range(len(log) + 1)]
    return [(CORPUS / "config" / "whole.toml").read_bytes()]


def corpus(target: str) -> list[Path]:
    """Inputs that are kept: those that found something, or reach what others do not."""
    return sorted((CORPUS / target).glob("*"))
