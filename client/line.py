"""The I/O of a blocking producer: who uses the socket when, and who waits.

Decides which thread reads and writes. Does not decide what is read or written: `producer_core`
does.

Handing every message to an I/O thread would cost a thread switch and a fight for the interpreter
lock per message, more than all the rest of a round trip. So whoever calls does the I/O, under one
lock (a ZeroMQ socket may change threads under a lock, as that is a full fence):

- A caller that waits and finds nobody leading becomes the leader: it polls the descriptor outside
  the lock. Others wait to be told; when the leader leaves, one of them takes over.
- The pump, a small thread of ours, does it while nobody calls: it sends what was collected, takes
  confirmations, keeps the session alive. While callers look after the socket themselves it parks,
  or it would wake up for each of their answers too.
"""

from __future__ import annotations

import contextlib
import os
import select
import threading
import weakref
from collections.abc import Callable
from typing import Final

from ..shared.clock import now_ns
from ..shared.credentials import Credentials
from ..shared.idling import Idle, Idler
from .errors import ClientError, ClosedError
from .exchange import Exchange
from .producer_core import ProducerCore

_MS: Final = 1_000_000

# A caller that only sends looks for confirmations this often, not at each message.
LOOK_EVERY_NS: Final = 50_000

# How long the pump stays out of the way of busy callers: the longest that a collected message can
# wait after the last call.
_PARK_MS: Final = 2

# A leader looks again at least this often. What cannot wait so long nudges it: an earlier deadline,
# or a connection that another thread has replaced.
_LEAD_MS: Final = 50

Hook = Callable[[int, int], None]


def report(core: ProducerCore, hook: Hook) -> None:
    """Calls the measuring hook for each record that is confirmed to its end.

    A hook that raises ends the producer: the error must reach somebody, and the caller that does
    the I/O at the moment may have sent something quite different.
    """
    now = now_ns()
    try:
        for batch in core.progressed:
            if batch.confirmed == batch.count:
                hook(now - batch.opened_ns, batch.count)
    except Exception as error:  # noqa: BLE001
        failure = ClientError(f"the hook on_record_confirmed of {core.name} raised {error!r}")
        failure.__cause__ = error
        core.abort(failure)


def _pipe() -> tuple[int, int]:
    """Wakes a thread that polls: `_write` to the second, `_read` from the first."""
    ends = os.pipe()
    for end in ends:
        os.set_blocking(end, False)
    return ends


def _write(fd: int) -> None:
    if fd >= 0:
        with contextlib.suppress(BlockingIOError):
            os.write(fd, b"!")


def _read(fd: int) -> None:
    if fd >= 0:
        with contextlib.suppress(BlockingIOError):
            os.read(fd, 64)


def _polled(*fds: int) -> select.poll:
    """What waits for descriptors; -1 stands for one that there is not."""
    poll = select.poll()
    for fd in fds:
        if fd >= 0:
            poll.register(fd, select.POLLIN)
    return poll


_lines: weakref.WeakSet[Line] = weakref.WeakSet()


