"""Who we are to the nodes that we connect to, and how they prove who they are.

Decides which of a node's allowed keys is expected at the next attempt: while a node's key is
rotated it has two, and only one of them opens. Each socket is dressed with our key and the expected
one before it connects; without keys it connects as it is.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Final

import zmq
from zmq.utils.monitor import parse_monitor_message

from .config import Config
from .descriptors import make_room
from .errors import UserError
from .keyring import ANYBODY, FILE, KeyRing, read_ring
from .keys import KEY_SUFFIX, KeyPair, fingerprint, read_pair
from .policy import may_connect
from .sockets import Socket, monitored

ENVIRONMENT: Final = "INTERLOCK_KEY"
_WITHOUT_KEYS: Final = int(zmq.EVENT_HANDSHAKE_FAILED_AUTH | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL)
_WITH_KEYS: Final = _WITHOUT_KEYS | int(zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL)
DENIED: Final = int(zmq.EVENT_HANDSHAKE_FAILED_AUTH)
_SUCCESS: Final = int(zmq.EVENT_HANDSHAKE_SUCCEEDED)

Known = tuple[KeyPair | None, KeyRing]


class Credentials:
    """Our key pair, the list of keys, and which node is at which endpoint."""

    def __init__(self, known: Callable[[], Known], owners: Mapping[str, str]) -> None:
        """`known` returns the present key pair (None: no keys are used) and list."""
        self._known = known
        self._owners = owners
        self._failed: dict[str, int] = {}

    def connect(self, socket: Socket, endpoint: str) -> None:
        """Connects, expecting one of the node's keys. Raises UserError if that cannot be done."""
        pair, ring = self._known()
        if pair is not None:
            expected = self._expected(ring, endpoint)
            socket.setsockopt(zmq.CURVE_PUBLICKEY, pair.public.encode("ascii"))
            socket.setsockopt(zmq.CURVE_SECRETKEY, pair.secret.encode("ascii"))
            socket.setsockopt(zmq.CURVE_SERVERKEY, expected.encode("ascii"))
        make_room()
        try:
            socket.connect(endpoint)
        except zmq.ZMQError as error:
            raise UserError(
                f"cannot connect to {endpoint!r}: {error.strerror}; "
                "expected tcp://HOST:PORT or ipc://PATH"
            ) from None

    @property
    def used(self) -> bool:
        """Whether keys are used."""
        return self._known()[0] is not None

    @property
    def name(self) -> str:
        """Our name to the nodes, by the list here; empty: no keys are used."""
        pair, ring = self._known()
        if pair is None:
            return ""
        who = ring.by_key.get(pair.public)
        return who.name if who else pair.name

    def may_connect(self, domain: str) -> bool:
        """Whether our key has a role for this socket, by the list here; a node goes by its own."""
        pair, ring = self._known()
        who = ring.by_key.get(pair.public) if pair is not None else ANYBODY
        return who is not None and may_connect(domain, who)

    @property
    def own(self) -> str:
        """Our public key; empty: no keys are used."""
        pair = self._known()[0]
        return pair.public if pair is not None else ""

    def failed(self, endpoint: str) -> None:
        """The node did not prove the key that was expected: the next attempt expects another."""
        self._failed[endpoint] = self._failed.get(endpoint, 0) + 1

    def still_expects(self, endpoint: str, public: str) -> bool:
        """Whether the node at this endpoint may have this key now."""
        pair, ring = self._known()
        return pair is None or public in ring.server_keys(self._owners.get(endpoint, ""))

    def expected(self, endpoint: str) -> str:
        """The key that the next `connect` expects there; empty without keys."""
        pair, ring = self._known()
        return self._expected(ring, endpoint) if pair is not None else ""

    def explain(self, event: int, endpoint: str) -> str:
        """What a failed handshake means, in one sentence."""
        pair, _ = self._known()
        node = f"node {self._owners[endpoint]}" if endpoint in self._owners else "the node"
        if pair is None:
            return (
                f"{node} at {endpoint} uses keys, and this side has none: use the configuration "
                "with its [security] table and a key"
            )
        if event == DENIED:
            return (
                f"{node} does not let key {pair.name} ({fingerprint(pair.public)}) in at "
                f"{endpoint}: it is not in its {FILE}, or has no role for that socket"
            )
        return (
            f"{node} at {endpoint} has not proven a key that {FILE} here has for it, or it uses "
            "no keys: compare `interlock keys list` on both machines"
        )

    def _expected(self, ring: KeyRing, endpoint: str) -> str:
        node = self._owners.get(endpoint)
        keys = ring.server_keys(node) if node else []
        if not keys:
            what = f"node {node} has no key of role peer in {FILE}" if node else "no node is there"
            raise UserError(
                f"cannot connect to {endpoint}: {what} by this configuration, so nobody can prove "
                "to be the right one"
            )
        return keys[self._failed.get(endpoint, 0) % len(keys)]


