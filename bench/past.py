"""What a long log costs when somebody comes back to it: a node that restarts, a consumer that reads
from the beginning, a standby that lost its disk; and what they cost those who are there.

Decides how each begins and when it has caught up. The live load is an open loop, so its p99 counts
every stall.
"""

from __future__ import annotations

import multiprocessing
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from threading import Thread

import msgspec
import zmq

from ..client import Consumer
from ..shared.credentials import credentials
from ..shared.errors import InterlockError
from ..shared.operations import Operation
from ..shared.wire import HEADER_BYTES
from .collect import Collector
from .growth import RECORD
from .operator import operate
from .pair import Nodes
from .raw import RawSession
from .result import RunResult
from .run import run_on
from .scenario import Load, Scenario

LIVE_RATE = 10_000.0
CATCH_UP_S = 120.0
LOOK_S = 0.05
MIB = 1024 * 1024


class Restart(msgspec.Struct, frozen=True):
    """Both nodes ended in good order and started again: how long until the pair is gated, and until
    a producer has its first confirmation, from the start of the processes."""

    messages: int
    gated_s: float
    confirmed_s: float


class Late(msgspec.Struct, frozen=True):
    """Somebody catches up beside a live load: how fast, and the load's p99 before and meanwhile.

    `per_s`: messages; `complete`: whether it ended while it was watched.
    """

    per_s: float
    mb_per_s: float
    p99_before_us: float
    p99_meanwhile_us: float
    complete: bool = True

    @property
    def p99_ratio(self) -> float:
        return round(self.p99_meanwhile_us / max(0.1, self.p99_before_us), 2)


def restart(nodes: Nodes) -> Restart:
    """Restarts both nodes of a pair that nobody uses."""
    status = nodes.status(nodes.primary)
    length = status.watermarks.released_seq if status else 0
    nodes.end(nodes.primary)
    nodes.end(nodes.secondary)
    begin = time.monotonic()
    nodes.start_both()
    gated_s = time.monotonic() - begin
    with zmq.Context() as context:
        endpoint, who = nodes.config.node(nodes.primary).intake, credentials(nodes.config)
        producer = RawSession(context, endpoint, "restart", who)
        producer.say_hello(nodes.config.cluster)
        producer.await_welcome(1, 128)
        producer.submit(time.monotonic_ns())
        producer.wait(Collector())
        confirmed_s = time.monotonic() - begin
        producer.socket.close(linger=0)
    return Restart(length, round(gated_s, 3), round(confirmed_s, 3))


def live(seconds: float) -> Scenario:
    return Scenario(
        load=Load.OPEN,
        rate=LIVE_RATE,
        consumers=1,
        seconds=seconds,
        warm_up_s=min(1.0, seconds / 3),
    )


def _read_all(path: str, pipe: Connection) -> None:
    """The main of the late consumer: reads from the beginning until it has caught up, or until it
    is told to end."""
    read = taken = 0
    with Consumer(path, from_seq=1) as consumer:
        begin = end = time.monotonic()
        Thread(target=_close_when_told, args=(pipe, consumer), daemon=True).start()
        for message in consumer:
            read += 1
            taken += len(message.body)
            if read % RECORD == 0:
                end = time.monotonic()
                if message.seq + RECORD > consumer.head:
                    break
        pipe.send((read, taken, max(LOOK_S, end - begin)))


def _close_when_told(pipe: Connection, consumer: Consumer) -> None:
    pipe.recv()
    consumer.close()


def late_consumer(nodes: Nodes, seconds: float) -> Late:
    """A consumer of the SDK that reads the log from seq 1 while a live load runs."""
    before = run_on(nodes, live(seconds), "before")
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    process = spawn.Process(target=_read_all, args=(nodes.config.path, theirs), daemon=True)
    process.start()
    try:
        meanwhile = run_on(nodes, live(seconds), "meanwhile")
        complete = ours.poll()
        ours.send(None)
        if not ours.poll(CATCH_UP_S):
            raise InterlockError("the late consumer has ended without a report")
        read, taken, took_s = ours.recv()
    finally:
        process.kill()
        process.join()
    return Late(
        round(read / took_s),
        round(taken / took_s / MIB, 1),
        before.rtt.p99,
        meanwhile.rtt.p99,
        complete,
    )


def rejoining_standby(nodes: Nodes, seconds: float, size: int = 128) -> Late:
    """The standby loses its disk; the primary goes on in solo under a live load, and the standby
    comes back with nothing, on another disk. Leaves the standby stopped."""
    nodes.end(nodes.secondary)
    nodes.wait_for_state(nodes.primary, "STALLED")
    operate(nodes, Operation.SOLO, nodes.primary)
    before = run_on(nodes, live(seconds), "solo")
    with _another_disk(nodes.config.data_dir(nodes.secondary)):
        return _catch_up(nodes, before, seconds, size)


@contextmanager
def _another_disk(data: Path) -> Iterator[None]:
    """Empties a node's directory and puts it on a file system in memory, as the other node's disk
    is none of its business on a machine of its own: with one disk for both, the syncs for which a
    primary in solo waits queue behind what the standby writes. Where there is no room for that, it
    stays where it was."""
    used = sum(file.stat().st_size for file in data.glob("*"))
    shutil.rmtree(data)
    memory = Path("/dev/shm")  # noqa: S108
    if not memory.is_dir() or shutil.disk_usage(memory).free < 2 * used:
        yield
        return
    with tempfile.TemporaryDirectory(prefix="interlock-bench-", dir=memory) as other:
        data.symlink_to(other)
        yield


def _catch_up(nodes: Nodes, before: RunResult, seconds: float, size: int) -> Late:
    samples: list[tuple[float, int]] = []
    watching = Thread(target=_watch_catch_up, args=(nodes, samples), daemon=True)
    nodes.start(nodes.secondary)
    watching.start()
    meanwhile = run_on(nodes, live(seconds), "back")
    watching.join(CATCH_UP_S)
    nodes.wait_until_gated()
    nodes.end(nodes.secondary)
    moving = _moving(samples)
    messages = moving[-1][1] - moving[0][1]
    took_s = max(LOOK_S, moving[-1][0] - moving[0][0])
    record_bytes = HEADER_BYTES / RECORD + size + 2
    return Late(
        round(messages / took_s),
        round(messages * record_bytes / took_s / MIB, 1),
        before.rtt.p99,
        meanwhile.rtt.p99,
        not watching.is_alive(),
    )


def _watch_catch_up(nodes: Nodes, samples: list[tuple[float, int]]) -> None:
    """Notes how far the standby has come, until the pair is gated."""
    end = time.monotonic() + CATCH_UP_S
    while time.monotonic() < end:
        status = nodes.status(nodes.secondary)
        if status is not None:
            samples.append((time.monotonic(), status.watermarks.written_seq))
            if status.state == "IN_SYNC":
                return
        time.sleep(LOOK_S)


def _moving(samples: list[tuple[float, int]]) -> list[tuple[float, int]]:
    """From the last sample before it moved to the first at which it had caught up."""
    if not samples:
        raise InterlockError("the standby did not say how far it had come")
    first = next((at for at, (_, seq) in enumerate(samples) if seq > samples[0][1]), 1)
    return samples[max(0, first - 1) :]
