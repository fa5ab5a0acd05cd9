"""How the cost of a message grows: with the log's length, and with producers, consumers and size.

Decides what is varied and what is held: records of 256 where the rate itself is the question,
otherwise a fixed rate far below saturation, so that CPU per message compares.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import zmq

from ..shared.credentials import credentials
from .collect import Collector
from .pair import Nodes
from .raw import RawSession
from .result import RunResult
from .run import run, run_on
from .scenario import Client, Load, Scenario

RECORD = 256
IN_FLIGHT = 16
CALM_RATE = 20_000.0  # messages per second, for what is compared at one rate
Tell = Callable[[str], None]


class Point(msgspec.Struct, frozen=True):
    """One value of what is varied, and what was found there. CPU in microseconds per message of
    the primary and of the secondary; RSS in MiB at the end."""

    x: int
    per_s: float
    p50_us: float
    p99_us: float
    primary_us: float
    secondary_us: float
    primary_rss_mb: float
    secondary_rss_mb: float


class Series(msgspec.Struct, frozen=True):
    """A row of points. `load`: what was the same for all of them."""

    what: str
    load: str
    points: list[Point]


def point(x: int, found: RunResult) -> Point:
    primary, secondary = found.processes["primary"], found.processes["secondary"]
    return Point(
        x,
        found.per_s,
        found.rtt.p50,
        found.rtt.p99,
        primary.us_per_message,
        secondary.us_per_message,
        primary.rss_mb[1],
        secondary.rss_mb[1],
    )


def fill(nodes: Nodes, messages: int, size: int = 128) -> None:
    """Adds so many messages to the log, in records of 256, as fast as the pair takes them."""
    with zmq.Context() as context:
        endpoint = nodes.config.node(nodes.primary).intake
        producer = RawSession(context, endpoint, "fill", credentials(nodes.config))
        producer.say_hello(nodes.config.cluster)
        producer.await_welcome(RECORD, size)
        collector, left = Collector(), max(0, -(-messages // RECORD))
        while left or producer.in_flight:
            while left and len(producer.in_flight) < IN_FLIGHT:
                producer.submit(time.monotonic_ns())
                left -= 1
            producer.wait(collector)
        producer.socket.close(linger=0)


def by_log_length(
    nodes: Nodes, lengths: Sequence[int], seconds: float, size: int = 128, tell: Tell = print
) -> Series:
    """On one pair whose log grows to each length in turn; a measured run follows there, and is the
    reason why the next length may be exceeded already."""
    load = saturated(size, seconds)
    points, length = [], 0
    for wanted in lengths:
        tell(f"a log of {wanted:,} messages")
        fill(nodes, wanted - length, size)
        begun_at = max(wanted, length)
        found = run_on(nodes, load, f"at{wanted}")
        status = nodes.status(nodes.primary)
        length = status.watermarks.released_seq if status else begun_at
        points.append(point(begun_at, found))
    return Series("messages in the log", load.told(), points)


def saturated(size: int, seconds: float) -> Scenario:
    """As fast as it goes, in records of 256, with one reader that only drains."""
    return Scenario(
        load=Load.SATURATION,
        client=Client.RAW,
        record=RECORD,
        window=RECORD * IN_FLIGHT,
        size=size,
        consumers=0,
        drains=1,
        seconds=seconds,
        warm_up_s=min(1.0, seconds / 3),
    )


def calm(seconds: float, **changed: int) -> Scenario:
    """At a fixed rate, in records of 16 unless it says otherwise."""
    plain = Scenario(
        load=Load.OPEN,
        client=Client.RAW,
        record=16,
        rate=CALM_RATE,
        consumers=0,
        drains=1,
        seconds=seconds,
        warm_up_s=min(1.0, seconds / 3),
    )
    return msgspec.structs.replace(plain, **changed)


def varied(
    what: str,
    values: Sequence[int],
    scenario: Callable[[int], Scenario],
    base: Path | None = None,
    tell: Tell = print,
    rounds: int = 1,
) -> Series:
    """A pair of its own for each value; in rounds, of which the median by p50 is told."""
    found: dict[int, list[Point]] = {value: [] for value in values}
    for number in range(rounds):
        for value in values:
            tell(f"{value:,} {what}" + (f", round {number + 1} of {rounds}" if rounds > 1 else ""))
            found[value].append(point(value, run(scenario(value), base)))
    points = [sorted(each, key=lambda one: one.p50_us)[rounds // 2] for each in found.values()]
    return Series(what, scenario(values[0]).told(), points)


def by_producers(values: Sequence[int], seconds: float, tell: Tell = print) -> Series:
    return varied("producers", values, lambda n: calm(seconds, producers=n), tell=tell)


def by_consumers(values: Sequence[int], seconds: float, tell: Tell = print) -> Series:
    """In larger records: the process that reads for all of them has one core at most."""
    return varied("consumers", values, lambda n: calm(seconds, drains=n, record=64), tell=tell)


def by_sleepers(
    values: Sequence[int], seconds: float, tell: Tell = print, rounds: int = 1
) -> Series:
    return varied(
        "sleeping consumers",
        values,
        lambda n: calm(seconds, sleepers=n, record=64),
        tell=tell,
        rounds=rounds,
    )


def by_size(values: Sequence[int], seconds: float, tell: Tell = print) -> Series:
    return varied("bytes in a message", values, lambda n: calm(seconds, size=n), tell=tell)
