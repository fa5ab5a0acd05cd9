"""Real nodes for tests: pairs with quick timing, raw sockets to them, and patience with a deadline.

Decides nothing of the protocol. What a test waits for is a predicate, never a time.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

import zmq

from interlock import Consumer, Producer
from interlock.cli.embedded import EmbeddedPair
from interlock.cli.init import FILE, render
from interlock.client.control import ask_node
from interlock.client.local import free_ports
from interlock.shared.config import AckLevel, Config
from interlock.shared.errors import Reason
from interlock.shared.journal import diff
from interlock.shared.messages import Message, encode
from interlock.shared.sockets import make_socket
from interlock.shared.telemetry import NodeStatus

T = TypeVar("T")
PATIENCE_S = 15.0

# Quick, so that a test that waits for a time-out of the link does not wait long; small segments, so
# that comparing journals is quick as well.
SETTINGS = {
    "heartbeat_ms": 50,
    "link_timeout_ms": 400,
    "telemetry_interval_ms": 50,
    "segment_bytes": 2 * 1024 * 1024,
}


def write_config(path: Path, level: AckLevel = AckLevel.WRITTEN, **settings: int) -> None:
    """The configuration of a new pair on free ports of loopback, as `interlock init` words it."""
    text = render(str(uuid4()), ("a", "b"), "127.0.0.1", free_ports(), level)
    for key, value in {**SETTINGS, **settings}.items():
        text, found = re.subn(rf"(?m)^{key} = \S+", f"{key} = {value}", text)
        assert found == 1, f"there is no setting {key}"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")


@contextmanager
def pair_of(
    directory: Path, nodes: str = "ab", level: AckLevel = AckLevel.WRITTEN, **settings: int
) -> Iterator[EmbeddedPair]:
    """A new pair in `directory`, of which `nodes` are started; both: once the pair is gated."""
    write_config(directory / FILE, level, **settings)
    with EmbeddedPair(directory) as pair:
        for name in nodes:
            pair.start(name)
        for name in nodes:
            wait_for(f"node {name} to answer", lambda name=name: ask(pair, name))
        if nodes == "ab":
            pair.wait_until_gated()
        yield pair


def wait_for(what: str, look: Callable[[], T], seconds: float = PATIENCE_S) -> T:
    """The first true value that `look` returns. Fails after `seconds`, saying what was waited for
    and what was seen last."""
    end = time.monotonic() + seconds
    while not (seen := look()):
        assert time.monotonic() < end, f"waited {seconds:g} s for {what}; seen last: {seen!r}"
        time.sleep(0.01)
    return seen


# Status ---------------------------------------------------------------------------------------


def ask(pair: EmbeddedPair, name: str) -> NodeStatus | None:
    """What a node says of itself; None if it does not answer. Fails if its process has ended."""
    process = pair.processes[name]
    assert process.poll() is None, f"node {name} ended:\n{pair.log(name)}"
    return ask_node(pair.config, name, 1.0)


def status(pair: EmbeddedPair, name: str) -> NodeStatus:
    found = ask(pair, name)
    assert found is not None, f"node {name} does not answer:\n{pair.log(name)}"
    return found


def wait_for_state(pair: EmbeddedPair, name: str, state: str, why: str = "") -> NodeStatus:
    """Waits until a node is in `state`, for a reason that contains `why`."""

    def look() -> NodeStatus | None:
        found = ask(pair, name)
        return found if found and found.state == state and why in found.why else None

    return wait_for(f"node {name} to be {state} {why!r}", look)


def refused(pair: EmbeddedPair, name: str, key: str) -> int:
    """How many messages node `name` has counted as refused under "socket.reason"."""
    return status(pair, name).refused.get(key, 0)


@contextmanager
def counted(pair: EmbeddedPair, name: str, key: str, times: int = 1) -> Iterator[None]:
    """Fails unless the block made node `name` count `times` more refusals under `key`."""
    before = refused(pair, name, key)
    yield
    wait_for(
        f"{times} more of {key} on node {name}, {before} before",
        lambda: refused(pair, name, key) >= before + times,
    )
    assert refused(pair, name, key) == before + times, f"{key} was counted too often"


# What has to go on, whatever was sent -----------------------------------------------------------


def assert_serves(pair: EmbeddedPair, body: bytes = b"after all that") -> int:
    """A message that is submitted now is confirmed, delivered, and the same on both disks.

    The nodes must be the processes that they were at first. Returns the message's seq.
    """
    assert [status(pair, name).incarnation for name in "ab"] == [1, 1], "a node was restarted"
    pair.wait_until_gated()
    with Producer("witness", pair.config) as producer:
        seq = producer.send(body).result(PATIENCE_S)
    with Consumer(pair.config, from_seq=seq) as consumer:
        message = consumer.next(PATIENCE_S)
    assert (message.seq, message.producer, message.body) == (seq, "witness", body)
    assert_identical(pair)
    return seq


def assert_identical(pair: EmbeddedPair) -> None:
    """Both journals hold the same. Ticks go on meanwhile, so one may be ahead for a moment."""
    one, two = (pair.config.data_dir(name) for name in "ab")
    wait_for("both journals to be identical", lambda: diff(one, two).identical)


# Sockets --------------------------------------------------------------------------------------


class Raw:
    """A socket of a test's own. A context manager; whatever is not sent at its end is dropped."""

    def __init__(
        self, endpoint: str, kind: int = zmq.DEALER, *, bind: bool = False, hwm: int = 1_000
    ) -> None:
        self.socket = make_socket(zmq.Context.instance(), kind, max_bytes=-1, hwm=hwm)
        self.endpoint = endpoint
        if bind:
            self.socket.bind(endpoint)
        else:
            self.socket.connect(endpoint)

    def send(self, *frames: bytes | Message) -> None:
        """One message of these frames."""
        self.socket.send_multipart(
            [encode(frame) if isinstance(frame, Message) else frame for frame in frames]
        )

    def frames(self, seconds: float = PATIENCE_S) -> list[bytes] | None:
        """The next message; None if none comes."""
        if not self.socket.poll(int(seconds * 1000)):
            return None
        return self.socket.recv_multipart()

    def receive(self, codec: Any, seconds: float = PATIENCE_S) -> Any:
        """The next message, decoded. Fails if none comes."""
        frames = self.frames(seconds)
        assert frames is not None, f"{self.endpoint} did not answer"
        return codec.decode(frames[-1])

    def __enter__(self) -> Raw:
        return self

    def __exit__(self, *error: object) -> None:
        self.socket.close(linger=0)


