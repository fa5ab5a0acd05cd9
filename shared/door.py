"""A bound socket of a node, and who may come in through it.

Decides nothing about keys (`doorkeeper`) nor roles (`policy`); it asks them, for each connection
and each message. How many connections there may be, and that a door is closed and opened anew when
the node's key changes or somebody behind it is not allowed any more: libzmq can drop all
connections of a socket, but not one; nor can it stop listening and keep those that it has.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, Final

import zmq
from zmq.utils.monitor import parse_monitor_message

from .doorkeeper import Doorkeeper
from .errors import Reason, RemoteError, UserError
from .keyring import KeyRing, Principal
from .limits import CONNECTION_EVENTS_PER_TURN, MAX_UNWELCOME_FRAMES
from .policy import DOORS, denied, may_connect
from .sockets import (
    Socket,
    bind,
    connections_of_each,
    make_socket,
    monitored,
    receive_all,
    receive_keyed,
    receive_routed,
)
from .telemetry import Counters
from .waiter import Waiter

CROWDED_NS: Final = 2_000_000_000  # idle connections end by themselves after so long
UNWELCOME_NS: Final = 1_000_000_000
REOPEN_SECONDS: Final = 2.0  # for the old socket to give its port back
OFTEN: Final = frozenset({"intake", "link"})  # messages come through these
_ACCEPTED: Final = int(zmq.EVENT_ACCEPTED)
_GONE: Final = int(zmq.EVENT_DISCONNECTED)
_FAILED: Final = int(zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL)
_WATCHED: Final = _ACCEPTED | _GONE | _FAILED

Arrival = tuple[bytes, Principal, list[bytes]]


class Door:
    """`domain` names the socket in configuration, policy and counters."""

    def __init__(
        self,
        keeper: Doorkeeper,
        context: zmq.Context[Any],
        waiter: Waiter,
        counters: Counters,
        domain: str,
        key: str,
        endpoint: str,
        kind: int,
        **options: int,
    ) -> None:
        """Binds. `options` are those of `make_socket`. Raises UserError for a bad endpoint."""
        self.domain = domain
        self.connections = 0
        self._unwelcome = 0  # frames of late of peers that are not listened to
        self._counted_ns = self._crowded_ns = 0
        self._due = False  # to be opened anew, which failed
        self._keeper = keeper
        self._ring: KeyRing | None = None  # of which `_allowed` was made
        self._allowed: dict[str, Principal] = {}
        self._receive = receive_keyed if keeper.on else receive_routed
        self._context, self._waiter, self._counters = context, waiter, counters
        self._key, self._endpoint, self._kind, self._options = key, endpoint, kind, options
        self._max_connections = connections_of_each(len(DOORS))
        self._reads = kind == zmq.ROUTER
        self.socket, self._events = self._open()
        bind(self.socket, key, endpoint)

    def _open(self) -> tuple[Socket, Socket]:
        """A socket that is not bound yet, and the one that tells of its connections."""
        made = make_socket(self._context, self._kind, **self._options)
        pair = self._keeper.pair
        if pair is not None:
            made.setsockopt(zmq.CURVE_SERVER, 1)
            made.setsockopt(zmq.CURVE_SECRETKEY, pair.secret.encode("ascii"))
            made.setsockopt(zmq.CURVE_PUBLICKEY, pair.public.encode("ascii"))
            made.setsockopt(zmq.ZAP_DOMAIN, self.domain.encode("ascii"))
            made.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)
        try:
            events = monitored(made, _WATCHED)
        except UserError:
            made.close()
            raise
        if self._reads:
            self._waiter.add(made, often=self.domain in OFTEN)
        self._waiter.add(events)
        return made, events

    # Messages ---------------------------------------------------------------------------------

    def arrivals(self, limit: int, now_ns: int) -> Iterator[Arrival]:
        """Who sent what: the messages that wait, `limit` at most, of peers that may be here."""
        conduct, welcome = self._keeper.conduct, self._welcome()
        for sender, user, frames in self._waiter.drain(self.socket, limit, self._receive):
            who = welcome.get(user)
            if who is None:
                self._deny(user, self._keeper.who(user))
            elif conduct.until_ns and conduct.is_banned(user or sender, now_ns):
                self._unwelcome += bool(user)
            else:
                yield sender, who, frames

    def _welcome(self) -> dict[str, Principal]:
        """Who may be here by the list as it is now, by key."""
        ring = self._keeper.ring
        if ring is not self._ring:
            self._ring = ring
            self._allowed = {
                public: who for public, who in ring.by_key.items() if may_connect(self.domain, who)
            }
        return self._allowed

    def _deny(self, public: str, who: Principal | None) -> None:
        """The key was allowed when it connected, and is not any more."""
        self._unwelcome += 1
        error = RemoteError(Reason.UNKNOWN_KEY, "this key is not allowed here any more")
        if who is not None:
            error = denied(who, self.domain, DOORS[self.domain])
        self._counters.refused(self.domain, error.reason)
        self._keeper.note_denied(public, self.domain, f"at {self.domain}: {error}")

    def misbehaved(self, sender: bytes, who: Principal, now_ns: int) -> None:
        """The peer sent what is no message; too much of that, and it is not listened to."""
        peer = who.public or sender
        if self._keeper.conduct.bad(peer, now_ns):
            self._counters.count("bans")
            named = str(who) if who.public else f"connection {sender.hex()}"
            self._keeper.note_denied(
                who.public,
                self.domain,
                f"{named} sent too many bad frames to {self.domain}: "
                "nothing is taken from it for a while",
            )

    # Connections ------------------------------------------------------------------------------

    def tend(self, ready: set[Any], at_ns: int) -> None:
        """Follows who connects and leaves; and gets rid of a flood of those who have no business
        here, and of too many connections, by dropping all: the others come back at once. Call it
        in each turn in which something seldom is ready, and now and then."""
        if self._due:
            self.reopen()
        if at_ns - self._counted_ns >= UNWELCOME_NS:
            self._counted_ns, self._unwelcome = at_ns, 0
        elif self._unwelcome > MAX_UNWELCOME_FRAMES:
            self._counters.count("doors-reopened")
            self.reopen()
        if self._events in ready:
            self._follow()
        if self.connections > self._max_connections and at_ns >= self._crowded_ns:
            self._crowded_ns = at_ns + CROWDED_NS
            self._counters.count("doors-reopened")
            self._keeper.note_denied(
                "", self.domain, f"{self.connections} connections at {self.domain}: all are dropped"
            )
            self.reopen()

    def _follow(self) -> None:
        """Counts who has come and gone."""
        for told in self._waiter.drain(self._events, CONNECTION_EVENTS_PER_TURN, receive_all):
            event = parse_monitor_message(told)["event"]
            if event == _ACCEPTED:
                self.connections += 1
            elif event == _GONE:
                self.connections = max(0, self.connections - 1)
            else:
                self._counters.refused(self.domain, Reason.UNKNOWN_KEY)

    def reopen(self) -> None:
        """Drops all connections, and listens again with the node's present key.

        Raises UserError if the endpoint cannot be bound any more.
        """
        try:
            opened = self._open()
        except UserError:  # no descriptor is left: again in a moment, or who is out would stay in
            self._counters.count("doors-not-reopened")
            self._due = True
            return
        self._due = False
        if self._reads:
            self._waiter.remove(self.socket)
        self._waiter.remove(self._events)
        self.close()
        self.socket, self._events = opened
        self.connections = self._unwelcome = 0
        self._bind_again()

    def _bind_again(self) -> None:
        end = time.monotonic() + REOPEN_SECONDS
        while True:
            try:
                bind(self.socket, self._key, self._endpoint)
                return
            except UserError:
                if time.monotonic() >= end:
                    raise
                time.sleep(0.001)  # the port is given back in the background

    def close(self, linger_ms: int = 0) -> None:
        """Ends the socket; what was sent has `linger_ms` to leave."""
        self.socket.disable_monitor()
        self._events.close()
        self.socket.close(linger=linger_ms)
