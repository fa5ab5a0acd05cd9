"""What a good client notices while others attack the pair: its round trips, quiet and under each.

Decides the attacks and what is asked of them: nothing is lost, and the release latency of the good
client stays bounded. The pair uses keys; an attacker has a valid one where its attack needs that.
Each attack runs in a process of its own, as fast as it can.

    python -m interlock.bench.attacks                  all attacks, as a table
    python -m interlock.bench.attacks --seconds 5 --only bad-frames
"""

from __future__ import annotations

import json
import multiprocessing
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Annotated

import msgspec
import typer
import zmq

from ..client import Consumer, Producer
from ..client.control import ask_status
from ..shared.config import Config, load_config
from ..shared.credentials import credentials
from ..shared.messages import PROTOCOL_VERSION, ReplayRequest, encode
from ..shared.sockets import make_socket
from .latency import Histogram, Latency
from .pair import Nodes

IDLE_CONNECTIONS = 2_000
SIZE = 128
ATTACKER = "attacker"


class Attacked(msgspec.Struct, frozen=True):
    """The good client's round trips under one attack, and what the primary has refused."""

    attack: str
    latency: Latency
    refused: dict[str, int]


def _allow_attacker(config: Config) -> None:
    """A key of its own: who misbehaves is banned by its key."""
    command = [sys.executable, "-P", "-m", "interlock", "keys", "new", ATTACKER, "-c", config.path]
    command += ["--role", "producer", "--producer", "flood", "--role", "consumer"]
    subprocess.run(command, check=True, capture_output=True)


def _port(config: Config) -> tuple[str, int]:
    host, _, port = config.node(config.pair.primary).intake.removeprefix("tcp://").rpartition(":")
    return host, int(port)


def idle_connections(path: str) -> None:
    """Connects and says nothing, again and again."""
    where = _port(load_config(path))
    held: list[socket.socket] = []
    while True:
        with suppress(OSError):
            held.append(socket.create_connection(where, timeout=0.2))
        if len(held) >= IDLE_CONNECTIONS:
            for one in held:
                one.close()
            held.clear()


def slow_handshakes(path: str) -> None:
    """Sends a greeting a byte at a time, on many connections."""
    where = _port(load_config(path))
    greeting = b"\xff" + b"\0" * 8 + b"\x7f\x03\x00CURVE" + b"\0" * 47
    held = [(socket.create_connection(where), 0) for _ in range(200)]
    while True:
        for index, (one, sent) in enumerate(held):
            try:
                one.sendall(greeting[sent % 64 : sent % 64 + 1])
                held[index] = (one, sent + 1)
            except OSError:
                one.close()
                held[index] = (socket.create_connection(where), 0)
        time.sleep(0.01)


def unknown_keys(path: str) -> None:
    """Shakes hands with a new key each time, eight connections at once."""
    config = load_config(path)
    endpoint = config.node(config.pair.primary).intake
    server = credentials(config, key=ATTACKER).expected(endpoint)
    context = zmq.Context()
    while True:
        made = []
        for _ in range(8):
            one = make_socket(context, zmq.DEALER)
            public, secret = zmq.curve_keypair()
            one.setsockopt(zmq.CURVE_PUBLICKEY, public)
            one.setsockopt(zmq.CURVE_SECRETKEY, secret)
            one.setsockopt(zmq.CURVE_SERVERKEY, server.encode("ascii"))
            one.connect(endpoint)
            made.append(one)
        time.sleep(0.02)
        for one in made:
            one.close()


def bad_frames(path: str) -> None:
    """An allowed application sends what is no message, as fast as it can."""
    config = load_config(path)
    one = make_socket(zmq.Context(), zmq.DEALER)
    credentials(config, key=ATTACKER).connect(one, config.node(config.pair.primary).intake)
    while True:
        one.send(secrets.token_bytes(100))


