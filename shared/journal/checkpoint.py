"""Checkpoints: the state of the log at one record, so that a restart need not read its history.

Decides the file's content and which checkpoints can be trusted. `{last_seq:020d}.ckpt` holds an
XXH3-64 and a MessagePack array; it is written to a temporary name, synced and renamed, by the
helper thread and only after the records that it covers are on the disk. So what is found under the
final name is whole, unless the disk lost it, which the checksum shows; then an older one serves.
"""

from __future__ import annotations

import re
import struct
from pathlib import Path
from typing import Final

import msgspec
from xxhash import xxh3_64_intdigest

from ..log import LogDump

VERSION: Final = 1
KEPT_CHECKPOINTS: Final = 2
CHECKPOINT_TEMPORARY: Final = "checkpoint.tmp"

_NAME: Final = re.compile(r"([0-9]{20})\.ckpt")
_CHECKSUM: Final = struct.Struct("<Q")


class Checkpoint(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The log's state at `dump.position`, whose record starts at `offset` of segment `segment`.

    A restart reads that record again, so a checkpoint of another log, or records that the disk
    lost beneath it, are noticed, and goes on with the records after it.
    """

    version: int
    segment: int
    offset: int
    dump: LogDump


_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder(Checkpoint)


def encode_checkpoint(segment: int, offset: int, dump: LogDump) -> bytes:
    body = _encoder.encode(Checkpoint(VERSION, segment, offset, dump))
    return _CHECKSUM.pack(xxh3_64_intdigest(body)) + body


def decode_checkpoint(data: bytes) -> Checkpoint | None:
    """The checkpoint in a file's bytes, or None if they are not one that can be trusted."""
    body = data[_CHECKSUM.size :]
    if data[: _CHECKSUM.size] != _CHECKSUM.pack(xxh3_64_intdigest(body)):
        return None
    try:
        checkpoint = _decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return checkpoint if checkpoint.version == VERSION else None


def checkpoint_path(directory: Path, last_seq: int) -> Path:
    return directory / f"{last_seq:020d}.ckpt"


def list_checkpoints(directory: Path) -> list[Path]:
    """The checkpoint files of a directory, newest first."""
    return sorted(
        (path for path in directory.iterdir() if _NAME.fullmatch(path.name)), reverse=True
    )


def load_checkpoint(path: Path) -> Checkpoint | None:
    """The checkpoint in a file, or None if it cannot be read or trusted."""
    try:
        checkpoint = decode_checkpoint(path.read_bytes())
    except OSError:
        return None
    if (
        checkpoint is None
        or path.name != checkpoint_path(Path(), checkpoint.dump.position.seq).name
    ):
        return None
    return checkpoint
