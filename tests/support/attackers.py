"""Those who do not belong on a pair with keys, as real sockets; and the pair that they meet.

Decides no rule of the product: who is let in and what is answered is seen from outside. A good
producer and a good consumer are at work all the time, and after each attack they must have gone on.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import zmq
from zmq.utils.monitor import parse_monitor_message

from interlock.cli.embedded import EmbeddedPair
from interlock.cli.init import FILE
from interlock.cli.keys import security_text
from interlock.cli.keystore import KeyStore
from interlock.client.control import ControlClient
from interlock.shared.commands import ControlReply, GetStatus
from interlock.shared.credentials import credentials
from interlock.shared.errors import Reason
from interlock.shared.keyring import Entry, KeyRole
from interlock.shared.keys import KeyPair, new_pair, read_pair
from interlock.shared.messages import (
    PROTOCOL_VERSION,
    Codec,
    IntakeReply,
    LinkFromPrimary,
    LinkHello,
    Message,
    ProducerHello,
    Refused,
    ReplayRefused,
    ReplayReply,
    ReplayRequest,
    encode,
)
from interlock.shared.sockets import make_socket
from interlock.shared.wire import GENESIS
from support.pair import PATIENCE_S, endpoint, key, refused, status, wait_for, write_config
from support.traffic import Traffic, assert_one_history

SOCKETS = ("intake", "link", "feed", "replay", "control", "telemetry")
PUBLISHING = ("feed", "telemetry")
DOORS = [(node, socket) for node in "ab" for socket in SOCKETS]

# What would be answered at each door, if it came from somebody who may ask it.
GOOD: dict[str, Message] = {
    "intake": ProducerHello(PROTOCOL_VERSION, "", "mallory", 7, False),
    "link": LinkHello(PROTOCOL_VERSION, "", "b", 1, 1, [], GENESIS, 0, "written"),
    "replay": ReplayRequest(PROTOCOL_VERSION, "", 1, 1, 1000),
    "control": GetStatus(PROTOCOL_VERSION),
}
REPLIES: dict[str, Codec[Any]] = {
    "intake": Codec(IntakeReply),
    "link": Codec(LinkFromPrimary),
    "replay": Codec(ReplayReply),
    "control": Codec(ControlReply),
}

# What a handshake came to, as the one who dialled sees it.
IN, DENIED, FAILED = "let in", "denied by its key", "failed"
_OUTCOMES = {
    int(zmq.EVENT_HANDSHAKE_SUCCEEDED): IN,
    int(zmq.EVENT_HANDSHAKE_FAILED_AUTH): DENIED,
    int(zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL): FAILED,
    int(zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL): FAILED,
}
_GONE = int(zmq.EVENT_DISCONNECTED)


class Caller:
    """A socket of a test's own, with any key or none. A context manager."""

    def __init__(
        self,
        where: str,
        kind: int,
        pair: KeyPair | None,
        server: str,
        routing_id: bytes = b"",
    ) -> None:
        self.endpoint = where
        self.socket = make_socket(zmq.Context.instance(), kind, max_bytes=-1, hwm=0)
        if pair is not None:
            self.socket.setsockopt(zmq.CURVE_PUBLICKEY, pair.public.encode("ascii"))
            self.socket.setsockopt(zmq.CURVE_SECRETKEY, pair.secret.encode("ascii"))
            self.socket.setsockopt(zmq.CURVE_SERVERKEY, server.encode("ascii"))
        if routing_id:
            self.socket.setsockopt(zmq.ROUTING_ID, routing_id)
        if kind == zmq.SUB:
            self.socket.setsockopt(zmq.SUBSCRIBE, b"")
        watched = _GONE
        for event in _OUTCOMES:
            watched |= event
        self._events = self.socket.get_monitor_socket(watched)
        self.socket.connect(where)

    def outcome(self, seconds: float = PATIENCE_S) -> str:
        """What the next handshake came to."""
        return self._next_event(_OUTCOMES, seconds)

    def wait_until_gone(self, seconds: float = PATIENCE_S) -> None:
        """Waits until the connection has ended."""
        self._next_event({_GONE: "gone"}, seconds)

    def is_gone(self) -> bool:
        """Whether the connection has ended by now; true once for each end."""
        return self._event({_GONE: "gone"}, 0) is not None

    def _next_event(self, wanted: dict[int, str], seconds: float) -> str:
        found = self._event(wanted, seconds)
        assert found, f"{self.endpoint}: none of {set(wanted.values())} in {seconds:g} s"
        return found

    def _event(self, wanted: dict[int, str], seconds: float) -> str | None:
        """The next event of these; others before it are dropped."""
        end = time.monotonic() + seconds
        while self._events.poll(max(0, int((end - time.monotonic()) * 1000))):
            event = int(parse_monitor_message(self._events.recv_multipart())["event"])
            if event in wanted:
                return wanted[event]
        return None

    def send(self, *frames: bytes | Message) -> None:
        """One message of these frames."""
        self.socket.send_multipart(
            [encode(frame) if isinstance(frame, Message) else frame for frame in frames]
        )

    def hears(self, seconds: float = 0) -> bytes | None:
        """The next frame that comes; None if none does."""
        if not self.socket.poll(int(seconds * 1000)):
            return None
        return self.socket.recv_multipart()[-1]

    def ask(self, socket: str, message: Message) -> Any:
        """The answer to a message, decoded as that socket's. Fails if none comes."""
        self.send(message)
        return self.answer(socket)

    def answer(self, socket: str) -> Any:
        """The next answer. Fails if none comes."""
        frame = self.hears(PATIENCE_S)
        assert frame is not None, f"expected an answer of {self.endpoint}, and none came"
        return REPLIES[socket].decode(frame)

    def refusal(self, socket: str, message: Message, reason: Reason) -> str:
        """The text of the refusal that the message must meet."""
        self.send(message)
        return self.refused(socket, reason)

    def refused(self, socket: str, reason: Reason) -> str:
        """The text of the next answer, which must be this refusal."""
        reply = self.answer(socket)
        assert isinstance(reply, Refused | ReplayRefused), f"expected a refusal, got {reply}"
        assert reply.reason is reason, f"expected {reason}, got {reply}"
        return reply.text

    def close(self) -> None:
        self.socket.disable_monitor()
        self._events.close()
        self.socket.close(linger=0)

    def __enter__(self) -> Caller:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


