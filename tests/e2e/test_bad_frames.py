"""Whatever bytes come on whatever socket of a running pair: the sender is told why, the reason is
counted, and the pair goes on as if nothing had come.

After each test a good message is confirmed and delivered, by the same two processes, and both
journals are the same.
"""

from __future__ import annotations

import random
import socket as tcp
from collections.abc import Callable, Iterator

import msgspec
import pytest
import zmq
from zmq.utils.monitor import recv_monitor_message

from interlock.cli.embedded import EmbeddedPair
from interlock.shared.commands import ControlReply, GetStatus, Status
from interlock.shared.errors import Reason
from interlock.shared.limits import (
    MAX_BAD_FRAMES,
    MAX_FRAME_BYTES,
    MAX_SMALL_FRAME_BYTES,
    MAX_SUBMISSION_BYTES,
    MAX_SUBSCRIPTION_BYTES,
)
from interlock.shared.messages import (
    PROTOCOL_VERSION,
    Codec,
    Confirmed,
    Head,
    IntakeReply,
    LinkFromPrimary,
    LinkHello,
    Message,
    ProducerBye,
    ProducerHello,
    ProducerWelcome,
    Refused,
    ReplayChunk,
    ReplayRefused,
    ReplayReply,
    ReplayRequest,
    Submit,
    encode,
)
from interlock.shared.wire import GENESIS, MAGIC, Kind, encode_messages, encode_record
from support.pair import (
    Raw,
    assert_serves,
    counted,
    endpoint,
    host_and_port,
    key,
    pair_of,
    status,
    wait_for,
)

# The sockets that answer. Nobody dials the standby's link, but it is open, and says so.
ANSWERING = [
    ("a", "intake"),
    ("a", "link"),
    ("a", "replay"),
    ("a", "control"),
    ("b", "intake"),
    ("b", "link"),
    ("b", "replay"),
    ("b", "control"),
]
PUBLISHING = [("a", "feed"), ("a", "telemetry"), ("b", "telemetry")]
SILENT = [("b", "feed")]  # the standby releases nothing

GOOD: dict[str, Message] = {
    "intake": ProducerHello(PROTOCOL_VERSION, "", "p", 7, False),
    "link": LinkHello(PROTOCOL_VERSION, "", "b", 1, 1, [], GENESIS, 0, "written"),
    "replay": ReplayRequest(PROTOCOL_VERSION, "", 1, 1, 1000),
    "control": GetStatus(PROTOCOL_VERSION),
}
ANSWERS: dict[str, Message] = {
    "intake": Confirmed(7, 1, []),
    "link": Head("", "a", 1, 1),
    "replay": ReplayChunk(1, "", "a", 1, 1, memoryview(b"")),
    "control": ReplayRefused(1, Reason.MALFORMED, "", 1, 1),
}
REPLIES: dict[str, Codec[Message]] = {
    "intake": Codec(IntakeReply),
    "link": Codec(LinkFromPrimary),
    "replay": Codec(ReplayReply),
    "control": Codec(ControlReply),
}
FRAME_BYTES = {
    "intake": MAX_SUBMISSION_BYTES,
    "link": MAX_FRAME_BYTES,
    "replay": MAX_SMALL_FRAME_BYTES,
    "control": MAX_SMALL_FRAME_BYTES,
}


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPair]:
    with pair_of(tmp_path_factory.mktemp("pair")) as started:
        yield started


@pytest.fixture(autouse=True)
def _the_pair_goes_on(pair: EmbeddedPair) -> Iterator[None]:
    yield
    assert_serves(pair)


def connected(pair: EmbeddedPair, node: str, socket: str, kind: int = zmq.DEALER) -> Raw:
    return Raw(endpoint(pair.config, node, socket), kind)


def reason_of(reply: Message) -> Reason:
    assert isinstance(reply, Refused | ReplayRefused), reply
    assert reply.text
    return reply.reason


def changed(socket: str, change: Callable[[list[object]], object]) -> bytes:
    """The good message of a socket as a plain array, after `change` to it."""
    fields = msgspec.msgpack.decode(encode(GOOD[socket]))
    change(fields)
    return msgspec.msgpack.encode(fields)


