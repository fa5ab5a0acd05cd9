"""Too much of something: bad frames, connections, bytes; from those who have a key and those who
have none. The pair goes on, and the node's status says what it has turned away.
"""

from __future__ import annotations

import contextlib
import random
import resource
import socket as tcp
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import msgspec
import pytest
import zmq
from golden import control as golden_control
from golden import messages as golden_messages

from interlock import Producer
from interlock.shared.errors import Reason
from interlock.shared.keyring import Entry, KeyRole
from interlock.shared.keys import KeyPair, new_pair
from interlock.shared.limits import (
    MAX_BAD_FRAMES,
    MAX_FRAME_BYTES,
    MAX_SMALL_FRAME_BYTES,
    MAX_SUBMISSION_BYTES,
)
from interlock.shared.messages import Head, ReplayChunk, encode
from interlock.shared.wire import MAGIC
from support.attackers import (
    DENIED,
    DOORS,
    GOOD,
    IN,
    PUBLISHING,
    REPLIES,
    SOCKETS,
    Caller,
    Guarded,
)
from support.pair import (
    PATIENCE_S,
    endpoint,
    host_and_port,
    key,
    refused,
    status,
    wait_for,
)

FRAMES = 10_000
ROUND = MAX_BAD_FRAMES - 2  # from one key, before it would be banned
ANSWERING = [door for door in DOORS if door[1] not in PUBLISHING]
ROLES = {
    "intake": (KeyRole.PRODUCER, KeyRole.OPERATOR),
    "link": (KeyRole.PEER,),
    "feed": (KeyRole.CONSUMER, KeyRole.OPERATOR),
    "replay": (KeyRole.CONSUMER, KeyRole.OPERATOR),
    "control": (KeyRole.OBSERVER, KeyRole.OPERATOR, KeyRole.APPROVER, KeyRole.PEER),
    "telemetry": (KeyRole.OBSERVER, KeyRole.OPERATOR, KeyRole.APPROVER),
}
LARGEST = {
    "intake": MAX_SUBMISSION_BYTES,
    "link": MAX_FRAME_BYTES,
    "replay": MAX_SMALL_FRAME_BYTES,
    "control": MAX_SMALL_FRAME_BYTES,
}
ENCRYPTION_BYTES = 33  # that CURVE adds to a frame
IDLE = 2_000
OPEN_FILES = 15_000  # a node divides what it may have among its six sockets
SLOW = 200
NULL_GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x01NULL" + bytes(48)
CURVE_GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x01CURVE" + bytes(47)


pytestmark = pytest.mark.usefixtures("the_pair_goes_on")


def entry(role: KeyRole, public: str) -> Entry:
    return Entry([role], [public], ["x-*"] if role is KeyRole.PRODUCER else [])


