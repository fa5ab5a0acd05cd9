"""How long nothing is released when roles change: switchovers, and promotions after kill -9.

A pair on loopback, with a load and a consumer in processes of their own. What counts is what the
consumer saw: its longest silence around a switchover, and the time from the execution of a
promotion to the first records that it got of the new epoch. The nodes' own receipts stand beside.

    python -m interlock.bench.switchover            20 switchovers and 10 promotions
"""

from __future__ import annotations

import json
import multiprocessing
import os
import platform
import statistics
import sys
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Annotated, Any, Protocol

import msgspec
import typer

from ..client import Consumer, Producer, TimeoutExpired
from ..client.local import GATED
from ..shared.config import AckLevel
from ..shared.errors import InterlockError
from ..shared.operations import Operation
from ..shared.wire import Kind
from .operator import operate
from .pair import Nodes
from .scenario import Setup

NAME = "bench"
SHORTEST_GAP_NS = 1_000_000  # silences below are no pause
CALM_S = 0.5  # of load between two operations
AROUND_S = 0.25  # after an operation: what still belongs to its pause
WAIT_S = 30.0


class Flag(Protocol):
    """A multiprocessing event."""

    def is_set(self) -> bool: ...
    def set(self) -> None: ...


class Seen(msgspec.Struct):
    """What the consumer saw; times in nanoseconds on the machine's monotonic clock.

    gaps: end and length of each silence between two records of the load. openings, firsts: when the
    opening record of an epoch came, and the first record of the load in it.
    """

    delivered: int = 0
    gaps: list[tuple[int, int]] = []
    openings: dict[int, int] = {}
    firsts: dict[int, int] = {}


def _load(config: str, rate: float, size: int, stop: Flag) -> None:
    body = b"x" * size
    batch = max(1, min(64, int(rate / 500)))
    with Producer(NAME, config) as producer:
        begin, sent = time.monotonic(), 0
        while not stop.is_set():
            for _ in range(batch):
                producer.send(body)
            sent += batch
            if (ahead := begin + sent / rate - time.monotonic()) > 0:
                time.sleep(ahead)


def _watch(config: str, stop: Flag, report: Connection) -> None:
    """Reads until `stop` is set, and fails if a message is missing or out of order."""
    seen, last_ns, epoch = Seen(), 0, 0
    with Consumer(config, control=True) as consumer:
        report.send(b"")
        while not stop.is_set():
            try:
                message = consumer.next(0.1)
            except TimeoutExpired:
                continue
            if message.kind is Kind.EPOCH_OPENED:
                seen.openings[message.epoch] = time.monotonic_ns()
            if message.producer != NAME:
                continue
            seen.delivered += 1
            if message.producer_seq != seen.delivered:
                raise InterlockError(f"message {seen.delivered} is missing: {message}")
            now_ns = time.monotonic_ns()
            if last_ns and now_ns - last_ns >= SHORTEST_GAP_NS:
                seen.gaps.append((now_ns, now_ns - last_ns))
            last_ns = now_ns
            if message.epoch != epoch:
                epoch = message.epoch
                seen.firsts[epoch] = now_ns
    report.send(msgspec.msgpack.encode(seen))


class Pair(Nodes):
    """A pair, and who leads it at the moment."""

    def __init__(self, directory: Path, level: AckLevel) -> None:
        super().__init__(directory, Setup(level))
        self.leader, self.standby = self.primary, self.secondary

    def swap(self) -> None:
        self.leader, self.standby = self.standby, self.leader


def _switchover(pair: Pair) -> dict[str, int | float]:
    time.sleep(CALM_S)
    begin_ns, receipt = operate(pair, Operation.SWITCHOVER, pair.leader)
    took_ns = time.monotonic_ns() - begin_ns
    pair.wait_until_gated()
    pair.swap()
    time.sleep(AROUND_S)
    return {
        "begin_ns": begin_ns,
        "end_ns": time.monotonic_ns(),
        "answer_ms": took_ns / 1e6,
        "receipt_ms": receipt.pause_ms,
    }


def _promotion(pair: Pair) -> dict[str, int | float]:
    time.sleep(CALM_S)
    pair.kill(pair.leader)
    pair.wait_for_state(pair.standby, "ORPHANED")
    begin_ns, receipt = operate(pair, Operation.PROMOTE, pair.standby, solo=True)
    took_ns = time.monotonic_ns() - begin_ns
    time.sleep(CALM_S)
    pair.start(pair.leader)
    # Fenced, as a rule; one that has given way to the promotion follows by itself.
    pair.wait(f"{pair.leader} to be back", lambda: pair.states() in (["FENCED", "SOLO"], GATED))
    if pair.states() != GATED:
        operate(pair, Operation.REINSTATE, pair.leader)
    pair.wait_until_gated()
    pair.swap()
    return {
        "begin_ns": begin_ns,
        "epoch": receipt.epoch,
        "answer_ms": took_ns / 1e6,
        "receipt_ms": receipt.pause_ms,
    }


