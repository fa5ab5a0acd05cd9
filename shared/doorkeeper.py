"""Who comes in: the authentication handler (ZAP) of a node, and the list of keys that it goes by.

Decides for each connection, by its key and the socket's domain; and tells for each message who sent
it, by the key of its connection, never by a routing id, which the other end may choose. The handler
is in the node's own process and on its own thread: there is none that could die unnoticed. If it
fails, libzmq lets nobody in (ZAP_ENFORCE_DOMAIN), and the status says so.

The list is looked at each second and when an operator asks. A list that cannot be read changes
nothing: who was allowed stays allowed, and the status says why.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import zmq
from zmq.utils import z85

from .config import Config
from .errors import Reason, UserError
from .events import KeysChanged
from .keyring import FILE, OPEN, KeyRing, KeyRole, Principal, changes, read_ring
from .keys import KEY_SUFFIX, KeyPair, fingerprint, read_pair
from .limits import HANDSHAKES_PER_TURN, MAX_KEY_CHANGES, MAX_MISBEHAVING, MAX_TEXT_CHARS
from .misconduct import Misconduct
from .policy import DOORS, doors_to_reopen, may_connect
from .sockets import Socket, make_socket, receive_all
from .telemetry import Counters, SecurityStatus
from .waiter import Waiter

ZAP_ENDPOINT: Final = "inproc://zeromq.zap.01"
_MS: Final = 1_000_000
LOOK_EVERY_NS: Final = 1_000 * _MS
DENIAL_NOTED_NS: Final = 60_000 * _MS  # one note about the same key at the same door

Note = Callable[[str, int], None]


class Doorkeeper:
    """The keys of one node process. Without a `[security]` table everybody may do everything, and
    `check_exposure` has made sure that only this machine can reach the node."""

    def __init__(
        self,
        context: zmq.Context[Any],
        config: Config,
        node: str,
        waiter: Waiter,
        counters: Counters,
        note: Note,
    ) -> None:
        """Reads the key and the list. Raises UserError if they cannot be used."""
        self.conduct = Misconduct()
        self.pair: KeyPair | None = None
        self.ring = OPEN
        self._node = node
        self._counters = counters
        self._note = note
        self._waiter = waiter
        self._folder: Path | None = config.keys_folder()
        self._error = self._handler_error = ""
        self._seen: tuple[int, ...] = ()
        self._noted_ns: dict[tuple[str, str], int] = {}
        self._look_ns = 0
        self.socket: Socket | None = None  # of the handler
        self.to_reopen: frozenset[str] = frozenset()  # doors, after a change of keys
        if self._folder is not None:
            self._seen = self._stamp()
            self.pair, self.ring = self._read()
            self.socket = make_socket(context, zmq.ROUTER)
            self.socket.bind(ZAP_ENDPOINT)
            waiter.add(self.socket)

    @property
    def on(self) -> bool:
        """Whether keys are used."""
        return self._folder is not None

    def who(self, public: str) -> Principal | None:
        """Whose key this is now; None: nobody's, any more."""
        return self.ring.by_key.get(public)

    def may_produce(self, public: str, producer: str) -> bool:
        """Whether a session of this key may go on under a producer name now."""
        who = self.who(public)
        return who is not None and (who.may_produce(producer) or KeyRole.OPERATOR in who.roles)

    # Connections ------------------------------------------------------------------------------

    def serve(self, ready: set[Any], now_ns: int) -> None:
        """Answers who waits at the doors, a bounded number of them."""
        if self.socket is None or self.socket not in ready:
            return
        for frames in self._waiter.drain(self.socket, HANDSHAKES_PER_TURN, receive_all):
            try:
                self._answer(frames, now_ns)
            except Exception as error:  # noqa: BLE001  # no error in here may let anybody in
                self._handler_error = f"{type(error).__name__}: {error}"[:200]
                self._counters.count("handshake-errors")
                self._note(f"the authentication handler failed: {self._handler_error}", _ERROR)

    def _answer(self, frames: list[bytes], now_ns: int) -> None:
        envelope, _, _, request, domain, address, _, mechanism, *given = frames
        allowed, public = False, ""
        if mechanism == b"CURVE" and len(given) == 1:
            public = z85.encode(given[0]).decode("ascii")
            allowed = self._admit(public, domain.decode("ascii"), address.decode(), now_ns)
        status = b"200" if allowed else b"400"
        user = public.encode("ascii") if allowed else b""
        assert self.socket is not None
        self.socket.send_multipart(
            [envelope, b"", b"1.0", request, status, b"", user, b""], zmq.NOBLOCK
        )

    def _admit(self, public: str, domain: str, address: str, now_ns: int) -> bool:
        who = self.who(public)
        if who is None:
            reason, whose = Reason.UNKNOWN_KEY, f"an unknown key ({fingerprint(public)})"
        elif not may_connect(domain, who):
            roles = ", ".join(sorted(role.value for role in who.roles))
            reason, whose = Reason.NOT_ALLOWED, f"{who} with the role {roles}"
        elif self.conduct.is_banned(public, now_ns):
            reason, whose = Reason.BANNED, f"{who}, banned for bad frames"
        else:
            return True
        self._counters.refused(domain, reason)
        self.note_denied(public, domain, f"{whose} from {address} was not let in at {domain}")
        return False

    def note_denied(self, public: str, domain: str, text: str) -> None:
        """Notes who was turned away, once a minute for each key and door."""
        known = (public, domain)
        if self._look_ns - self._noted_ns.get(known, -DENIAL_NOTED_NS) < DENIAL_NOTED_NS:
            return
        if len(self._noted_ns) >= MAX_MISBEHAVING:
            self._noted_ns.clear()
        self._noted_ns[known] = self._look_ns
        self._note(text, logging.WARNING)

    # The list ---------------------------------------------------------------------------------

    def look(self, now_ns: int) -> KeysChanged | None:
        """Takes a changed list or key, if a second has passed since the last look."""
        if now_ns - self._look_ns < LOOK_EVERY_NS:
            return None
        self._look_ns = now_ns
        if not self.on or self._stamp() == self._seen:
            return None
        with suppress(UserError):  # noted, and in the status
            return self.reload("a change of the file")
        return None

    def reload(self, by: str) -> KeysChanged:
        """Reads key and list now. Raises UserError if they cannot be used; nothing changes then."""
        if not self.on:
            raise UserError("this pair uses no keys ([security] is not in its configuration)")
        self._seen = self._stamp()
        try:
            pair, ring = self._read()
        except UserError as error:
            if str(error) != self._error:
                self._note(f"the keys stay as they were: {error}", _ERROR)
            self._error = str(error)
            raise
        found = [text[:MAX_TEXT_CHARS] for text in changes(self.ring, ring)]
        renewed = pair != self.pair
        self.to_reopen |= frozenset(DOORS) if renewed else doors_to_reopen(self.ring, ring)
        if renewed:
            found.append(f"node {self._node} has the key {fingerprint(pair.public)} from now on")
        self.pair, self.ring, self._error = pair, ring, ""
        for text in found:
            self._note(f"keys, by {by}: {text}", logging.WARNING)
        if len(found) > MAX_KEY_CHANGES:
            more = len(found) - MAX_KEY_CHANGES + 1
            found = [*found[: MAX_KEY_CHANGES - 1], f"and {more} more"]
        return KeysChanged(ring.digest, found, by, self.may_produce, renewed)

    def started(self, known_digest: str) -> KeysChanged | None:
        """What the log is told at a start: the list is another one than this node last knew."""
        if not self.on or self.ring.digest == known_digest:
            return None
        text = f"node {self._node} starts with the list {self.ring.digest}: " + ", ".join(
            f"{len(entry.public)} of {name}" for name, entry in sorted(self.ring.entries.items())
        )
        return KeysChanged(self.ring.digest, [text[:900]], "a start of the node", self.may_produce)

    def _read(self) -> tuple[KeyPair, KeyRing]:
        assert self._folder is not None
        pair = read_pair(self._folder / f"{self._node}{KEY_SUFFIX}")
        ring = read_ring(self._folder / FILE)
        if pair.public not in ring.server_keys(self._node):
            raise UserError(
                f"{self._folder / FILE} does not allow the key of node {self._node} "
                f"({fingerprint(pair.public)}) as a peer; allow it with: interlock keys new"
            )
        return pair, ring

    def _stamp(self) -> tuple[int, ...]:
        """Differs when a file was changed."""
        assert self._folder is not None
        found: list[int] = []
        for name in (FILE, f"{self._node}{KEY_SUFFIX}"):
            try:
                status = (self._folder / name).stat()
                found += [status.st_mtime_ns, status.st_ino, status.st_size, status.st_mode]
            except OSError:
                found += [0]
        return tuple(found)

    def status(self, now_ns: int) -> SecurityStatus | None:
        """For the node's status; None: no keys are used."""
        if self.pair is None:
            return None
        if self.socket is None or self.socket.closed:
            self._handler_error = "the authentication handler is gone: nobody new is let in"
        banned = [
            str(self.ring.by_key.get(peer, "an unknown key"))
            for peer in self.conduct.banned(now_ns)
            if isinstance(peer, str)
        ]
        return SecurityStatus(
            fingerprint(self.pair.public),
            self.ring.digest,
            len(self.ring.by_key),
            banned,
            self._error or self._handler_error,
        )


_ERROR: Final = logging.ERROR
