"""One run of the demo: a pair, a load, a checker, perhaps a kill in the middle, and the verdict.

Decides what has to hold for the run to count as good. How it is shown is `demo_view`, and over it
the console, from which somebody may end it early.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, Generic, TypeVar

import msgspec

from ..client.control import ask_node
from ..client.local import STOP_SECONDS
from ..shared.config import AckLevel
from ..shared.errors import InterlockError
from ..shared.journal import JournalReader, diff, verify
from ..shared.telemetry import NodeStatus
from .demo import FailoverKind
from .demo_failover import Failover
from .demo_workers import CheckReport, LoadReport, WorkerOptions, rss_mb
from .embedded import EmbeddedPair

SAMPLE_EVERY_S = 0.1
CALM_SAMPLE_EVERY_S = 0.5  # where asking would be part of what is timed, or the console asks too
DOWN_S = 1.0  # how long a killed node stays down
EARLY = 0.25  # the part of the run after which memory is first measured
LEAVE_S = 5.0  # for how long the pair may take to work together when somebody leaves

R = TypeVar("R", LoadReport, CheckReport)


class DemoReport(msgspec.Struct):
    """The verdict, as `--json` prints it. `ok`: everything that is promised held."""

    ok: bool
    messages: int
    confirmed: int
    delivered: int
    in_order: bool
    gaps: int
    duplicates: int
    content_identical: bool
    journals_identical: bool
    journals_verified: bool
    unacked_released: int
    released_samples: int
    throughput_msgs_per_s: int
    seconds: float
    rtt_us: dict[str, float]
    size_bytes: int
    ack_level: str
    closed_loop: bool
    secure: bool
    killed: str
    failover: str
    operations: list[str]
    pause_ms: float
    epochs: int
    reconnects: int
    rss_mb: dict[str, dict[str, float]]


class Worker(Generic[R]):
    """A process that reports as JSON lines; `latest` is its newest report."""

    def __init__(self, what: str, config: str, options: WorkerOptions, kind: type[R]) -> None:
        self.latest: R | None = None
        self._decoder: msgspec.json.Decoder[R] = msgspec.json.Decoder(kind)
        encoded = msgspec.json.encode(options).decode()
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "interlock.cli.demo_workers", what, config, encoded],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        assert self.process.stdout is not None
        self._reader = threading.Thread(target=self._read, args=(self.process.stdout,), daemon=True)
        self._reader.start()

    def _read(self, lines: IO[bytes]) -> None:
        for line in lines:
            self.latest = self._decoder.decode(line)

    def finished(self) -> bool:
        """Whether it has ended well. Raises InterlockError if it has ended otherwise."""
        if self.process.poll() is None:
            return False
        self._reader.join()
        if self.process.returncode or not self.latest or not self.latest.done:
            text = self.latest.error if self.latest else ""
            raise InterlockError(text or f"a worker ended with code {self.process.returncode}")
        return True

    def end_at(self, messages: int) -> None:
        """Tells it to end with so many messages, or where it is."""
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):  # it has ended
            self.process.stdin.write(b"%d\n" % messages)
            self.process.stdin.flush()

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        if self.process.stdin is not None:
            with suppress(BrokenPipeError):
                self.process.stdin.close()


class LeftUnfinished(Exception):
    """Somebody left while the pair did not work together, so there is nothing to judge."""


class DemoRun:
    """Runs once. Public attributes are what a view shows; `pair` is there once it works."""

    def __init__(
        self,
        options: WorkerOptions,
        directory: Path | None,
        ack_level: AckLevel,
        kill: str,
        failover: FailoverKind | None = None,
        *,
        secure: bool = False,
    ) -> None:
        """`secure`: the pair has keys."""
        self.options = options
        self.kill = kill
        self.failover = failover
        self._operations: list[str] = []
        self.nodes: dict[str, NodeStatus | None] = {"a": None, "b": None}
        self.load: LoadReport | None = None
        self.check: CheckReport | None = None
        self.pair: EmbeddedPair | None = None
        self.watched = False
        self._left_at: float | None = None
        self._directory = directory
        self._ack_level = ack_level
        self._secure = secure
        self._unacked_released = 0
        self._samples = 0
        self._rss: dict[str, dict[str, float]] = {}

    def run(self) -> DemoReport:
        """Starts everything, waits for the end, stops everything, and judges.

        Raises InterlockError if a process failed, KeyboardInterrupt as it comes, LeftUnfinished
        after `leave`; nothing that was started is left running then.
        """
        with EmbeddedPair(self._directory, self._ack_level, secure=self._secure) as pair:
            config = pair.config.path
            pair.start("a")
            pair.start("b")
            pair.wait_until_gated()
            self.pair = pair
            check = Worker("check", config, self.options, CheckReport)
            load = Worker("load", config, self.options, LoadReport)
            try:
                self._watch(pair, load, check)
            finally:
                load.stop()
                check.stop()
            self._measure_memory(pair, "end")
            epochs = self._epochs(pair)
            self._sample(pair)
            if self._left_at is not None and not self._is_whole():
                raise LeftUnfinished
            self._stop_leader(pair)
            pair.stop()
            return self._judge(pair, epochs)

    def _stop_leader(self, pair: EmbeddedPair) -> None:
        """Before its standby, which then holds all that the leader does: a tick that falls between
        the two ends would be in one journal only."""
        for name, status in self.nodes.items():
            if status is not None and status.state == "GATED":
                pair.kill(name, signal.SIGTERM)
                with suppress(subprocess.TimeoutExpired):
                    pair.processes[name].wait(STOP_SECONDS)

    def leave(self) -> None:
        """Ends the load where it is; what was sent is judged. From any thread."""
        if self._left_at is None:
            self._left_at = time.monotonic()

    def _watch(
        self, pair: EmbeddedPair, load: Worker[LoadReport], check: Worker[CheckReport]
    ) -> None:
        fault = self._fault_in_the_middle(pair, load)
        early = False
        is_calm = self.options.closed_loop or self.watched
        ended: set[str] = set()
        while len(ended) < 2:
            for name, worker in (("load", load), ("check", check)):
                if name not in ended and worker.finished():
                    ended.add(name)
            self._sample(pair)
            self._end_early(load, check)
            self.load, self.check = load.latest, check.latest
            next(fault, None)
            sent = self.load.sent if self.load else 0
            if not early and sent > EARLY * self.options.messages and not ended:
                early = True
                self._measure_memory(pair, "early")
            time.sleep(CALM_SAMPLE_EVERY_S if is_calm else SAMPLE_EVERY_S)
        for _ in fault:  # a short run may end while a node is down
            time.sleep(SAMPLE_EVERY_S)
        self.load, self.check = load.latest, check.latest
        if self.kill or self.failover:
            pair.wait_until_gated()

    def _end_early(self, load: Worker[LoadReport], check: Worker[CheckReport]) -> None:
        """After `leave`: the load ends where it is, and the checker with what the load has sent."""
        if self._left_at is None:
            return
        if self._is_whole():
            load.end_at(0)
        elif time.monotonic() - self._left_at > LEAVE_S:
            raise LeftUnfinished
        if load.latest is not None and load.latest.done:
            check.end_at(load.latest.sent)

    def _is_whole(self) -> bool:
        states = sorted(node.state for node in self.nodes.values() if node)
        return states == ["GATED", "IN_SYNC"]

    def _fault_in_the_middle(self, pair: EmbeddedPair, load: Worker[LoadReport]) -> Iterator[None]:
        """Step by step, one step for each sample: waits for the middle, then what was asked for."""
        if not self.kill and self.failover is None:
            return
        while (load.latest.confirmed if load.latest else 0) < self.options.messages // 2:
            if load.process.poll() is not None:
                break
            yield
        if self.failover is not None:
            drill = Failover(pair, self.failover)
            yield from drill.steps()
            self._operations = [
                f"{each.request.operation.value} {each.request.node}: {each.text}"
                for each in drill.receipts
            ]
        else:
            yield from self._kill_and_start(pair)

    def _kill_and_start(self, pair: EmbeddedPair) -> Iterator[None]:
        name = pair.config.pair.primary if self.kill == "primary" else pair.config.secondary()
        pair.kill(name)
        back = time.monotonic() + DOWN_S
        if self.kill == "standby":
            yield from self._count_unacked(pair, name, back)
        while time.monotonic() < back:
            yield
        pair.start(name)

    def _count_unacked(self, pair: EmbeddedPair, name: str, until: float) -> Iterator[None]:
        """With the standby dead, its journal says what it holds: nothing beyond may be released."""
        held = 0
        for record in JournalReader(pair.config.data_dir(name)).records():
            held = record.last_seq
        while time.monotonic() < until:
            primary = ask_node(pair.config, pair.config.pair.primary, 0.5)
            if primary:
                self._count(primary.watermarks.released_seq, held)
            yield

    def _sample(self, pair: EmbeddedPair) -> None:
        """Asks the leader what it has released, and then the standby what it holds."""
        leads_b = self.nodes["b"] is not None and self.nodes["b"].role == "primary"
        for name in ("b", "a") if leads_b else ("a", "b"):
            self.nodes[name] = ask_node(pair.config, name, 0.2)
        primary, standby = self.nodes["a"], self.nodes["b"]
        if leads_b:
            primary, standby = standby, primary
        if primary and standby and standby.link.up and primary.state == "GATED":
            self._count(primary.watermarks.released_seq, standby.watermarks.accepted_seq)

    def _count(self, released_seq: int, held_seq: int) -> None:
        self._samples += 1
        self._unacked_released = max(self._unacked_released, released_seq - held_seq)

    def _epochs(self, pair: EmbeddedPair) -> int:
        found = (ask_node(pair.config, name, 1.0) for name in pair.config.nodes)
        return max((status.epoch for status in found if status), default=0)

    def _measure_memory(self, pair: EmbeddedPair, when: str) -> None:
        found = {name: rss_mb(process.pid) for name, process in pair.processes.items()}
        found["load"] = self.load.rss_mb if self.load else 0.0
        found["check"] = self.check.rss_mb if self.check else 0.0
        for name, size in found.items():
            if size:
                self._rss.setdefault(name, {})[when] = round(size, 1)

    def _judge(self, pair: EmbeddedPair, epochs: int) -> DemoReport:
        load, check = self.load, self.check
        assert load is not None
        assert check is not None
        one, two = pair.config.data_dir("a"), pair.config.data_dir("b")
        identical = diff(one, two).identical
        verified = verify(one).ok and verify(two).ok
        seconds = (check.last_ns - load.started_ns) / 1e9
        report = DemoReport(
            ok=False,
            messages=load.sent,
            confirmed=load.confirmed,
            delivered=check.delivered,
            in_order=check.out_of_order == 0,
            gaps=check.gaps,
            duplicates=check.duplicates,
            content_identical=load.digest == check.digest,
            journals_identical=identical,
            journals_verified=verified,
            unacked_released=max(0, self._unacked_released),
            released_samples=self._samples,
            throughput_msgs_per_s=round(check.delivered / seconds),
            seconds=round(seconds, 3),
            rtt_us={"p50": load.p50_us, "p99": load.p99_us},
            size_bytes=self.options.size,
            ack_level=self._ack_level.value,
            closed_loop=self.options.closed_loop,
            secure=self._secure,
            killed=self.kill,
            failover=self.failover.value if self.failover else "",
            operations=self._operations,
            pause_ms=round(check.longest_pause_ns / 1e6, 1),
            epochs=epochs,
            reconnects=load.reconnects,
            rss_mb=self._rss,
        )
        report.ok = (
            report.messages == report.confirmed == report.delivered
            and report.in_order
            and report.gaps == report.duplicates == report.unacked_released == 0
            and report.content_identical
            and identical
            and verified
        )
        return report