def no_messages(socket: str) -> dict[str, list[bytes]]:
    """Frames that are no message of `socket`, by what is wrong with them."""
    good = encode(GOOD[socket])
    others = [encode(message) for name, message in GOOD.items() if name != socket]
    record, _ = encode_record(
        Kind.DATA, 1, 1, 1, b"p".ljust(16, b"\0"), 1, 1, encode_messages([b"x"]), 0
    )
    return {
        "an empty frame": [b""],
        "one byte": [b"\x91"],
        "a message cut short": [good[:-1]],
        "a byte too many": [good + b"\0"],
        "two messages in one frame": [good + good],
        "an unknown name": [msgspec.msgpack.encode(["no-such-message", 1])],
        "a very long unknown name": [msgspec.msgpack.encode(["z" * 50_000, 1])],
        "a name that is a number": [changed(socket, lambda fields: fields.__setitem__(0, 1))],
        "a field too few": [changed(socket, list.pop)],
        "a field too many": [changed(socket, lambda fields: fields.append(1))],
        "a field of another type": [changed(socket, lambda fields: fields.__setitem__(1, [1]))],
        "a float for a number": [changed(socket, lambda fields: fields.__setitem__(1, 1.0))],
        "a map": [msgspec.msgpack.encode({"version": PROTOCOL_VERSION})],
        "text that is not UTF-8": [good[:1] + b"\xa2\xff\xfe" + good[2:]],
        "JSON": [msgspec.json.encode(GOOD[socket])],
        "a record": [record],
        "the beginning of a record": [MAGIC],
        "an array that claims to be endless": [b"\xdd\xff\xff\xff\xff"],
        "arrays in arrays in arrays": [b"\x91" * 100_000],
        "a message that this socket sends": [encode(ANSWERS[socket])],
        "two frames": [good, good],
        "an empty frame before the message": [b"", good],
        "no bytes in a thousand frames": [b""] * 1_000,
        **{f"a message of another socket, {n}": [other] for n, other in enumerate(others)},
    }


@pytest.mark.parametrize(("node", "socket"), ANSWERING)
def test_what_is_no_message_is_refused_as_malformed(
    pair: EmbeddedPair, node: str, socket: str
) -> None:
    bad = no_messages(socket)
    malformed = key(socket, Reason.MALFORMED)
    with connected(pair, node, socket) as raw, counted(pair, node, malformed, len(bad)):
        for what, frames in bad.items():
            raw.send(*frames)
            assert reason_of(raw.receive(REPLIES[socket])) is Reason.MALFORMED, what


@pytest.mark.parametrize(("node", "socket"), ANSWERING)
def test_random_bytes_are_refused_as_malformed(pair: EmbeddedPair, node: str, socket: str) -> None:
    """Pure noise, and good messages with a few bytes changed: those may happen to be messages,
    which are then answered as such. From one connection no more than a node listens to."""
    draw = random.Random(f"{node}.{socket}")
    good = encode(GOOD[socket])
    frames = MAX_BAD_FRAMES - 1
    with (
        connected(pair, node, socket) as raw,
        counted(pair, node, key(socket, Reason.MALFORMED), frames),
    ):
        for _ in range(frames):
            raw.send(draw.randbytes(draw.randrange(300)))
            assert reason_of(raw.receive(REPLIES[socket])) is Reason.MALFORMED
    with connected(pair, node, socket) as raw:
        for _ in range(frames):
            noisy = bytearray(good)
            for _ in range(draw.randrange(1, 4)):
                noisy[draw.randrange(len(good))] = draw.randrange(256)
            raw.send(bytes(noisy))
            raw.receive(REPLIES[socket])


@pytest.mark.parametrize(("node", "socket"), ANSWERING)
def test_a_connection_that_sends_too_many_of_them_is_not_listened_to(
    pair: EmbeddedPair, node: str, socket: str
) -> None:
    """Each is answered up to the bound; then neither a bad frame nor a good one is. The status says
    so, and whoever else asks is answered."""
    bans = status(pair, node).counters.get("bans", 0)
    with connected(pair, node, socket) as raw, connected(pair, node, socket) as other:
        with counted(pair, node, key(socket, Reason.MALFORMED), MAX_BAD_FRAMES):
            for _ in range(MAX_BAD_FRAMES):
                raw.send(b"noise")
                assert reason_of(raw.receive(REPLIES[socket])) is Reason.MALFORMED
            raw.send(b"noise")
            raw.send(GOOD[socket])
            other.send(GOOD[socket])
            assert other.frames() is not None, "another connection was not answered"
        assert raw.frames(0) is None, "a connection that is banned was answered"
        found = status(pair, node)
        assert found.counters.get("bans", 0) == bans + 1, "the ban was not counted"
        assert any("too many bad frames" in event for event in found.events), found.events


@pytest.mark.parametrize(("node", "socket"), ANSWERING)
def test_a_frame_above_the_bound_ends_the_connection_and_nothing_else(
    pair: EmbeddedPair, node: str, socket: str
) -> None:
    """The largest frame is read and refused; one byte more, and libzmq hangs up before it holds the
    frame. The sender can connect again."""
    largest = FRAME_BYTES[socket]
    with connected(pair, node, socket) as raw:
        monitor = raw.socket.get_monitor_socket(zmq.EVENT_DISCONNECTED)
        with counted(pair, node, key(socket, Reason.MALFORMED)):
            raw.send(bytes(largest))
            assert reason_of(raw.receive(REPLIES[socket])) is Reason.MALFORMED
        assert not monitor.poll(0)
        raw.send(bytes(largest + 1))
        assert monitor.poll(10_000), "the connection was not ended"
        assert recv_monitor_message(monitor)["event"] == zmq.EVENT_DISCONNECTED
        raw.socket.disable_monitor()

        def answered() -> list[bytes] | None:  # what is sent while reconnecting may be lost
            raw.send(GOOD[socket])
            return raw.frames(0.2)

        assert wait_for("an answer on a new connection", answered)