class Guarded:
    """A running pair with keys, its list of keys, and the good traffic on it."""

    def __init__(self, pair: EmbeddedPair, traffic: Traffic) -> None:
        self.pair = pair
        self.traffic = traffic
        self.store = KeyStore(pair.config)
        self.control = ControlClient(pair.config)
        self.operator = credentials(pair.config, operator=True).name
        self.node_keys = {node: self.own(node).public for node in "ab"}

    # Keys -----------------------------------------------------------------------------------------

    def allow(self, name: str, *roles: KeyRole, producers: list[str] | None = None) -> KeyPair:
        """A new key, which both nodes know from now on. Its secret is where `--key` looks."""
        pair = self.store.make(name)
        self.change({name: Entry(list(roles), [pair.public], producers or [])})
        return pair

    def change(self, entries: dict[str, Entry | None]) -> None:
        """Changes the list and has both nodes take it; None: the name is not allowed any more."""
        with self.store.changing() as known:
            for name, entry in entries.items():
                if entry is None:
                    del known[name]
                else:
                    known[name] = entry
        self.reload()

    def reload(self) -> None:
        for node in "ab":
            self.control.reload_keys(node)

    def own(self, name: str) -> KeyPair:
        """The key pair of a name whose secret is on this machine."""
        return read_pair(self.store.path_of(name))

    # Callers --------------------------------------------------------------------------------------

    def call(
        self,
        node: str,
        socket: str,
        pair: KeyPair | None,
        *,
        server: str = "",
        routing_id: bytes = b"",
        kind: int = 0,
    ) -> Caller:
        """Dials a socket with a key, expecting the node's own key if no other is given."""
        expected = server or self.node_keys[node]
        usual = zmq.SUB if socket in PUBLISHING else zmq.DEALER
        where = endpoint(self.pair.config, node, socket)
        return Caller(where, kind or usual, pair, expected, routing_id)

    # What has become of the pair ------------------------------------------------------------------

    @contextmanager
    def counted(self, node: str, socket: str, reason: Reason, times: int = 1) -> Iterator[None]:
        """Fails unless the block made the node's status count at least so many more refusals."""
        name = key(socket, reason)
        before = refused(self.pair, node, name)
        yield
        wait_for(
            f"{times} more of {name} in the status of node {node}, {before} before",
            lambda: refused(self.pair, node, name) >= before + times,
        )

    def wait_for_event(self, node: str, *parts: str) -> None:
        """Waits until the node's status tells of an event that contains all of `parts`."""

        def told() -> bool:
            return any(
                all(part in event for part in parts) for event in status(self.pair, node).events
            )

        wait_for(f"an event of node {node} that tells of {parts}", told)

    def assert_goes_on(self) -> None:
        """The good client is served, by the same two processes; the pair is gated."""
        self.traffic.wait_for_more()
        self.pair.wait_until_gated()
        for name in "ab":
            assert status(self.pair, name).incarnation == 1, f"node {name} was restarted"


def stranger() -> KeyPair:
    """A key that nobody allows."""
    return new_pair("stranger")


@contextmanager
def guarded_pair(directory: Path) -> Iterator[Guarded]:
    """A gated pair with keys under good traffic. At the end all of that must have been delivered
    once, and both journals be sound and the same. A link that is patient: on a busy machine it is
    not to break for another reason than an attack."""
    path = directory / FILE
    write_config(path, link_timeout_ms=3_000)
    path.write_text(path.read_text("utf-8") + security_text("ab"), "utf-8")
    with EmbeddedPair(directory) as pair:
        for name in "ab":
            pair.start(name)
        pair.wait_until_gated()
        with Traffic(pair.config, rate=500.0) as traffic:
            guarded = Guarded(pair, traffic)
            yield guarded
            assert traffic.finish() > 0
            for name in "ab":
                assert status(pair, name).incarnation == 1, f"node {name} was restarted"
        assert_one_history(pair)