def measure(
    switchovers: int, promotions: int, rate: float, size: int, level: AckLevel
) -> dict[str, Any]:
    """Runs a pair under load through all of it. Returns milliseconds, one row per operation."""
    spawn = multiprocessing.get_context("spawn")
    stop_load, stop_watch = spawn.Event(), spawn.Event()
    ours, theirs = spawn.Pipe()
    with tempfile.TemporaryDirectory(prefix="interlock-bench-") as directory:
        pair = Pair(Path(directory), level)
        path = pair.config.path
        watch = spawn.Process(target=_watch, args=(path, stop_watch, theirs), daemon=True)
        load = spawn.Process(target=_load, args=(path, rate, size, stop_load), daemon=True)
        try:
            pair.start_both()
            watch.start()
            ours.recv()
            load.start()
            time.sleep(2 * CALM_S)
            planned = [_switchover(pair) for _ in range(switchovers)]
            forced = [_promotion(pair) for _ in range(promotions)]
            stop_load.set()
            load.join(WAIT_S)
            time.sleep(CALM_S)
            stop_watch.set()
            if not ours.poll(WAIT_S):
                raise InterlockError("the consumer has ended")
            seen = msgspec.msgpack.decode(ours.recv(), type=Seen)
        except InterlockError:
            print(pair.logs(), file=sys.stderr)
            raise
        finally:
            stop_load.set()
            stop_watch.set()
            pair.stop()
    return {
        "messages": seen.delivered,
        "switchovers": [_judge_switchover(row, seen) for row in planned],
        "promotions": [_judge_promotion(row, seen) for row in forced],
    }


def _judge_switchover(row: dict[str, int | float], seen: Seen) -> dict[str, float]:
    gaps = [gap for end, gap in seen.gaps if row["begin_ns"] <= end <= row["end_ns"]]
    return {
        "pause_ms": max(gaps, default=0) / 1e6,
        "receipt_ms": row["receipt_ms"],
        "answer_ms": row["answer_ms"],
    }


def _judge_promotion(row: dict[str, int | float], seen: Seen) -> dict[str, float]:
    epoch = int(row["epoch"])
    return {
        "opening_ms": (seen.openings[epoch] - row["begin_ns"]) / 1e6,
        "message_ms": (seen.firsts[epoch] - row["begin_ns"]) / 1e6,
        "receipt_ms": row["receipt_ms"],
        "answer_ms": row["answer_ms"],
    }


MEANING = {
    "pause_ms": "the consumer's longest silence",
    "opening_ms": "execute to the consumer's first record",
    "message_ms": "execute to the consumer's first message",
    "receipt_ms": "the pause as the receipt says it",
    "answer_ms": "execute to the operator's answer",
}


def summarize(rows: list[dict[str, float]]) -> dict[str, dict[str, float]]:
    """By column: median, p90, p99 (of fewer than a hundred rows that is the largest), max."""
    found = {}
    for column in rows[0] if rows else {}:
        ordered = sorted(row[column] for row in rows)
        found[column] = {
            "median": round(statistics.median(ordered), 1),
            "p90": round(ordered[len(ordered) * 9 // 10], 1),
            "p99": round(ordered[len(ordered) * 99 // 100], 1),
            "max": round(ordered[-1], 1),
        }
    return found


def main(
    switchovers: Annotated[int, typer.Option(min=0, help="Planned exchanges of roles.")] = 20,
    promotions: Annotated[int, typer.Option(min=0, help="Promotions after kill -9.")] = 10,
    rate: Annotated[float, typer.Option(min=100, help="Messages per second.")] = 20_000,
    size: Annotated[int, typer.Option(min=1, help="Bytes of each message.")] = 128,
    ack_level: Annotated[
        AckLevel, typer.Option(help="What the standby does before it acknowledges.")
    ] = AckLevel.WRITTEN,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Measure what a change of roles costs under load, as the consumer sees it."""
    try:
        found = measure(switchovers, promotions, rate, size, ack_level)
    except InterlockError as error:
        raise SystemExit(f"bench: {error}") from None
    conditions = {
        "rate": rate,
        "size_bytes": size,
        "ack_level": ack_level.value,
        "cpus": os.cpu_count(),
        "python": platform.python_version(),
    }
    summary = {kind: summarize(found[kind]) for kind in ("switchovers", "promotions")}
    if as_json:
        print(json.dumps({"conditions": conditions, "summary": summary, **found}))
        return
    told = ", ".join(f"{key} {value}" for key, value in conditions.items())
    print(f"{found['messages']} messages, each delivered once; {told}")
    for kind, columns in summary.items():
        print(f"\n{len(found[kind])} {kind}, ms: median, p90, p99, max")
        for column, values in columns.items():
            told = " ".join(f"{value:8.1f}" for value in values.values())
            print(f"  {MEANING[column]:40} {told}")


if __name__ == "__main__":
    typer.run(main)