def is_heard(socket: str, frame: bytes) -> bool:
    if socket == "telemetry":
        return isinstance(Codec[Status](Status).decode(frame), Status)
    return frame.startswith(MAGIC) or isinstance(Codec[Head](Head).decode(frame), Head)


@pytest.mark.parametrize(("node", "socket"), PUBLISHING)
def test_a_publisher_does_not_mind_what_its_subscribers_say(
    pair: EmbeddedPair, node: str, socket: str
) -> None:
    draw = random.Random(socket)
    with (
        connected(pair, node, socket, zmq.SUB) as subscriber,
        connected(pair, node, socket, zmq.XSUB) as noisy,
    ):
        subscriber.socket.setsockopt(zmq.SUBSCRIBE, b"")
        for _ in range(300):
            noisy.send(draw.randbytes(draw.randrange(200)))
        noisy.send(b"\x01", b"\x01", b"more")
        noisy.send(b"\x00never subscribed")
        for _ in range(3):
            frames = subscriber.frames()
            assert frames is not None
            assert len(frames) == 1
            assert is_heard(socket, frames[0])


@pytest.mark.parametrize(("node", "socket"), PUBLISHING + SILENT)
def test_a_long_subscription_ends_the_connection(
    pair: EmbeddedPair, node: str, socket: str
) -> None:
    """libzmq keeps a subscription in a tree, at about 100 bytes of memory for each of its bytes: a
    single one of 8 MiB made a node grow by 800 MiB."""
    with connected(pair, node, socket, zmq.XSUB) as raw:
        monitor = raw.socket.get_monitor_socket(zmq.EVENT_DISCONNECTED)
        raw.send(b"\x01" + bytes(MAX_SUBSCRIPTION_BYTES + 100))
        assert monitor.poll(10_000), "the connection was not ended"
        raw.socket.disable_monitor()


def open_endpoints(pair: EmbeddedPair) -> list[tuple[str, int]]:
    return [
        host_and_port(endpoint(pair.config, node, socket))
        for node, socket in ANSWERING + PUBLISHING + SILENT
    ]


def test_what_is_not_even_zeromq_is_dropped(pair: EmbeddedPair) -> None:
    draw = random.Random(1)
    greeting = b"\xff" + bytes(8) + b"\x7f\x03\x00NULL" + bytes(16 + 32)
    noise = [
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        draw.randbytes(5_000),
        bytes(5_000),
        greeting[:11],
        greeting + draw.randbytes(1_000),
        greeting + b"\x04\xff" + b"\x05READY" + draw.randbytes(1_000),
        greeting + b"\x06\xff\xff\xff\xff\xff\xff\xff\xff",
    ]
    for address in open_endpoints(pair):
        for data in noise:
            with tcp.create_connection(address, 5) as connection:
                connection.sendall(data)


def test_idle_connections_do_not_hinder_the_pair(pair: EmbeddedPair) -> None:
    """Each holds a descriptor of the node until the handshake is given up."""
    addresses = open_endpoints(pair)
    idle = [tcp.create_connection(addresses[n % len(addresses)], 5) for n in range(300)]
    try:
        assert_serves(pair, b"while they are idle")
    finally:
        for connection in idle:
            connection.close()


def test_telemetry_tells_what_was_refused(pair: EmbeddedPair) -> None:
    """Not only to who asks: the published status has the same counts."""
    with (
        connected(pair, "a", "telemetry", zmq.SUB) as subscriber,
        connected(pair, "a", "replay") as raw,
    ):
        subscriber.socket.setsockopt(zmq.SUBSCRIBE, b"")
        before = subscriber.receive(Codec(Status)).status.refused
        raw.send(b"\xc1")
        raw.receive(REPLIES["replay"])
        malformed = key("replay", Reason.MALFORMED)

        def published() -> bool:
            told = subscriber.receive(Codec(Status)).status.refused
            return bool(told.get(malformed, 0) == before.get(malformed, 0) + 1)

        wait_for("telemetry to count the refusal", published)


def test_a_welcomed_producer_is_served_beside_the_noise(pair: EmbeddedPair) -> None:
    """Noise between the messages of one connection costs that connection nothing."""
    with connected(pair, "a", "intake") as raw:
        raw.send(ProducerHello(PROTOCOL_VERSION, pair.config.cluster, "beside", 77, False))
        assert isinstance(raw.receive(REPLIES["intake"]), ProducerWelcome)
        for number in range(1, 51):
            raw.send(b"noise", b"noise")
            assert reason_of(raw.receive(REPLIES["intake"])) is Reason.MALFORMED
            raw.send(Submit(77, 1, number, 1, msgspec.Raw(encode_messages([b"%d" % number]))))
            reply = raw.receive(REPLIES["intake"])
            assert isinstance(reply, Confirmed)
            assert [run.producer_seq for run in reply.runs] == [number]
        raw.send(ProducerBye(77))