class Watch:
    """Sees why the connections of a client's socket fail. For the socket's thread."""

    def __init__(self, socket: Socket, *, keys: bool) -> None:
        """`keys`: whether they are used. Without, a handshake that is broken off says nothing: the
        node may just be starting or ending."""
        self._socket = socket
        self.events = monitored(socket, _SUCCESS | (_WITH_KEYS if keys else _WITHOUT_KEYS))

    def failures(self) -> list[tuple[int, str]]:
        """The handshakes that have failed since the last call and have not succeeded afterwards:
        the event, and the endpoint."""
        found: dict[str, int] = {}
        while True:
            try:
                told = parse_monitor_message(self.events.recv_multipart(zmq.NOBLOCK))
            except zmq.Again:
                return [(event, endpoint) for endpoint, event in found.items()]
            endpoint, event = told["endpoint"].decode("utf-8", "replace"), int(told["event"])
            if event == _SUCCESS:
                found.pop(endpoint, None)
            else:
                found[endpoint] = event

    def close(self) -> None:
        """Call it before the socket is closed."""
        self._socket.disable_monitor()
        self.events.close()


# Without keys ---------------------------------------------------------------------------------

PLAIN: Final = Credentials(lambda: (None, KeyRing({})), {})


# From files -----------------------------------------------------------------------------------


class _Files:
    """A key and a list, read again when a file has changed; a bad one is not taken later on."""

    def __init__(self, folder: Path, key: Path) -> None:
        self._paths = (key, folder / FILE)
        self._seen = self._stamp()
        self._found: Known = self._read()

    def known(self) -> Known:
        stamp = self._stamp()
        if stamp != self._seen:
            self._seen = stamp
            with suppress(UserError):  # half of a change: what was good stays until it is whole
                self._found = self._read()
        return self._found

    def _read(self) -> Known:
        key, ring = self._paths
        return read_pair(key), read_ring(ring)

    def _stamp(self) -> tuple[tuple[int, int], ...]:
        found: list[tuple[int, int]] = []
        for path in self._paths:
            try:
                status = path.stat()
            except OSError:
                return ()
            found.append((status.st_mtime_ns, status.st_ino))
        return tuple(found)


def credentials(config: Config, *, operator: bool = False, key: str = "") -> Credentials:
    """The credentials of a client process: of the key that is named, by its name or as a path; or
    by $INTERLOCK_KEY; or the configuration's usual one, for an application or an `operator`'s tool.

    Raises UserError if the pair uses keys and that one cannot be read.
    """
    folder = config.keys_folder()
    owners = owners_of(config)
    if folder is None:
        return Credentials(PLAIN._known, owners)
    assert config.security is not None
    usual = config.security.operator if operator else config.security.app
    name = key or os.environ.get(ENVIRONMENT, "") or usual
    path = (
        Path(name) if "/" in name or name.endswith(KEY_SUFFIX) else folder / f"{name}{KEY_SUFFIX}"
    )
    return Credentials(_files(folder, path).known, owners)


def owners_of(config: Config) -> dict[str, str]:
    """The node at each endpoint of the configuration."""
    return {
        getattr(node, socket): name
        for name, node in config.nodes.items()
        for socket in ("intake", "link", "feed", "replay", "control", "telemetry")
    }


@lru_cache(maxsize=64)
def _files(folder: Path, key: Path) -> _Files:
    return _Files(folder, key)
