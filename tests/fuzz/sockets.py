"""Mutated frames and bytes on the sockets of a running pair, which has to go on serving.

Decides nothing about what a node answers. After each round a message is confirmed and delivered by
the same two processes, and both journals are the same. A seed repeats what was sent, not when.
"""

from __future__ import annotations

import contextlib
import random
import socket
import subprocess
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import zmq
from golden import control as golden_control

from interlock.cli.embedded import EmbeddedPair
from interlock.shared.config import SOCKETS
from support.pair import Raw, assert_serves, command, endpoint, host_and_port, pair_of

from .targets import seeds

FRAMES = 300  # of a round
# A frame of one of these, were it of this very cluster, would be an order that is to be followed.
ORDERS = {b"peer-yield", b"link-hello"}
GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x01NULL" + bytes(48)


def fuzz_sockets(seconds: int, seed: int) -> bool:
    """False if the pair did not stand it; why is printed."""
    draw, sent, rounds = random.Random(seed), 0, 0
    end = time.monotonic() + seconds
    try:
        with TemporaryDirectory() as own, pair_of(Path(own)) as pair:
            frames = [_adapted(frame, pair.config.cluster) for frame in seeds("messages")]
            while time.monotonic() < end:
                sent += _round(pair, frames, draw)
                rounds += 1
                assert_serves(pair)
            pair.stop()
            directories = [pair.config.data_dir(name) for name in "ab"]
            for words in (["verify", *directories], ["diff", *directories]):
                subprocess.run(command("log", *words), check=True, stdout=subprocess.DEVNULL)
    except (AssertionError, subprocess.CalledProcessError) as error:
        print(f"sockets: seed {seed}, round {rounds + 1}: {error}")
        return False
    print(f"sockets: {sent:,} frames and streams in {rounds} rounds; the pair served after each")
    return True


def _adapted(frame: bytes, cluster: str) -> bytes:
    """The frame as for this cluster, so that it passes the first check; no orders are given."""
    name = msgspec.msgpack.decode(frame)[0].encode()
    known = golden_control.CLUSTER.encode()
    return frame if name in ORDERS else frame.replace(known, cluster.encode())


def _round(pair: EmbeddedPair, frames: list[bytes], draw: random.Random) -> int:
    for name in "ab":
        for kind in SOCKETS:
            place = endpoint(pair.config, name, kind)
            if kind in ("feed", "telemetry"):
                with Raw(place, zmq.XSUB) as raw:
                    _send(raw, frames, draw, FRAMES // 10)
            else:
                with Raw(place) as raw:
                    _send(raw, frames, draw, FRAMES)
            _stream(place, draw)
    return 2 * (4 * FRAMES + 2 * (FRAMES // 10) + len(SOCKETS))


def _send(raw: Raw, frames: list[bytes], draw: random.Random, count: int) -> None:
    raw.socket.setsockopt(zmq.SNDTIMEO, 1_000)
    for _ in range(count):
        parts = [mutated(draw.choice(frames), draw) for _ in range(draw.choice((1, 1, 1, 2)))]
        with contextlib.suppress(zmq.Again):  # a node that does not take more is free to
            raw.send(*parts)
    while raw.frames(0.02):  # answers, whatever they are: who reads none is cut off soon
        pass


def mutated(frame: bytes, draw: random.Random) -> bytes:
    """The frame with some of its bytes changed, cut out or doubled; at times as it is."""
    data = bytearray(frame)
    for _ in range(draw.choice((0, 1, 1, 2, 5))):
        start = draw.randrange(len(data) + 1)
        end = min(len(data), start + draw.choice((0, 1, 1, 4, 30)))
        data[start:end] = draw.choice(
            (draw.randbytes(draw.randrange(5)), data[start:end] * 2, b"\xff" * (end - start))
        )
    return bytes(data)


def _stream(place: str, draw: random.Random) -> None:
    """Bytes that are hardly ZeroMQ's: a greeting, mostly, and then anything."""
    begin = draw.choice((GREETING, mutated(GREETING, draw), b""))
    with contextlib.suppress(OSError), socket.create_connection(host_and_port(place), 5) as one:
        one.sendall(begin + draw.randbytes(draw.randrange(300)))