def flood(path: str) -> None:
    """An allowed application submits as much as its window lets it."""
    with Producer("flood", path, window=1_000_000, records_in_flight=256, key=ATTACKER) as producer:
        while True:
            producer.send(b"x" * 1_000)


def replay(path: str) -> None:
    """An allowed application asks for the whole log, without end and without waiting."""
    config = load_config(path)
    one = make_socket(zmq.Context(), zmq.DEALER)
    credentials(config, key=ATTACKER).connect(one, config.node(config.pair.primary).replay)
    request = encode(ReplayRequest(PROTOCOL_VERSION, "", 1, 1, 1 << 20))
    while True:
        for _ in range(16):
            one.send(request)
        while one.poll(20):
            one.recv()


def sleeper(path: str) -> None:
    """Subscribes to the feed and never reads, on many connections."""
    config = load_config(path)
    context = zmq.Context()
    for _ in range(16):
        one = make_socket(context, zmq.SUB, hwm=1)
        one.setsockopt(zmq.SUBSCRIBE, b"")
        credentials(config, key=ATTACKER).connect(one, config.node(config.pair.primary).feed)
    flood(path)


ATTACKS: dict[str, Callable[[str], None]] = {
    "idle-connections": idle_connections,
    "slow-handshakes": slow_handshakes,
    "unknown-keys": unknown_keys,
    "bad-frames": bad_frames,
    "flood": flood,
    "replay": replay,
    "sleeper": sleeper,
}


def measure(pair: Nodes, name: str, seconds: float) -> Attacked:
    """Round trips of one message at a time, while the attack runs; "quiet": without one."""
    spawn = multiprocessing.get_context("spawn")
    attacker = None
    if name in ATTACKS:
        attacker = spawn.Process(target=ATTACKS[name], args=(pair.config.path,), daemon=True)
        attacker.start()
        time.sleep(1.0)
    found = Histogram()
    try:
        with Producer(f"good-{name}"[:16], pair.config) as producer:
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                begun_ns = time.perf_counter_ns()
                producer.send(b"g" * SIZE).result(timeout=30)
                found.record(time.perf_counter_ns() - begun_ns)
    finally:
        if attacker is not None:
            attacker.kill()
            attacker.join()
    status = ask_status(pair.config)[pair.config.pair.primary]
    return Attacked(name, found.latency(), status.refused if status else {})


def check_log(pair: Nodes, messages: int) -> int:
    """The good client's messages in the log, each once and in order: how many."""
    seen: dict[str, int] = {}
    with Consumer(pair.config) as consumer:
        while sum(seen.values()) < messages:
            message = consumer.next(timeout=30)
            if message.producer.startswith("good"):
                seen[message.producer] = seen.get(message.producer, 0) + 1
                if message.producer_seq != seen[message.producer]:
                    raise SystemExit(f"{message.producer}: {message.producer_seq} is out of order")
    return sum(seen.values())


def main(
    seconds: Annotated[float, typer.Option(help="Seconds of each attack.")] = 5.0,
    only: Annotated[str, typer.Option(help="One attack; default: all.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Measure what a good client notices of each attack."""
    names = [only] if only else list(ATTACKS)
    with Nodes() as pair:
        _allow_attacker(pair.config)
        pair.start_both()
        found = [measure(pair, name, seconds) for name in ("quiet", *names)]
        kept = check_log(pair, sum(each.latency.count for each in found))
    if as_json:
        print(json.dumps(msgspec.to_builtins(found)))
        return
    quiet = found[0].latency
    print(f"{'':18}{'p50 us':>9}{'p99 us':>10}{'max us':>11}{'p99/quiet':>11}   round trips")
    for each in found:
        one = each.latency
        print(
            f"{each.attack:18}{one.p50:9.0f}{one.p99:10.0f}{one.max:11.0f}"
            f"{one.p99 / quiet.p99:11.1f}   {one.count}"
        )
    print(f"{kept} messages of the good client are in the log, each once, in order")


if __name__ == "__main__":
    typer.run(main)