def endpoint(config: Config, name: str, socket: str) -> str:
    """The endpoint of a node's socket, by the socket's name."""
    found: str = getattr(config.node(name), socket)
    return found


def host_and_port(endpoint: str) -> tuple[str, int]:
    host, _, port = endpoint.removeprefix("tcp://").rpartition(":")
    return host, int(port)


def key(socket: str, reason: Reason) -> str:
    """The name under which a node counts a refusal."""
    return f"{socket}.{reason.value}"


# Commands -------------------------------------------------------------------------------------


def command(*arguments: object) -> list[str]:
    """The command line of `interlock ...`, as a process of its own."""
    return [sys.executable, "-P", "-m", "interlock", *map(str, arguments)]


def run(*arguments: object, seconds: float = 20) -> subprocess.CompletedProcess[str]:
    """Runs `interlock ...` to its end, which must come within `seconds`."""
    return subprocess.run(
        command(*arguments), capture_output=True, text=True, timeout=seconds, check=False
    )


def mistake(*arguments: object) -> str:
    """What `interlock ...` complains about: one sentence, exit code 2, no traceback."""
    done = run(*arguments)
    complaints = [line for line in done.stderr.splitlines() if line.startswith("interlock: ")]
    assert done.returncode == 2, done.stderr
    assert len(complaints) == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    return complaints[0].removeprefix("interlock: ")


def resident_bytes(pid: int) -> int:
    """The memory that a process holds."""
    pages = int(Path(f"/proc/{pid}/statm").read_text("ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def start_as(pair: EmbeddedPair, role: str, name: str, config: Path | None = None) -> None:
    """Starts a node of the pair as `interlock ROLE --node NAME`, with another file if one is given;
    its log goes where that of `pair.start` goes."""
    line = command(role, "-c", config or pair.config.path, "--node", name)
    with (pair.directory / f"{name}.log").open("ab") as log:
        pair.processes[name] = subprocess.Popen(
            line, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
