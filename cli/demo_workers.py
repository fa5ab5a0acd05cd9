"""The demo's load and its checker: processes of their own that report as JSON lines on stdout.

The load submits the order flow and times it; the checker reads the released log and looks at every
message. Each keeps a digest of all bodies in order, and the two must agree; neither believes what
the nodes say of themselves.

    python -m interlock.cli.demo_workers load|check CONFIG OPTIONS-AS-JSON

A number on stdin tells a worker to end with that many messages; the load, to which 0 is said, ends
where it is.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from threading import Thread

import msgspec
from hdrh.histogram import HdrHistogram
from xxhash import xxh3_64

from ..client import Consumer, Message, Producer
from ..client.errors import TimeoutExpired
from ..shared.errors import InterlockError
from .orderflow import order_flow

REPORT_EVERY_S = 0.25
GIVE_UP_S = 60.0
LOOK_EVERY_S = 1.0  # of a checker to which nothing comes
HIGHEST_RTT_US = 600_000_000
CLOCK_EVERY = 64  # messages between two looks at the clock
WARM_UP = 500  # round trips of a closed loop that are not counted


class WorkerOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What load and checker are told. `patience_s`: how long nothing may be released before the
    checker gives up."""

    producer: str
    messages: int
    size: int
    seed: int
    rate: float
    closed_loop: bool
    window: int
    patience_s: float = GIVE_UP_S


class LoadReport(msgspec.Struct, frozen=True):
    """What the load has done so far; RTTs run from send to confirmation, in microseconds."""

    sent: int
    confirmed: int
    p50_us: float
    p99_us: float
    started_ns: int
    digest: str
    reconnects: int
    rss_mb: float
    done: bool
    error: str = ""


class CheckReport(msgspec.Struct, frozen=True):
    """What the checker has seen so far; times on the machine's monotonic clock."""

    delivered: int
    gaps: int
    duplicates: int
    out_of_order: int
    longest_pause_ns: int
    last_ns: int
    digest: str
    rss_mb: float
    done: bool
    error: str = ""


def _say(report: LoadReport | CheckReport) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(report) + b"\n")
    sys.stdout.buffer.flush()


class End:
    """After how many messages to end: as many as were asked for, or fewer as stdin tells later."""

    def __init__(self, messages: int) -> None:
        self.at = messages
        Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        while told := os.read(0, 64):  # sys.stdin has a lock that ending needs
            self.at = min(self.at, *map(int, told.split()))


