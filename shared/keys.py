"""Key pairs on the disk: who a process is.

A key pair is a CURVE key pair of libzmq under a name. Its secret lies in a file of its own, which
its owner alone can read, in a folder that nobody else can enter.

Decides how such files are made and when one is refused: a secret that others can read is no secret,
so it is refused at every start, with the command that mends it. What a key may do is `keyring`.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
import struct
import tomllib
from pathlib import Path
from typing import Final

import msgspec

from .errors import UserError

KEY_SUFFIX: Final = ".key"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,31}")
_Z85_LENGTH: Final = 40
_KEY_BYTES: Final = 32
_FINGERPRINT_CHARS: Final = 16


class KeyPair(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A named CURVE key pair, in Z85. Its text form leaves the secret out."""

    name: str
    public: str
    secret: str

    def __repr__(self) -> str:
        return f"KeyPair({self.name}, {fingerprint(self.public)})"

    __str__ = __repr__


def fingerprint(public: str) -> str:
    """What people compare and the log holds: the first 16 hex digits of the key's SHA-256."""
    return "SHA256:" + hashlib.sha256(public.encode("ascii")).hexdigest()[:_FINGERPRINT_CHARS]


def check_key_name(name: str) -> None:
    """Raises UserError for a name that cannot be that of a key, and so of a file."""
    if not _NAME.fullmatch(name):
        raise UserError(
            f"{name!r} is no name for a key; expected 1 to 32 letters, digits, '.', '-' and '_', "
            "the first a letter or digit"
        )


def is_public_key(text: str) -> bool:
    """Whether this is the Z85 form of 32 bytes."""
    from zmq.utils import z85  # late, here and below: the help of the commands needs no sockets

    if len(text) != _Z85_LENGTH or not text.isascii():
        return False
    try:
        return len(z85.decode(text)) == _KEY_BYTES
    except (KeyError, struct.error):  # another character, or five that make more than 32 bits
        return False


def new_pair(name: str) -> KeyPair:
    """A fresh key pair. Raises UserError for a bad name."""
    import zmq

    check_key_name(name)
    public, secret = zmq.curve_keypair()
    return KeyPair(name, public.decode("ascii"), secret.decode("ascii"))


# Files ----------------------------------------------------------------------------------------


def make_folder(folder: Path) -> None:
    """Makes the folder of keys, for its owner alone. Raises UserError if it cannot be used."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot make the folder of keys {folder}: {error.strerror}") from None
    check_private(folder)


def write_pair(path: Path, pair: KeyPair) -> None:
    """Stores a key pair; created 0600, so that at no moment others can read it.

    Raises UserError if there is a file already or it cannot be written.
    """
    text = (
        f"# The secret key {pair.name}. Who can read this file can act as {pair.name}:\n"
        "# keep it readable by its owner alone, and copy it over safe ways only.\n"
        f'name = "{pair.name}"\npublic = "{pair.public}"\nsecret = "{pair.secret}"\n'
    )
    if path.exists():
        raise UserError(
            f"{path} exists and is left as it is; a key is replaced with: interlock keys rotate "
            f"{pair.name} (or, if it is not allowed any more, made anew after: rm {path})"
        )
    write_private(path, text, mode=0o600)


def write_private(path: Path, text: str, *, mode: int) -> None:
    """Replaces a file in one step, durably: a reader finds the old text or the new one."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        with os.fdopen(fd, "w", encoding="utf-8") as file:
            os.fchmod(fd, mode)
            file.write(text)
            file.flush()
            os.fsync(fd)
        temporary.replace(path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise UserError(f"cannot write {path}: {error.strerror}") from None


def read_pair(path: Path) -> KeyPair:
    """The key pair of a file. Raises UserError: missing, readable by others, or no key."""
    import zmq

    if not path.parent.is_dir():
        raise UserError(
            f"there is no folder of keys {path.parent}; make it with: interlock keys init, or name "
            "another key with --key or $INTERLOCK_KEY"
        )
    check_private(path.parent)
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        raise UserError(
            f"there is no key {path}; make it with: interlock keys new {path.stem}, or name "
            "another one with --key or $INTERLOCK_KEY"
        ) from None
    except OSError as error:
        raise UserError(f"cannot read the key {path}: {error.strerror}") from None
    check_private(path)
    try:
        pair = msgspec.convert(tomllib.loads(raw.decode("utf-8")), KeyPair)
    except (ValueError, RecursionError):  # no text, no TOML, or none of a key
        # What was found is not quoted: it may be a damaged secret.
        raise UserError(
            f"{path} is no key; expected name, public and secret as `interlock keys new` writes "
            "them: restore the file, or make a new key"
        ) from None
    check_key_name(pair.name)
    if not is_public_key(pair.public) or not is_public_key(pair.secret):
        raise UserError(f"{path}: public and secret have to be 40 characters of Z85 each")
    if zmq.curve_public(pair.secret.encode("ascii")).decode("ascii") != pair.public:
        raise UserError(f"{path}: the public key is not that of the secret one: restore the file")
    return pair


def check_private(path: Path) -> None:
    """Raises UserError unless only its owner, who is us or root, can read and change this."""
    try:
        found = path.stat()
    except OSError as error:
        raise UserError(f"cannot look at {path}: {error.strerror}") from None
    is_folder = stat.S_ISDIR(found.st_mode)
    if found.st_mode & 0o077:
        wanted = "700" if is_folder else "600"
        raise UserError(
            f"{path} can be used by others (mode {stat.S_IMODE(found.st_mode):03o}), so it keeps "
            f"no secret; mend it with: chmod {wanted} {path} (and make new keys if somebody may "
            "have read them)"
        )
    _check_owner(path, found.st_uid)


def check_unchangeable(path: Path) -> None:
    """Raises UserError unless only its owner, who is us or root, can change this."""
    try:
        found = path.stat()
    except OSError as error:
        raise UserError(f"cannot look at {path}: {error.strerror}") from None
    if found.st_mode & 0o022:
        raise UserError(
            f"{path} can be changed by others (mode {stat.S_IMODE(found.st_mode):03o}), so nobody "
            f"knows who is allowed; look through it, and mend it with: chmod 644 {path}"
        )
    _check_owner(path, found.st_uid)


def _check_owner(path: Path, owner: int) -> None:
    if owner not in (0, os.geteuid()):
        raise UserError(
            f"{path} belongs to another user (uid {owner}); it has to belong to uid "
            f"{os.geteuid()}, who runs this"
        )
