"""What the tests of keys share: a folder of keys, a node's doors over it, and clients that knock.

All runs in the test's own thread, turn by turn, as in a node: nothing is answered between turns.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import zmq
from zmq.utils.monitor import parse_monitor_message

from interlock.client.local import free_ports
from interlock.shared.config import Config, SecurityConfig
from interlock.shared.door import Arrival, Door
from interlock.shared.doorkeeper import Doorkeeper
from interlock.shared.keyring import FILE, Entry, KeyRole, write_ring
from interlock.shared.keys import KeyPair, make_folder, new_pair, write_pair
from interlock.shared.telemetry import Counters
from interlock.shared.waiter import Waiter
from support.nodes import pair_config

PATIENCE_S = 30.0
SECOND = 1_000_000_000


class Keys:
    """The keys of a pair of "a" and "b" in `root`/keys; `pairs` has the secrets of all names."""

    def __init__(self, root: Path) -> None:
        self.folder = root / "keys"
        self.path = self.folder / FILE
        self.pairs: dict[str, KeyPair] = {}
        self.entries: dict[str, Entry] = {}
        self.config: Config = msgspec.structs.replace(
            pair_config(), security=SecurityConfig("keys"), path=str(root / "interlock.toml")
        )
        make_folder(self.folder)
        for node in ("a", "b"):
            write_pair(self.secret_path(node), self.allow(node, "peer"))

    def secret_path(self, name: str) -> Path:
        return self.folder / f"{name}.key"

    def allow(self, name: str, *roles: str, producers: tuple[str, ...] = ()) -> KeyPair:
        """A key of this name; an old one of the name is not allowed any more."""
        pair = self.pairs[name] = new_pair(name)
        self.entries[name] = Entry(list(map(KeyRole, roles)), [pair.public], list(producers))
        write_ring(self.path, self.entries)
        return pair

    def change(self, name: str, *roles: str, producers: tuple[str, ...] = ()) -> None:
        """Other roles for the same key."""
        public = self.entries[name].public
        self.entries[name] = Entry(list(map(KeyRole, roles)), public, list(producers))
        write_ring(self.path, self.entries)

    def revoke(self, name: str) -> None:
        del self.entries[name]
        write_ring(self.path, self.entries)


class House:
    """The doorkeeper of node "a" and its doors. `now` is its clock; `notes`: what it has told."""

    def __init__(self, config: Config) -> None:
        self.context: zmq.Context[Any] = zmq.Context()
        self.waiter = Waiter()
        self.counters = Counters()
        self.notes: list[str] = []
        self.now = 1_000 * SECOND
        self.keeper = Doorkeeper(
            self.context,
            config,
            "a",
            self.waiter,
            self.counters,
            lambda text, level: self.notes.append(text),
        )
        self.doors: list[Door] = []
        self.arrived: list[Arrival] = []
        self._clients: zmq.Context[Any] = zmq.Context()

    def door(self, domain: str, kind: int = zmq.ROUTER) -> Door:
        """A door on a port of its own."""
        endpoint = f"tcp://127.0.0.1:{free_ports(1)}"
        key = f"nodes.a.{domain}"
        made = Door(
            self.keeper, self.context, self.waiter, self.counters, domain, key, endpoint, kind
        )
        self.doors.append(made)
        return made

    def turn(self, wait_ms: int = 5) -> None:
        """One turn of the node: lets clients in, takes what they have sent."""
        ready = self.waiter.wait(wait_ms)
        self.keeper.serve(ready, self.now)
        for door in self.doors:
            if door.socket in ready:
                self.arrived += door.arrivals(100, self.now)
            door.tend(ready, self.now)

    def until(self, condition: Callable[[], object]) -> None:
        """Turns until it holds."""
        end = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < end, f"it never came to that; {self.notes[-3:]}"
            self.turn()

    def heard(self, body: bytes) -> bool:
        """Whether a message has arrived from somebody who may send it."""
        return any(frames == [body] for _, _, frames in self.arrived)

    def client(self, door: Door, pair: KeyPair | None, server: str = "", **options: Any) -> Client:
        """Somebody who connects; `server`: the key that the node has to prove."""
        expected = server or (self.keeper.pair.public if self.keeper.pair else "")
        return Client(self._clients, door, pair, expected, **options)

    def close(self) -> None:
        for door in self.doors:
            door.close()
        self.context.destroy(linger=0)
        self._clients.destroy(linger=0)


_IN = int(zmq.EVENT_HANDSHAKE_SUCCEEDED)
_DENIED = int(zmq.EVENT_HANDSHAKE_FAILED_AUTH)
_GONE = int(zmq.EVENT_DISCONNECTED)
_FAILED = int(zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL)


class Client:
    """A DEALER or SUB with a key, or without; it tells what its handshakes came to."""

    def __init__(
        self,
        context: zmq.Context[Any],
        door: Door,
        pair: KeyPair | None,
        server: str,
        *,
        kind: int = zmq.DEALER,
        routing_id: bytes = b"",
    ) -> None:
        self.socket: zmq.Socket[Any] = context.socket(kind)
        self.socket.setsockopt(zmq.LINGER, 0)
        if routing_id:
            self.socket.setsockopt(zmq.ROUTING_ID, routing_id)
        if kind == zmq.SUB:
            self.socket.setsockopt(zmq.SUBSCRIBE, b"")
        if pair is not None:
            self.socket.setsockopt(zmq.CURVE_PUBLICKEY, pair.public.encode("ascii"))
            self.socket.setsockopt(zmq.CURVE_SECRETKEY, pair.secret.encode("ascii"))
            self.socket.setsockopt(zmq.CURVE_SERVERKEY, server.encode("ascii"))
        self._events = self.socket.get_monitor_socket(_IN | _DENIED | _FAILED | _GONE)
        self._seen: set[int] = set()
        self.socket.connect(door._endpoint)

    def saw(self, *events: int) -> bool:
        while self._events.poll(0):
            self._seen.add(int(parse_monitor_message(self._events.recv_multipart())["event"]))
        return any(each & event for each in self._seen for event in events)

    @property
    def is_in(self) -> bool:
        return self.saw(_IN)

    @property
    def denied(self) -> bool:
        return self.saw(_DENIED)

    @property
    def failed(self) -> bool:
        """The handshake was given up, by whichever side, without a word on keys."""
        return self.saw(_FAILED, _GONE)

    @property
    def gone(self) -> bool:
        return self.saw(_GONE)

    def close(self) -> None:
        self.socket.disable_monitor()
        self.socket.close()
