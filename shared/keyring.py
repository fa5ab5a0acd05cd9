"""Who is allowed: `allowed.toml`, the public keys with their names and roles.

    [keys.alice]
    roles = ["operator"]
    public = ["..."]

Decides what a valid list is and what two lists differ in. One name may have two keys while it is
rotated. A node's own name with the role peer is where everybody learns the key that the node must
prove to have. What a role may do is `policy`.
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Iterable
from enum import Enum
from pathlib import Path
from typing import Annotated, Final

import msgspec

from .errors import RemoteError, UserError
from .keys import check_key_name, check_unchangeable, fingerprint, is_public_key, write_private
from .wire import pack_name

FILE: Final = "allowed.toml"
MAX_KEYS: Final = 10_000  # names in the list: as many as producers in the table
MAX_FILE_BYTES: Final = 4 * 1024 * 1024


class KeyRole(Enum):
    """What the owner of a key is to the pair."""

    PEER = "peer"  # a node of the pair
    PRODUCER = "producer"  # submits, under the producer names of its entry
    CONSUMER = "consumer"  # reads the released log
    OBSERVER = "observer"  # sees the state of the pair
    OPERATOR = "operator"  # does operations
    APPROVER = "approver"  # agrees to another's operation


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is known of a name. `producers`: exact names, or prefixes that end with `*`."""

    roles: Annotated[list[KeyRole], msgspec.Meta(min_length=1)]
    public: Annotated[list[str], msgspec.Meta(min_length=1, max_length=2)]
    producers: list[str] = []


class Principal(msgspec.Struct, frozen=True):
    """Who sent something, as proven by its key."""

    name: str
    public: str
    roles: frozenset[KeyRole]
    producers: tuple[str, ...] = ()

    def may_produce(self, producer: str) -> bool:
        """Whether the key may submit under this producer name."""
        return KeyRole.PRODUCER in self.roles and any(
            producer.startswith(allowed[:-1]) if allowed.endswith("*") else producer == allowed
            for allowed in self.producers
        )

    def __str__(self) -> str:
        return f"key {self.name} ({fingerprint(self.public)})"


_HEADING: Final = """\
# Who may talk to this pair: public keys, their names and roles. Change it with `interlock keys`, or
# by hand; nodes take a change within a second. Only its owner may be able to write it.
# Roles: peer, producer, consumer, observer, operator, approver.
"""

# Who speaks where no keys are used: anybody who reaches a loopback endpoint may do everything.
ANYBODY: Final = Principal("", "", frozenset(KeyRole), ("*",))


class KeyRing:
    """The list, ready to be asked by key. Immutable: a changed file makes a new one."""

    def __init__(self, entries: dict[str, Entry]) -> None:
        self.entries = entries
        self.by_key = {
            public: Principal(name, public, frozenset(entry.roles), tuple(entry.producers))
            for name, entry in entries.items()
            for public in entry.public
        }

    def server_keys(self, node: str) -> list[str]:
        """The public keys that the node may prove itself with, the newest last; none: unknown."""
        entry = self.entries.get(node)
        return entry.public if entry and KeyRole.PEER in entry.roles else []

    @property
    def digest(self) -> str:
        """Equal for equal lists: shows whether two nodes allow the same."""
        return hashlib.sha256(render(self.entries).encode("utf-8")).hexdigest()[:16]


# The list of a pair that uses no keys: who has proven none is everybody.
OPEN: Final = KeyRing({})
OPEN.by_key[ANYBODY.public] = ANYBODY


def read_ring(path: Path) -> KeyRing:
    """The list of a file. Raises UserError naming the file, the entry and what was expected."""
    if not path.parent.is_dir():
        raise UserError(
            f"there is no folder of keys {path.parent} (security.keys of the configuration); make "
            "it with: interlock keys init"
        )
    check_unchangeable(path.parent)
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        raise UserError(
            f"there is no list of allowed keys {path}; bring a copy from another machine of the "
            "pair, or make the first keys with: interlock keys init (or, of this machine's own "
            "alone, interlock keys new)"
        ) from None
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None
    check_unchangeable(path)
    if len(raw) > MAX_FILE_BYTES:
        raise UserError(f"{path} is above {MAX_FILE_BYTES} bytes; remove keys that nobody uses")
    try:
        return parse_ring(raw.decode("utf-8"), str(path))
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not valid TOML: {error}") from None


