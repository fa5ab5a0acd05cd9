"""The load of a drill, and the consumer that checks it: what RTO and RPO are measured at.

Decides what "every message exactly once, in order, with its content" means from outside: each
producer's messages are known by number and content, and every seq follows the one before. Neither
side is told when roles change.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Mapping

from xxhash import xxh3_64_hexdigest

from ..client import Consumer, Producer
from ..client.errors import ClientError, ClosedError, TimeoutExpired
from ..runbooks.conditions import Value
from ..runbooks.stage import Measures
from ..shared.config import Config
from ..shared.errors import InterlockError
from ..shared.wire import Kind
from .drill_thief import Thief

NAMES = ("orders", "quotes")
RATE = 200.0  # messages a second of each producer
STEP_S = 0.005
FINISH_S = 20.0
FLOOD_BYTES = 256
FLOOD_WAIT_S = 0.5
OUTAGE_S = 0.1  # a shorter pause of the consumer is none


def body(name: str, number: int, size: int = 64) -> bytes:
    """The content of a producer's message; each is unlike all others."""
    known = f"{name} {number}".encode()
    return (known + b" " + xxh3_64_hexdigest(known).encode() + b" ").ljust(size, b".")


class DrillTraffic:
    """Runs from entry to `end`. `failure` is what went wrong first."""

    def __init__(self, config: Config) -> None:
        self.failure = ""
        self._config = config
        self._stop = threading.Event()
        self._calm = threading.Event()
        self._calm.set()
        self._producers = {name: Producer(name, config) for name in NAMES}
        self._consumer = Consumer(config, control=True)
        self._held: list[Consumer] = []
        self._thief: Thief | None = None
        self._delivered = dict.fromkeys(NAMES, 0)
        self._last_seq = 0
        self._heard = time.monotonic()
        self._fault_at: float | None = None
        self._decided_at: float | None = None
        self._pause = (0.0, 0.0)  # the longest one since the fault: from, to
        self._threads = [threading.Thread(target=self._check, daemon=True)]
        self._threads += [
            threading.Thread(target=self._send, args=(name,), daemon=True) for name in NAMES
        ]
        for thread in self._threads:
            thread.start()

    # What a runbook sees ----------------------------------------------------------------------

    def flow(self) -> Mapping[str, Value]:
        """The fields of `producers`, `consumer` and `thief`."""
        silent_ms = (time.monotonic() - self._heard) * 1000
        return {
            "confirmed": float(self._confirmed()),
            "unconfirmed": float(sum(one.unconfirmed for one in self._producers.values())),
            "refused": float(
                sum(sum(one.stats.refused.values()) for one in self._producers.values())
            ),
            "delivered": float(sum(self._delivered.values())),
            "delivers": silent_ms < 250,
            "checks": not self.failure,
            "silent-ms": silent_ms,
            "reads": self._thief is not None and self._thief.reads,
            "submits": self._thief is not None and self._thief.submits,
        }

    def note_fault(self) -> None:
        """Something was broken now: RTO counts from the first time."""
        if self._fault_at is None:
            self._fault_at = time.monotonic()

    def note_decision(self) -> None:
        self._decided_at = time.monotonic()

    def hold_a_consumer(self) -> None:
        """One more consumer, which reads one message and no more."""
        held = Consumer(self._config, control=True)
        held.next(FINISH_S)
        self._held.append(held)

    def flood(self) -> None:
        """One more producer, which submits as fast as it can, until `calm`."""
        self._calm.clear()
        thread = threading.Thread(target=self._flood, daemon=True)
        self._threads.append(thread)
        thread.start()

    def calm(self) -> None:
        self._calm.set()

    def let_a_thief_in(self) -> None:
        """Somebody reads and submits with a stolen key. Raises InterlockError if nobody can."""
        self._thief = Thief(self._config)

    # Its end ----------------------------------------------------------------------------------

    def end(self) -> Measures:
        """Ends the load, waits until all that is confirmed is delivered, and says what was seen."""
        self._calm.set()
        self._stop.set()
        if self._thief is not None:
            self._thief.end()
        in_doubt = 0
        for name, producer in self._producers.items():
            try:
                producer.flush(FINISH_S)
            except (TimeoutError, ClientError, InterlockError) as error:
                self._fail(f"producer {name} did not end: {error}")
            in_doubt += producer.unconfirmed
        confirmed = self._confirmed()
        end = time.monotonic() + FINISH_S
        while sum(self._delivered.values()) < confirmed and time.monotonic() < end:
            if self.failure:
                break
            time.sleep(STEP_S)
        delivered = sum(self._delivered.values())
        self._close()
        rto = self._since(self._fault_at)
        return Measures(
            rto,
            self._since(self._decided_at),
            (self._pause[1] - self._pause[0]) * 1000 if self._pause[1] else None,
            confirmed,
            delivered,
            max(0, confirmed - delivered),
            in_doubt,
            failure=self.failure,
        )

    def _since(self, moment: float | None) -> float | None:
        """From that moment to the end of the longest pause, in milliseconds; 0: nobody noticed."""
        if moment is None or not self._pause[1]:
            return None
        if self._pause[1] - self._pause[0] < OUTAGE_S:
            return 0.0
        return max(0.0, (self._pause[1] - moment) * 1000)

    def _confirmed(self) -> int:
        return sum(one.confirmed_producer_seq for one in self._producers.values())

    def _close(self) -> None:
        for producer in self._producers.values():
            producer.close()
        for consumer in (self._consumer, *self._held):
            consumer.close()
        for thread in self._threads:
            thread.join(FINISH_S)

    def _fail(self, text: str) -> None:
        self.failure = self.failure or text

    # Threads ----------------------------------------------------------------------------------

    def _send(self, name: str) -> None:
        producer = self._producers[name]
        begin, number = time.monotonic(), 0
        try:
            while not self._stop.wait(STEP_S):
                due = int((time.monotonic() - begin) * RATE)
                while number < due and not self._stop.is_set():
                    number += 1
                    producer.send(body(name, number), 120.0)
        except ClosedError:
            pass
        except Exception as error:  # noqa: BLE001 without its load a drill shows nothing
            self._fail(f"producer {name} ended: {error}")

    def _flood(self) -> None:
        try:
            producer = Producer("flood", self._config)
        except (ClientError, InterlockError) as error:
            self._fail(f"the flooding producer did not begin: {error}")
            return
        try:
            while not self._calm.is_set() and not self._stop.is_set():
                with contextlib.suppress(TimeoutExpired):  # no room: BUSY, or no space on the disk
                    producer.send(bytes(FLOOD_BYTES), FLOOD_WAIT_S)
        except Exception as error:  # noqa: BLE001
            self._fail(f"the flooding producer ended: {error}")
        finally:
            producer.close()

    def _check(self) -> None:
        try:
            for message in self._consumer:
                if message.seq != self._last_seq + 1:
                    self._fail(f"seq {message.seq} came after {self._last_seq}")
                self._last_seq = message.seq
                if message.kind is not Kind.DATA or message.producer not in self._delivered:
                    continue
                self._note_pause()
                number = self._delivered[message.producer] + 1
                if (message.producer_seq, message.body) != (number, body(message.producer, number)):
                    self._fail(
                        f"seq {message.seq} is {message.producer} {message.producer_seq} where "
                        f"{number} was expected"
                    )
                self._delivered[message.producer] = number
        except ClosedError:
            pass
        except Exception as error:  # noqa: BLE001
            self._fail(f"the consumer ended: {error}")

    def _note_pause(self) -> None:
        now = time.monotonic()
        since, self._heard = self._heard, now
        if self._fault_at is None and self._decided_at is None:
            return
        if now - since > self._pause[1] - self._pause[0]:
            self._pause = (since, now)