class Load:
    """Submits the flow, reports four times a second."""

    def __init__(self, options: WorkerOptions) -> None:
        self._options = options
        self._end = End(options.messages)
        self._rtts = HdrHistogram(1, HIGHEST_RTT_US, 3)
        self._digest = xxh3_64()
        self._started_ns = 0
        self._sent = 0

    def run(self, config: Path) -> None:
        options = self._options
        with Producer(
            options.producer, config, window=options.window, connect_timeout=GIVE_UP_S
        ) as producer:
            self._started_ns = time.monotonic_ns()
            bodies = islice(order_flow(options.seed, options.size), options.messages)
            if options.closed_loop:
                self._closed_loop(producer, bodies)
            else:
                producer.on_record_confirmed = self._record
                self._open_loop(producer, bodies)
            producer.flush(GIVE_UP_S)
            self._report(producer, done=True)

    def _record(self, rtt_ns: int, count: int) -> None:
        self._rtts.record_value(max(1, rtt_ns // 1_000))

    def _closed_loop(self, producer: Producer, bodies: Iterator[bytes]) -> None:
        clock, send, update = time.perf_counter_ns, producer.send, self._digest.update
        due = time.monotonic() + REPORT_EVERY_S
        for body in bodies:
            if self._sent >= self._end.at:
                return
            begin = clock()
            send(body).result(GIVE_UP_S)
            rtt_ns = clock() - begin
            update(body)
            self._sent += 1
            if self._sent > WARM_UP:
                self._record(rtt_ns, 1)
            if time.monotonic() >= due:
                due += REPORT_EVERY_S
                self._report(producer)

    def _open_loop(self, producer: Producer, bodies: Iterator[bytes]) -> None:
        send, update = producer.send, self._digest.update
        rate = self._options.rate
        begin = time.monotonic()
        due = begin + REPORT_EVERY_S
        batch = 64 if not rate else max(1, min(64, int(rate / 200)))
        while self._sent < self._end.at and (chunk := list(islice(bodies, batch))):
            for body in chunk:
                send(body)
            update(b"".join(chunk))
            self._sent += len(chunk)
            now = time.monotonic()
            if rate and (ahead := begin + self._sent / rate - now) > 0:
                time.sleep(ahead)
            if now >= due:
                due = now + REPORT_EVERY_S
                self._report(producer)

    def _report(self, producer: Producer, *, done: bool = False) -> None:
        _say(
            LoadReport(
                self._sent,
                self._sent - producer.unconfirmed,
                float(self._rtts.get_value_at_percentile(50)),
                float(self._rtts.get_value_at_percentile(99)),
                self._started_ns,
                self._digest.hexdigest(),
                producer.stats.reconnects,
                rss_mb(os.getpid()),
                done,
            )
        )


class Check:
    """Reads the log from its beginning and compares the demo's producer with the flow."""

    def __init__(self, options: WorkerOptions) -> None:
        self._options = options
        self._end = End(options.messages)
        self._expected = 1
        self._digest = xxh3_64()
        self._delivered = self._gaps = self._duplicates = self._out_of_order = 0
        self._last_ns = self._longest_pause_ns = 0
        self._silent_s = 0.0

    def run(self, config: Path) -> None:
        due = time.monotonic() + REPORT_EVERY_S
        last_seq = 0
        with Consumer(config) as consumer:
            while self._delivered < self._end.at:
                message = self._next(consumer)
                if message is None:
                    continue
                if message.seq <= last_seq:
                    self._out_of_order += 1
                last_seq = message.seq
                if message.producer == self._options.producer:
                    self._take(message.producer_seq, message.body)
                    now_ns = time.monotonic_ns()
                    if self._last_ns:
                        pause_ns = now_ns - self._last_ns
                        self._longest_pause_ns = max(self._longest_pause_ns, pause_ns)
                    self._last_ns = now_ns
                if last_seq % CLOCK_EVERY == 0 and (now := time.monotonic()) >= due:
                    due = now + REPORT_EVERY_S
                    self._report()
        self._last_ns = time.monotonic_ns()
        self._report(done=True)

    def _next(self, consumer: Consumer) -> Message | None:
        """None: nothing has come for a moment, and whether to go on is to be looked at again."""
        try:
            message = consumer.next(LOOK_EVERY_S)
        except TimeoutExpired:
            self._silent_s += LOOK_EVERY_S
            if self._silent_s >= self._options.patience_s:
                text = f"nothing was released for {self._silent_s:g} s"
                raise TimeoutExpired(text) from None
            return None
        self._silent_s = 0.0
        return message

    def _take(self, number: int, body: bytes) -> None:
        if number == self._expected:
            self._expected += 1
        elif number < self._expected:
            self._duplicates += 1
        else:
            self._gaps += number - self._expected
            self._expected = number + 1
        self._digest.update(body)
        self._delivered += 1

    def _report(self, *, done: bool = False) -> None:
        _say(
            CheckReport(
                self._delivered,
                self._gaps,
                self._duplicates,
                self._out_of_order,
                self._longest_pause_ns,
                self._last_ns,
                self._digest.hexdigest(),
                rss_mb(os.getpid()),
                done,
            )
        )


def rss_mb(pid: int) -> float:
    """Resident memory of a process in MiB; 0 if it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text("ascii").splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS")), 0.0)


def main() -> None:
    """Runs a worker to its end; an error is its last report."""
    what, config, options = sys.argv[1:]
    decoded = msgspec.json.decode(options, type=WorkerOptions)
    try:
        if what == "load":
            Load(decoded).run(Path(config))
        else:
            Check(decoded).run(Path(config))
    except InterlockError as error:
        text = f"{what}: {error}"
        if what == "load":
            _say(LoadReport(0, 0, 0.0, 0.0, 0, "", 0, 0.0, False, text))
        else:
            _say(CheckReport(0, 0, 0, 0, 0, 0, "", 0.0, False, text))
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