def parse_ring(text: str, where: str) -> KeyRing:
    """The list in a text; `where` is named in errors. Raises as `read_ring`."""
    try:
        raw = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # more than TOMLDecodeError: a number too long
        raise UserError(f"{where} is not valid TOML: {error}") from None
    found = raw.pop("keys", {})
    if raw or not isinstance(found, dict):
        raise UserError(f"{where}: expected only tables [keys.NAME]")
    if len(found) > MAX_KEYS:
        raise UserError(f"{where}: {len(found)} keys; {MAX_KEYS} are allowed")
    entries = {name: _entry(name, value, where) for name, value in found.items()}
    owners: dict[str, str] = {}
    for name, entry in entries.items():
        for public in entry.public:
            if public in owners:
                raise UserError(
                    f"{where}: keys.{name}: the key is that of {owners[public]} too; each name "
                    "needs keys of its own"
                )
            owners[public] = name
    return KeyRing(entries)


def _entry(name: str, value: object, where: str) -> Entry:
    try:
        check_key_name(name)
        entry = msgspec.convert(value, Entry)
    except UserError as error:
        raise UserError(f"{where}: {error}") from None
    except msgspec.ValidationError as error:
        what = str(error)
        if what.startswith("Invalid enum"):
            what += "; roles are " + ", ".join(role.value for role in KeyRole)
        raise UserError(f"{where}: keys.{name}: {what}") from None
    for public in entry.public:
        if not is_public_key(public):
            raise UserError(f"{where}: keys.{name}.public: expected keys of 40 characters (Z85)")
    check_roles(name, entry, where)
    return entry


def check_roles(name: str, entry: Entry, where: str) -> None:
    """Raises UserError unless roles and producer names fit together."""
    if KeyRole.PEER in entry.roles and len(entry.roles) > 1:
        raise UserError(f"{where}: keys.{name}: a node has the role peer and no other")
    if (KeyRole.PRODUCER in entry.roles) != bool(entry.producers):
        raise UserError(
            f"{where}: keys.{name}: a producer needs `producers`, the names that it may use (such "
            'as ["feed-1", "mm-*"]), and nobody else may have them'
        )
    for producer in entry.producers:
        check_producer_pattern(producer, f"{where}: keys.{name}.producers")


def check_producer_pattern(pattern: str, where: str) -> None:
    """Raises UserError unless this is a producer's name or a prefix that ends with `*`."""
    try:
        if pattern != "*":
            pack_name(pattern.removesuffix("*"))
    except RemoteError as error:
        raise UserError(f"{where}: {pattern!r}: {error}") from None


def render(entries: dict[str, Entry]) -> str:
    """The text of a list, always the same for the same entries."""
    parts = [_HEADING]
    for name in sorted(entries):
        entry = entries[name]
        roles = sorted(role.value for role in entry.roles)
        parts.append(f'\n[keys."{name}"]\nroles = {_list(roles)}\npublic = {_list(entry.public)}\n')
        if entry.producers:
            parts.append(f"producers = {_list(sorted(entry.producers))}\n")
    return "".join(parts)


def _list(items: Iterable[str]) -> str:
    """A TOML array; what JSON escapes, TOML escapes alike."""
    return "[" + ", ".join(json.dumps(item) for item in items) + "]"


def write_ring(path: Path, entries: dict[str, Entry]) -> None:
    """Checks and stores a list, in one step. Raises UserError."""
    text = render(entries)
    parse_ring(text, str(path))
    write_private(path, text, mode=0o644)


def changes(old: KeyRing, new: KeyRing) -> list[str]:
    """What the new list changes, a sentence for each key, with names and fingerprints only."""
    found = []
    for public, principal in old.by_key.items():
        now = new.by_key.get(public)
        if now is None:
            found.append(f"removed {principal}")
        elif now != principal:
            found.append(f"changed {now}: {_may(now)}, was {_may(principal)}")
    for public, principal in new.by_key.items():
        if public not in old.by_key:
            found.append(f"allowed {principal}: {_may(principal)}")
    return found


def _may(principal: Principal) -> str:
    roles = ", ".join(sorted(role.value for role in principal.roles))
    return f"{roles} as {', '.join(principal.producers)}" if principal.producers else roles
