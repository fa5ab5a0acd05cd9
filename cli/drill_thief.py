"""Somebody with a key that is not theirs, in a drill: reads the log, and submits under the key's
producer name.

Decides what counts as being inside: something was read, or confirmed, a moment ago. How the client
library words that it was shut out does not matter here.
"""

from __future__ import annotations

import contextlib
import threading
import time

from ..client import Consumer, Producer
from ..client.errors import ClientError, TimeoutExpired
from ..shared.config import Config
from ..shared.errors import InterlockError

KEY = "stolen"  # the name of the key, and of the producer that it is for
EVERY_S = 0.02
MOMENT_S = 1.0  # without anything, after which the thief is outside
ENTER_S = 10.0


class Thief:
    """Tries again and again from entry to `end`, whatever becomes of it."""

    def __init__(self, config: Config) -> None:
        """Returns once it reads and submits. Raises InterlockError if it does not get in."""
        self._config = config
        self._stop = threading.Event()
        self._read_at = self._confirmed_at = 0.0
        self._threads = [
            threading.Thread(target=work, daemon=True) for work in (self._read, self._submit)
        ]
        for thread in self._threads:
            thread.start()
        end = time.monotonic() + ENTER_S
        while not (self.reads and self.submits):
            if time.monotonic() > end:
                self.end()
                raise InterlockError(f"the thief did not get in within {ENTER_S:g} s")
            time.sleep(EVERY_S)

    @property
    def reads(self) -> bool:
        return time.monotonic() - self._read_at < MOMENT_S

    @property
    def submits(self) -> bool:
        return time.monotonic() - self._confirmed_at < MOMENT_S

    def end(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(ENTER_S)

    def _read(self) -> None:
        while not self._stop.wait(EVERY_S):
            with (
                contextlib.suppress(ClientError, InterlockError),
                Consumer(self._config, key=KEY) as consumer,
            ):
                while not self._stop.is_set():
                    with contextlib.suppress(TimeoutExpired):
                        consumer.next(EVERY_S)
                        self._read_at = time.monotonic()

    def _submit(self) -> None:
        while not self._stop.wait(EVERY_S):
            with (
                contextlib.suppress(ClientError, InterlockError),
                Producer(KEY, self._config, key=KEY, connect_timeout=MOMENT_S) as producer,
            ):
                while not self._stop.wait(EVERY_S):
                    producer.send(b"not mine", MOMENT_S).result(MOMENT_S)
                    self._confirmed_at = time.monotonic()