@pytest.fixture(scope="module")
def crowd(guarded: Guarded) -> dict[str, list[KeyPair]]:
    """For each socket as many keys as it takes to send FRAMES without being banned; they have all
    the roles that may come in there, in turn."""
    rounds = -(-FRAMES // ROUND)
    made: dict[str, list[KeyPair]] = {}
    entries: dict[str, Entry | None] = {}
    for socket in SOCKETS:
        for index in range(rounds if socket not in PUBLISHING else len(ROLES[socket])):
            pair = new_pair(f"{socket}-{index}")
            role = ROLES[socket][index % len(ROLES[socket])]
            entries[pair.name] = entry(role, pair.public)
            made.setdefault(socket, []).append(pair)
    guarded.change(entries)
    return made


# Frames ---------------------------------------------------------------------------------------


def seeds() -> list[bytes]:
    """All messages that there are, of a cluster that is not this one: nothing is to be obeyed."""
    vectors = msgspec.json.decode(golden_messages.FILE.read_bytes())
    found = [bytes.fromhex(vector["hex"]) for vector in vectors]
    assert any(golden_control.CLUSTER.encode() in frame for frame in found)
    return found


def mutated(frame: bytes, draw: random.Random) -> bytes:
    data = bytearray(frame)
    for _ in range(draw.randrange(4)):
        data[draw.randrange(len(data))] = draw.randrange(256)
    return bytes(data)


def noise(frames: list[bytes], draw: random.Random) -> list[bytes]:
    """A message of one or two frames: random bytes, or a message with some of them changed."""
    if draw.random() < 0.3:
        return [draw.randbytes(draw.randrange(100))]
    return [mutated(draw.choice(frames), draw) for _ in range(draw.choice((1, 1, 1, 2)))]


def test_frames_of_those_who_have_a_key_are_refused_one_by_one(
    guarded: Guarded, crowd: dict[str, list[KeyPair]]
) -> None:
    """On every socket that answers, of both nodes, from every role that may come in there."""
    frames, draw = seeds(), random.Random(7)
    before = {door: malformed(guarded, *door) for door in ANSWERING}
    for index in range(len(crowd["intake"])):
        with ExitStack() as stack:
            callers = {
                (node, socket): stack.enter_context(
                    guarded.call(node, socket, crowd[socket][index])
                )
                for node, socket in ANSWERING
            }
            for one in callers.values():
                for _ in range(ROUND):
                    one.send(*noise(frames, draw))
            for door, one in callers.items():
                assert one.outcome() == IN, f"expected {door} to let round {index} in"
                hear_out(one, door[1])
    for door in ANSWERING:
        found = malformed(guarded, *door) - before[door]
        assert found > FRAMES // 2, f"expected most of {FRAMES} to be counted at {door}: {found}"


def malformed(guarded: Guarded, node: str, socket: str) -> int:
    return refused(guarded.pair, node, key(socket, Reason.MALFORMED))


def hear_out(one: Caller, socket: str) -> None:
    """Takes the answers to a round: each frame has one. On replay what waits for its reader is
    bounded and dropped beyond that, so there the end is what answers a good request."""
    if socket != "replay":
        for _ in range(ROUND):
            one.answer(socket)
        return

    def is_heard() -> bool:
        one.send(GOOD["replay"])
        while (frame := one.hears(0.2)) is not None:
            if isinstance(REPLIES["replay"].decode(frame), ReplayChunk):
                return True
        return False

    wait_for("an answer to a good request after the round", is_heard)


@pytest.mark.parametrize("node", ["a", "b"])
def test_frames_to_a_publisher_change_nothing(
    guarded: Guarded, crowd: dict[str, list[KeyPair]], node: str
) -> None:
    frames, draw = seeds(), random.Random(8)
    for socket in PUBLISHING:
        for pair in crowd[socket]:
            with guarded.call(node, socket, pair, kind=zmq.XSUB) as one:
                assert one.outcome() == IN
                for _ in range(FRAMES // len(crowd[socket])):
                    one.send(*noise(frames, draw))
        if (node, socket) == ("b", "feed"):
            continue  # the standby releases nothing
        with guarded.call(node, socket, crowd[socket][0]) as reader:
            frame = reader.hears(PATIENCE_S)
            assert frame is not None, f"expected {socket} to be published as before"
            is_known = frame.startswith((MAGIC, encode(Head("", "a", 1, 1))[:6], b"\x92\xa6status"))
            assert is_known, f"expected a record, a head or a status, got {frame[:20]!r}"


@pytest.mark.parametrize("socket", ["intake", "replay", "control"])
def test_who_sends_nothing_else_is_banned_and_dropped(guarded: Guarded, socket: str) -> None:
    """The status names the key; it is not let in again while that lasts, and nobody else is kept
    out."""
    roles = {"intake": KeyRole.PRODUCER, "replay": KeyRole.CONSUMER, "control": KeyRole.OPERATOR}
    pair, name = new_pair(f"spams-{socket}"), f"spams-{socket}"
    guarded.change({name: entry(roles[socket], pair.public)})
    frames, draw = seeds(), random.Random(socket)
    with guarded.call("a", socket, pair) as one:
        assert one.outcome() == IN
        one.socket.setsockopt(zmq.SNDTIMEO, 0)

        def is_cut_off() -> bool:
            with contextlib.suppress(zmq.Again):  # no connection takes it: it has ended
                for _ in range(1_000):
                    one.send(draw.randbytes(30), *noise(frames, draw))
            return one.is_gone()

        wait_for("the flood to be cut off", is_cut_off)
        assert one.outcome() == DENIED, "expected a banned key not to be let in again"
    found = status(guarded.pair, "a")
    assert found.security is not None
    banned = found.security.banned
    assert any(f"key {name} (" in who for who in banned), f"expected {name} in {banned}"
    assert found.counters["bans"] >= 1
    assert found.counters["doors-reopened"] >= 1
    assert found.refused[key(socket, Reason.BANNED)] >= 1
    guarded.wait_for_event("a", f"key {name} (", f"sent too many bad frames to {socket}")


# Large ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("node", "socket"), ANSWERING)
def test_what_is_too_large_ends_the_connection_and_what_is_too_long_is_refused(
    guarded: Guarded, node: str, socket: str
) -> None:
    name = f"large-{node}-{socket}"
    pair = new_pair(name)
    guarded.change({name: entry(ROLES[socket][0], pair.public)})
    with guarded.call(node, socket, pair) as one:
        assert one.outcome() == IN
        one.send(*[b""] * 1_000)
        assert "1000 frames; expected one" in one.refused(socket, Reason.MALFORMED)
        largest = LARGEST[socket] - ENCRYPTION_BYTES
        one.send(bytes(largest))
        one.refused(socket, Reason.MALFORMED)
        one.send(bytes(largest + 1))
        one.wait_until_gone()
        assert one.outcome() == IN, "expected it to be let in again"


# Without a key --------------------------------------------------------------------------------


def hello_command(draw: random.Random) -> bytes:
    """The first command of a CURVE handshake, whose box nobody can open."""
    body = b"\x05HELLO\x01\x00" + bytes(72) + draw.randbytes(32 + 8 + 80)
    return b"\x04" + bytes([len(body)]) + body


def streams(draw: random.Random) -> Iterator[bytes]:
    """Bytes that are hardly a handshake: nearly right, cut short, or with FRAMES behind it."""
    ready = b"\x04\x19\x05READY\x0bSocket-Type\x00\x00\x00\x06DEALER"
    yield NULL_GREETING + ready + b"\x00\x05noise" * FRAMES
    yield CURVE_GREETING + hello_command(draw) + b"\x00\x05noise" * FRAMES
    yield b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
    yield draw.randbytes(5_000)
    yield CURVE_GREETING + b"\x06\xff\xff\xff\xff\xff\xff\xff\xff"
    yield CURVE_GREETING + b"\x04\xff" + draw.randbytes(255)
    for _ in range(20):
        yield mutated(CURVE_GREETING + hello_command(draw), draw) + draw.randbytes(50)
        yield CURVE_GREETING[: draw.randrange(64)]


def is_closed(one: tcp.socket) -> bool:
    """Whether the other end has given the connection up."""
    try:
        while data := one.recv(65_536):
            del data
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def wait_until_closed(connections: list[tcp.socket]) -> None:
    left = list(connections)

    def all_closed() -> bool:
        left[:] = [one for one in left if not is_closed(one)]
        return not left

    wait_for(f"{len(left)} connections to be given up by the nodes", all_closed)


def dial(guarded: Guarded, stack: ExitStack, node: str, socket: str) -> tcp.socket:
    where = host_and_port(endpoint(guarded.pair.config, node, socket))
    one = stack.enter_context(tcp.create_connection(where, PATIENCE_S))
    one.setblocking(False)
    return one


def test_bytes_of_those_who_have_no_key_are_dropped_with_their_connection(
    guarded: Guarded,
) -> None:
    """At every socket of both nodes."""
    draw = random.Random(9)
    names = {(node, socket): key(socket, Reason.UNKNOWN_KEY) for node, socket in DOORS}
    before = {door: refused(guarded.pair, door[0], name) for door, name in names.items()}
    with ExitStack() as stack:
        opened = []
        for door in DOORS:
            for data in streams(draw):
                one = dial(guarded, stack, *door)
                with contextlib.suppress(OSError):
                    one.sendall(data)
                opened.append(one)
        wait_until_closed(opened)
    for door, name in names.items():
        found = refused(guarded.pair, door[0], name) - before[door]
        assert found >= 5, f"expected {name} to be counted by node {door[0]}: {found}"


# Connections ----------------------------------------------------------------------------------


@pytest.fixture
def _many_files() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < OPEN_FILES:
        pytest.skip(f"{OPEN_FILES} open files are needed, and {hard} are allowed here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def open_files(guarded: Guarded, node: str) -> int:
    return sum(1 for _ in Path(f"/proc/{guarded.pair.processes[node].pid}/fd").iterdir())


def assert_lets_clients_in(guarded: Guarded, name: str) -> None:
    """A producer that comes now is served, and the status is told."""
    with Producer(name, guarded.pair.config) as producer:
        assert producer.send(b"meanwhile").result(PATIENCE_S)
    assert status(guarded.pair, "a").state == "GATED"


@pytest.mark.usefixtures("_many_files")
def test_idle_connections_keep_nobody_out(guarded: Guarded) -> None:
    """Two thousand to the intake and to control; the node gets rid of them by itself."""
    before = open_files(guarded, "a")
    with ExitStack() as stack:
        opened, most = [], 0
        for number in range(IDLE):
            opened += [dial(guarded, stack, "a", socket) for socket in ("intake", "control")]
            if number % 50 == 49:
                most = max(most, open_files(guarded, "a") - before)
        # The first ones are given up while the last ones come, on a slow machine most of them.
        assert most > IDLE // 10, f"expected hundreds to be open at once, saw {most}"
        assert_lets_clients_in(guarded, "while-idle")
        guarded.traffic.wait_for_more()
        wait_until_closed(opened)
    wait_for("a to have closed them", lambda: open_files(guarded, "a") < before + 50)


def test_slow_handshakes_keep_nobody_out(guarded: Guarded) -> None:
    """A greeting a byte at a time, on many connections, is given up before it has ended."""
    with ExitStack() as stack:
        slow = [
            dial(guarded, stack, "a", socket)
            for _ in range(SLOW)
            for socket in ("intake", "control")
        ]
        sent = 0
        while slow:
            assert sent < len(CURVE_GREETING), f"expected {len(slow)} to be given up by now"
            for one in slow:
                with contextlib.suppress(OSError):
                    one.send(CURVE_GREETING[sent : sent + 1])
            sent += 1
            guarded.traffic.wait_for_more(30)
            if sent % 20 == 0:
                assert_lets_clients_in(guarded, f"while-slow-{sent}")
            slow = [one for one in slow if not is_closed(one)]