class Line:
    """One producer's socket. All methods but `close` are called with `lock` held."""

    def __init__(self, core: ProducerCore, credentials: Credentials, idle: Idle) -> None:
        self._idler = Idler(idle)
        self.lock = threading.Lock()
        self.core = core
        self.hook: Hook | None = None
        self.look_ns = 0
        self._exchange = Exchange(core, credentials, self._replacing)
        self._closed = False
        self._moved = threading.Condition(self.lock)
        self._waiting = 0
        self._waits = 0
        self._leading = self._nudged = False
        self._pump_until_ns = self._lead_until_ns = 0
        self._wake_in, self._wake_out = _pipe()
        self._nudge_in, self._nudge_out = _pipe()
        self._led, self._led_fd = _polled(self._nudge_in), -1  # what a leader waits for
        self._thread = threading.Thread(
            target=self._run, name=f"interlock-{core.name}", daemon=True
        )
        self._thread.start()
        _lines.add(self)

    def pump(self, now: int) -> None:
        """Does all that can be done without waiting, and tells whom it concerns."""
        core = self.core
        self._exchange.pump(now)
        self.look_ns = now + LOOK_EVERY_NS
        if core.progressed:
            if self.hook is not None:
                report(core, self.hook)
            core.progressed.clear()
            self._tell()
        if core.error is not None:
            self._tell()
        if core.deadline_ns < self._pump_until_ns:
            self._pump_until_ns = 0
            _write(self._wake_out)
        if core.deadline_ns < self._lead_until_ns:
            self._lead_until_ns = 0
            self._nudge()

    def wait(self, ready: Callable[[], bool], timeout: float | None) -> bool:
        """Until `ready()`; false when `timeout` seconds have passed, None: never.

        Raises the error that ended the producer.
        """
        end_ns = None if timeout is None else now_ns() + int(timeout * 1e9)
        self._waiting += 1
        self._waits += 1
        try:
            while not ready():
                core, now = self.core, now_ns()
                if core.error is not None:
                    raise core.error.with_traceback(None)
                left_ms = _LEAD_MS
                if end_ns is not None:
                    left_ms = min(left_ms, (end_ns - now + _MS - 1) // _MS)
                    if left_ms <= 0:
                        return False
                if self._leading:
                    self._moved.wait(left_ms / 1000)
                    continue
                if (not core.outbox or self._exchange.blocked) and now < core.deadline_ns:
                    self._lead(left_ms, now)
                    now = now_ns()
                self.pump(now)
            return True
        finally:
            self._waiting -= 1
            if self._waiting:
                self._moved.notify()

    def close(self) -> None:
        """Says goodbye and frees the socket. Never blocks on the network."""
        with self.lock:
            self._exchange.close()
            self._closed = True
            self._moved.notify_all()
            _write(self._wake_out)
        if self._thread is not threading.current_thread():
            self._thread.join()
        with self.lock:
            for fd in (self._wake_in, self._wake_out, self._nudge_in, self._nudge_out):
                if fd >= 0:
                    os.close(fd)
            self._wake_in = self._wake_out = self._nudge_in = self._nudge_out = -1

    def _lead(self, left_ms: int, now: int) -> None:
        """Waits for the socket outside the lock, as the one thread that does."""
        due_ms = max(0, (self.core.deadline_ns - now + _MS - 1) // _MS)
        wait_ms = min(left_ms, due_ms)
        fd = self._exchange.fd
        if fd != self._led_fd:
            self._led, self._led_fd = _polled(self._nudge_in, fd), fd
        self._leading = True
        self._lead_until_ns = now + wait_ms * _MS
        self.lock.release()
        try:
            self._idler.wait(self._led.poll, wait_ms)
        finally:
            self.lock.acquire()
            self._leading = False
            self._lead_until_ns = 0
            if self._nudged:
                self._nudged = False
                _read(self._nudge_in)

    def _tell(self) -> None:
        if self._waiting > self._leading:
            self._moved.notify_all()

    def _replacing(self) -> None:
        """The descriptor that others wait on is about to be closed: it never becomes readable."""
        _write(self._wake_out)
        if self._leading:
            self._nudge()

    def _nudge(self) -> None:
        """Ends the leader's wait."""
        self._nudged = True
        _write(self._nudge_out)

    def _run(self) -> None:
        """The pump."""
        seen_waits, seen_next, seen_ns = -1, 0, 0
        while True:
            with self.lock:
                now, core = now_ns(), self.core
                if self._closed:
                    return
                sent = core.backlog.next - seen_next
                busy = (
                    self._waiting > 0
                    or self._waits != seen_waits
                    or sent * LOOK_EVERY_NS > now - seen_ns
                )
                seen_waits, seen_next, seen_ns = self._waits, core.backlog.next, now
                fd = -1
                if busy:
                    until_ns = min(now + _PARK_MS * _MS, core.deadline_ns)
                else:
                    self._pump_quietly(now)
                    until_ns = core.deadline_ns
                    fd = self._exchange.fd
                self._pump_until_ns = until_ns
            self._sleep(fd, min(1_000, max(1, (until_ns - now + _MS - 1) // _MS)))

    def _pump_quietly(self, now: int) -> None:
        try:
            self.pump(now)
        except Exception as error:  # noqa: BLE001  a bug, and only callers can tell of it
            failure = ClientError(f"the producer {self.core.name} stopped: {error!r}")
            failure.__cause__ = error
            self.core.abort(failure)
            self._tell()

    def _sleep(self, fd: int, wait_ms: int) -> None:
        _polled(self._wake_in, fd).poll(wait_ms)
        _read(self._wake_in)

    def _forked(self) -> None:
        """In a child process the socket, the pump and perhaps the lock's holder are gone."""
        self.lock = threading.Lock()
        self._moved = threading.Condition(self.lock)
        self._exchange.abandon()
        self.core.error = None
        self.core.abort(
            ClosedError(
                f"the producer {self.core.name} belongs to the parent process; "
                "make a new one after the fork"
            )
        )


def _after_fork() -> None:
    for line in list(_lines):
        line._forked()


os.register_at_fork(after_in_child=_after_fork)
