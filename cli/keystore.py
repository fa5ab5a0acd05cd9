"""A folder of keys as the commands change it: one command at a time, each step whole.

Decides the order of steps, so that a command that is killed in between leaves nothing half done:
a secret is stored before its public key is allowed, and a key is replaced before the old one stops
being allowed.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from ..shared.config import Config
from ..shared.errors import UserError
from ..shared.keyring import FILE, Entry, KeyRing, KeyRole, read_ring, write_ring
from ..shared.keys import KEY_SUFFIX, KeyPair, make_folder, new_pair, read_pair, write_pair

NEXT_SUFFIX = ".next"  # of a key that is allowed already and not used yet


class KeyStore:
    """The keys of one configuration on this machine."""

    def __init__(self, config: Config) -> None:
        """Raises UserError if the configuration has no keys."""
        folder = config.keys_folder()
        if folder is None:
            raise UserError(
                f"{config.path} uses no keys (it has no [security] table); make them with: "
                f"interlock keys init -c {config.path}"
            )
        self.folder = folder
        self.ring_path = folder / FILE

    @contextmanager
    def changing(self) -> Iterator[dict[str, Entry]]:
        """The entries, to be changed; stored at the end, if nothing was raised."""
        make_folder(self.folder)
        lock = os.open(self.folder, os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            entries = dict(self.ring().entries) if self.ring_path.exists() else {}
            yield entries
            write_ring(self.ring_path, entries)
        finally:
            os.close(lock)

    def ring(self) -> KeyRing:
        """The list of allowed keys. Raises UserError."""
        return read_ring(self.ring_path)

    def path_of(self, name: str) -> Path:
        return self.folder / f"{name}{KEY_SUFFIX}"

    def next_path_of(self, name: str) -> Path:
        return self.folder / f"{name}{KEY_SUFFIX}{NEXT_SUFFIX}"

    def has_secret(self, name: str) -> bool:
        """Whether the secret of the name's key lies on this machine."""
        return self.path_of(name).exists()

    def make(self, name: str) -> KeyPair:
        """A new key pair, stored. Raises UserError if there is one of this name."""
        make_folder(self.folder)
        pair = new_pair(name)
        write_pair(self.path_of(name), pair)
        return pair

    def prepare(self, name: str, public: str = "") -> str:
        """Rotation, first step: the next key is made, and allowed beside the present one; or
        `public` is, which was made elsewhere. The public key."""
        with self.changing() as entries:
            entry = _known(entries, name, self.ring_path)
            path = self.next_path_of(name)
            begun = path.exists() and read_pair(path).public not in entry.public
            if (path.exists() and not begun) or len(entry.public) > 1:
                raise UserError(
                    f"the key {name} is being rotated already; go on with: interlock keys rotate "
                    f"{name} --activate, or --finish if that is done"
                )
            if not public:
                pair = read_pair(path) if begun else new_pair(name)
                if not begun:
                    write_pair(path, pair)
                public = pair.public
            elif begun:
                path.unlink()  # of a rotation that was cut short: another key takes its place
            entries[name] = msgspec.structs.replace(entry, public=[*entry.public, public])
        return public

    def activate(self, name: str) -> KeyPair:
        """Second step, where the secret is used: the next key takes the place of the present."""
        path = self.next_path_of(name)
        if not path.exists():
            raise UserError(
                f"there is no next key {path}; begin with: interlock keys rotate {name} (or it is "
                f"activated already, and --finish is next)"
            )
        pair = read_pair(path)
        if pair.public not in self.ring().by_key:
            raise UserError(
                f"the next key of {name} is not allowed by {self.ring_path}; copy the list from "
                "where the rotation was begun"
            )
        path.replace(self.path_of(name))
        return pair

    def finish(self, name: str) -> list[str]:
        """Last step: only the newest key stays allowed. The public keys that are not any more."""
        if self.next_path_of(name).exists():
            raise UserError(
                f"the next key of {name} is not used yet; first: interlock keys rotate {name} "
                "--activate"
            )
        with self.changing() as entries:
            entry = _known(entries, name, self.ring_path)
            if len(entry.public) == 1:
                raise UserError(f"the key {name} is not being rotated: only one key is allowed")
            *old, newest = entry.public
            entries[name] = msgspec.structs.replace(entry, public=[newest])
        return old

    def revoke(self, name: str) -> Entry:
        """The name and all its keys are not allowed any more."""
        with self.changing() as entries:
            entry = _known(entries, name, self.ring_path)
            del entries[name]
        return entry


def _known(entries: dict[str, Entry], name: str, path: Path) -> Entry:
    if name not in entries:
        known = ", ".join(sorted(entries)) or "none"
        raise UserError(f"{path} has no key {name!r}; it has: {known}")
    return entries[name]


def first_keys(store: KeyStore, config: Config) -> list[str]:
    """Makes what a new pair needs: a key for each node, one for applications, one for the
    operator. The names of those that were made; what is there is left alone."""
    assert config.security is not None
    wanted = {name: Entry([KeyRole.PEER], []) for name in config.nodes}
    wanted[config.security.app] = Entry([KeyRole.PRODUCER, KeyRole.CONSUMER], [], ["*"])
    wanted[config.security.operator] = Entry([KeyRole.OPERATOR, KeyRole.OBSERVER], [])
    made = []
    with store.changing() as entries:
        for name, entry in wanted.items():
            if name in entries:
                continue
            pair = read_pair(store.path_of(name)) if store.has_secret(name) else store.make(name)
            entries[name] = msgspec.structs.replace(entry, public=[pair.public])
            made.append(name)
    return made
