"""The floor: the gated path's four hops with bare sockets, and how far above it the pair is.

client > primary > standby > primary > client, three processes, `size` bytes there and back, one
message in flight. The relays do nothing but receive and send, so the difference to the pair is what
sequencing, two journals, the gate and the SDK cost.

    python -m interlock.bench.floor                 the floor alone
    python -m interlock.bench.floor --pair          floor and pair in turn, and the ratio
"""

from __future__ import annotations

import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from typing import Annotated, Any

import typer
import zmq

WARM_UP = 500


@dataclass(frozen=True)
class Rtt:
    """Round-trip times of one run, in microseconds."""

    p50: float
    p99: float


def _receive(socket: zmq.Socket[Any], spins: bool) -> bytes:
    """The next message. `spins`: looks again and again until it is there, yielding the core."""
    if spins:
        at = [(socket, int(zmq.POLLIN))]
        while not zmq.zmq_poll(at, 0):
            os.sched_yield()
    return socket.recv()


def _standby(ports: Connection, spins: bool) -> None:
    with zmq.Context() as context, context.socket(zmq.PAIR) as upstream:
        ports.send(upstream.bind_to_random_port("tcp://127.0.0.1"))
        while message := _receive(upstream, spins):
            upstream.send(message)


def _primary(ports: Connection, standby_port: int, spins: bool) -> None:
    with zmq.Context() as context:
        client, standby = context.socket(zmq.PAIR), context.socket(zmq.PAIR)
        standby.connect(f"tcp://127.0.0.1:{standby_port}")
        ports.send(client.bind_to_random_port("tcp://127.0.0.1"))
        while True:
            message = _receive(client, spins)
            standby.send(message)
            if not message:
                break
            client.send(_receive(standby, spins))
        standby.close(linger=1_000)
        client.close(linger=0)


def floor(messages: int, size: int) -> Rtt:
    """Runs the relay for so many round trips and returns what they took."""
    samples = sorted(_relay(size, lambda count: count < messages + WARM_UP)[WARM_UP:])
    return Rtt(samples[len(samples) // 2] / 1_000, samples[len(samples) * 99 // 100] / 1_000)


def timed(seconds: float, size: int, spins: bool = False) -> list[int]:
    """Runs the relay for so long, after a warm-up; the round trips in nanoseconds, in order.

    `spins`: nobody parks in a receive, but for libzmq's own threads.
    """
    end = 0.0

    def goes_on(count: int) -> bool:
        nonlocal end
        if count == WARM_UP:
            end = time.monotonic() + seconds
        return count <= WARM_UP or time.monotonic() < end

    return _relay(size, goes_on, spins)[WARM_UP:]


def _relay(size: int, goes_on: Callable[[int], bool], spins: bool = False) -> list[int]:
    """Round trips, while `goes_on` says so of how many there were."""
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    standby = spawn.Process(target=_standby, args=(theirs, spins), daemon=True)
    standby.start()
    primary = spawn.Process(target=_primary, args=(theirs, ours.recv(), spins), daemon=True)
    primary.start()
    payload = b"x" * size
    samples: list[int] = []
    with zmq.Context() as context, context.socket(zmq.PAIR) as socket:
        socket.connect(f"tcp://127.0.0.1:{ours.recv()}")
        while goes_on(len(samples)):
            begin = time.perf_counter_ns()
            socket.send(payload)
            _receive(socket, spins)
            samples.append(time.perf_counter_ns() - begin)
        socket.send(b"")  # an empty message ends the relays
        socket.setsockopt(zmq.LINGER, 1_000)
    primary.join(5)
    standby.join(5)
    return samples


def pair(messages: int, size: int) -> Rtt:
    """Runs `interlock demo` in a closed loop once and returns its round-trip times."""
    command = [sys.executable, "-m", "interlock", "demo", "--headless", "--closed-loop", "--json"]
    command += ["--messages", str(messages), "--size", str(size)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    if run.returncode:
        raise SystemExit(f"the demo failed: {run.stderr or run.stdout}")
    report: dict[str, Any] = json.loads(run.stdout)
    return Rtt(report["rtt_us"]["p50"], report["rtt_us"]["p99"])


def main(
    messages: Annotated[int, typer.Option(help="Round trips of each run.")] = 20_000,
    size: Annotated[int, typer.Option(help="Bytes of each message.")] = 128,
    rounds: Annotated[int, typer.Option(help="Runs of each kind, in turn.")] = 3,
    with_pair: Annotated[bool, typer.Option("--pair", help="Measure the pair beside it.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Measure the raw four-hop relay, and with --pair the gated pair beside it."""
    floors, pairs = [], []
    for _ in range(rounds):
        floors.append(floor(messages, size))
        if with_pair:
            pairs.append(pair(messages, size))
    report: dict[str, Any] = {"messages": messages, "size_bytes": size, "rounds": rounds}
    report["floor_us"] = asdict(_median(floors))
    if pairs:
        report["pair_us"] = asdict(_median(pairs))
        ratios = [two.p50 / one.p50 for one, two in zip(floors, pairs, strict=True)]
        report["p50_ratio"] = round(statistics.median(ratios), 2)
    if as_json:
        print(json.dumps(report))
        return
    for name in ("floor_us", "pair_us"):
        if name in report:
            print(f"{name:9} p50 {report[name]['p50']:8.1f}   p99 {report[name]['p99']:8.1f}")
    if pairs:
        print(f"p50 of the pair is {report['p50_ratio']} times the floor (median of {rounds})")


def _median(runs: list[Rtt]) -> Rtt:
    return Rtt(statistics.median(r.p50 for r in runs), statistics.median(r.p99 for r in runs))


if __name__ == "__main__":
    typer.run(main)
