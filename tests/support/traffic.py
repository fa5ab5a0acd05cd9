"""A producer under load and a consumer that checks, for as long as a test runs.

Decides what "every message exactly once, in order, with the same content" means, from outside: the
consumer expects the producer's messages by number and content, and every seq of the log, control
records too, to follow the one before. Neither is told when roles change.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from types import TracebackType

from xxhash import xxh3_64_hexdigest

from interlock import ClosedError, Consumer, Producer
from interlock.cli.embedded import EmbeddedPair
from interlock.shared.config import Config
from interlock.shared.journal import diff, verify
from interlock.shared.wire import Kind
from support.pair import wait_for

NAME = "load"
FINISH_S = 30.0
STEP_S = 0.005


def body(number: int, size: int = 64) -> bytes:
    """The content of the load's message `number`; each is unlike all others."""
    head = b"%d %s " % (number, xxh3_64_hexdigest(b"%d" % number).encode())
    return head.ljust(size, b".")


class Traffic:
    """Sends `rate` messages a second from entry to exit, or to `finish`, and checks all that is
    released. A context manager; `failure` is what went wrong first."""

    def __init__(self, config: Config, rate: float = 2_000.0) -> None:
        self.failure = ""
        self.delivered = 0
        self.last_seq = 0
        self.others: defaultdict[str, list[tuple[int, bytes]]] = defaultdict(list)
        self.longest_silence_s = 0.0
        self._rate = rate
        self._stop = threading.Event()
        self._heard = 0.0
        self._producer = Producer(NAME, config)
        self._consumer = Consumer(config, control=True)
        self._threads = [
            threading.Thread(target=target, daemon=True) for target in (self._send, self._check)
        ]

    @property
    def sent(self) -> int:
        return self._producer.next_producer_seq - 1

    @property
    def unconfirmed(self) -> int:
        return self._producer.unconfirmed

    def wait_for_more(self, messages: int = 50) -> None:
        """Waits until so many more are delivered than are sent by now: the pair serves."""
        goal = self.sent + messages
        wait_for(f"message {goal} to be delivered", lambda: self._has(goal), FINISH_S)

    def finish(self) -> int:
        """Ends the load, and fails unless all of it was delivered once. Returns its messages."""
        self._stop.set()
        self._threads[0].join(FINISH_S)
        self._producer.flush(FINISH_S)
        self._producer.close()
        wait_for(f"all {self.sent} messages to be delivered", lambda: self._has(self.sent))
        assert self.delivered == self.sent
        return self.sent

    def hear_from_now(self) -> None:
        """Begins a new measurement of the longest silence."""
        self.longest_silence_s = 0.0

    def _has(self, number: int) -> bool:
        assert not self.failure, self.failure
        return self.delivered >= number

    def _send(self) -> None:
        begin, number = time.monotonic(), 0
        try:
            while not self._stop.wait(STEP_S):
                due = int((time.monotonic() - begin) * self._rate)
                while number < due and not self._stop.is_set():
                    number += 1
                    self._producer.send(body(number), FINISH_S)
        except BaseException as error:
            self.failure = self.failure or f"the producer ended: {error!r}"
            raise

    def _check(self) -> None:
        try:
            for message in self._consumer:
                assert message.seq == self.last_seq + 1, (message.seq, self.last_seq)
                self.last_seq = message.seq
                if message.kind is not Kind.DATA:
                    continue
                if message.producer != NAME:
                    self.others[message.producer].append((message.producer_seq, message.body))
                    continue
                number = self.delivered + 1
                assert message.producer_seq == number, (message.producer_seq, number)
                assert message.body == body(number), (message.body, number)
                now = time.monotonic()
                if self._heard:
                    self.longest_silence_s = max(self.longest_silence_s, now - self._heard)
                self._heard = now
                self.delivered = number
        except ClosedError:
            pass
        except BaseException as error:
            self.failure = self.failure or f"the consumer ended: {error!r}"
            raise

    def __enter__(self) -> Traffic:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._producer.close()
        self._consumer.close()
        for thread in self._threads:
            thread.join(FINISH_S)
        if kind is None:
            assert not self.failure, self.failure


def assert_one_history(pair: EmbeddedPair) -> None:
    """Ends both nodes; their journals hold the same, and each is sound from its first byte on."""
    pair.stop()
    one, two = (pair.config.data_dir(name) for name in "ab")
    found = diff(one, two)
    assert found.identical, found
    for directory in (one, two):
        report = verify(directory)
        assert report.ok, report
