"""What the shells of both roles need around their core: sockets, journal, signals, events, status.

Decides nothing about the protocol. The data path is one thread with one poller; fsync has a helper
thread inside the journal.
"""

from __future__ import annotations

import gc
import logging
import os
import signal
import socket
import time
from collections import deque
from collections.abc import Callable, Iterator
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from types import FrameType
from typing import Any

import zmq

from .config import Config
from .errors import Reason, RemoteError
from .journal import Journal
from .limits import INTAKE_PER_TURN, MAX_SMALL_FRAME_BYTES, MAX_SUBSCRIPTION_BYTES
from .messages import (
    PROTOCOL_VERSION,
    Codec,
    ControlReply,
    GetStatus,
    IntakeRequest,
    Message,
    Refused,
    Status,
    encode,
)
from .replay import ReplayServer
from .sockets import Socket, bind, make_socket, send_to
from .state import DataDir
from .telemetry import Counters, JournalStatus, NodeStatus, ProcessStatus
from .waiter import Waiter

MS = 1_000_000
EVENTS_KEPT = 50
LOOK_EVERY_NS = 5 * MS
COLLECT_EVERY_NS = 1_000 * MS

log = logging.getLogger("interlock")
intake_requests: Codec[IntakeRequest] = Codec(IntakeRequest)
_commands: Codec[GetStatus] = Codec(GetStatus)


class NodeIO:
    """The I/O of one node process."""

    def __init__(self, config: Config, name: str, data: DataDir, journal: Journal) -> None:
        """Binds the sockets that a node has in either role. Raises UserError for a bad endpoint."""
        self.config = config
        self.name = name
        self.data = data
        self.journal = journal
        self.counters = Counters()
        self.started_ns = time.time_ns()
        self.events: deque[str] = deque(maxlen=EVENTS_KEPT)
        self.stopping = False
        self.context: zmq.Context[Any] = zmq.Context()
        self.waiter = Waiter()
        node = config.node(name)
        self.intake = self.bound(zmq.ROUTER, "intake", node.intake)
        self.control = self.bound(
            zmq.ROUTER, "control", node.control, max_bytes=MAX_SMALL_FRAME_BYTES
        )
        self.telemetry: Socket = make_socket(
            self.context, zmq.PUB, max_bytes=MAX_SUBSCRIPTION_BYTES
        )
        bind(self.telemetry, f"nodes.{name}.telemetry", node.telemetry)
        self.replay = ReplayServer(
            self.context, f"nodes.{name}.replay", node.replay, config.cluster, name, journal
        )
        self.waiter.add(self.replay.socket)
        self.waiter.add(journal.wakeup_fd)
        self._signalled = _catch_signals(self._stop)
        self._signalled_fd = self._signalled.fileno()
        self.waiter.add(self._signalled_fd)
        # What is not on the path of a message, and is looked at only when it is time or ready.
        self._cold = {self.control, self.replay.socket, self._signalled_fd}
        self._look_ns = 0
        self._telemetry_ns = self._prepare_ns = self._collect_ns = 0
        self._poll_ms = max(1, min(config.timing.heartbeat_ms // 4, 25))
        gc.collect()
        gc.freeze()
        gc.disable()  # a collection in mid-turn would show as a latency spike; see `housekeeping`

    def bound(self, kind: int, role: str, endpoint: str, **options: int) -> Socket:
        """A new socket of this node, bound and polled."""
        made = make_socket(self.context, kind, **options)
        bind(made, f"nodes.{self.name}.{role}", endpoint)
        self.waiter.add(made)
        return made

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self.stopping = True

    # The turn ---------------------------------------------------------------------------------

    def poll(self, *, at_once: bool) -> set[Any]:
        """Waits for something to do, not at all if `at_once`, and no longer than a timer."""
        return self.waiter.wait(0 if at_once else self._poll_ms)

    def requests(self) -> Iterator[tuple[bytes, IntakeRequest]]:
        """The requests that wait on the intake, bounded per turn; what is none is refused here.

        Lazy: a caller that stops early leaves the rest in the socket for the next turn.
        """
        for sender, *frames in self.waiter.drain(self.intake, INTAKE_PER_TURN):
            try:
                request = intake_requests.decode(one_frame(frames))
            except RemoteError as error:
                self.refuse("intake", self.intake, sender, error)
            else:
                yield sender, request

    def refuse(self, role: str, to: Socket, sender: bytes, error: RemoteError) -> None:
        """Counts and tells the sender that its message was none."""
        self.counters.refused(role, error.reason)
        self.send(to, sender, Refused(error.reason, error.text))

    def send(self, to: Socket, sender: bytes, message: Message) -> None:
        """Sends to one peer of a ROUTER, dropping it if the peer is gone or does not read."""
        try:
            send_to(to, sender, encode(message))
            self.waiter.touch(to)
        except (zmq.Again, zmq.ZMQError):
            self.counters.count("replies-dropped")

    def serve(
        self,
        ready: set[Any],
        released_seq: int,
        prunable_seq: int,
        now_ns: int,
        status: Callable[[], NodeStatus],
    ) -> None:
        """Replay, control, telemetry and housekeeping: what both roles do alike in each turn.

        Up to `prunable_seq` nobody in the pair needs this journal any more.
        """
        if now_ns < self._look_ns and not self._cold.intersection(ready):
            return
        self._look_ns = now_ns + LOOK_EVERY_NS
        if self.replay.socket in ready:
            self.replay.serve(self.waiter, released_seq, self.counters)
        if self.control in ready:
            self._serve_control(status)
        if self._signalled_fd in ready:
            self._signalled.recv(64)
        if now_ns - self._telemetry_ns >= self.config.timing.telemetry_interval_ms * MS:
            self._telemetry_ns = now_ns
            self.telemetry.send(encode(Status(status())), zmq.NOBLOCK)
        self._housekeeping(now_ns, prunable_seq, idle=not ready)

    def _serve_control(self, status: Callable[[], NodeStatus]) -> None:
        for sender, *frames in self.waiter.drain(self.control, INTAKE_PER_TURN):
            try:
                command = _commands.decode(one_frame(frames))
                if command.version != PROTOCOL_VERSION:
                    raise RemoteError(
                        Reason.WRONG_VERSION,
                        f"protocol version {command.version}; this node speaks {PROTOCOL_VERSION}",
                    )
                reply: ControlReply = Status(status())
            except RemoteError as error:
                self.refuse("control", self.control, sender, error)
            else:
                self.send(self.control, sender, reply)

    def _housekeeping(self, now_ns: int, prunable_seq: int, *, idle: bool) -> None:
        if now_ns - self._prepare_ns >= 1_000 * MS:
            self._prepare_ns = now_ns
            self.journal.prepare()
            if self.journal.prune(self.config.limits.retain_bytes, prunable_seq):
                self.note(f"pruned the journal; it now begins at seq {self.journal.first_seq}")
        if idle and now_ns - self._collect_ns >= COLLECT_EVERY_NS:
            self._collect_ns = now_ns
            gc.collect(1)

    def note(self, text: str) -> None:
        """An event for the log and for the status."""
        stamp = time.strftime("%H:%M:%S", time.gmtime())
        self.events.append(f"{stamp}Z {text}")
        log.info("%s: %s", self.name, text)

    def process_status(self) -> ProcessStatus:
        """The part of the node's status that no core knows."""
        journal = self.journal
        return ProcessStatus(
            self.started_ns,
            os.getpid(),
            _package_version(),
            JournalStatus(
                str(self.data.path),
                journal.first_seq,
                journal.segments,
                self.config.limits.segment_bytes,
                journal.room_bytes,
                journal.disk_free_bytes(),
            ),
            self.counters,
            list(self.events),
        )

    def close(self) -> None:
        """Ends the sockets, then the journal (synced), then the lock on the directory."""
        self.context.destroy(linger=0)
        self.journal.close()
        self.data.close()


def one_frame(frames: list[bytes]) -> bytes:
    """The only frame of a message. Raises RemoteError(MALFORMED) if there is not just one."""
    if len(frames) != 1:
        raise RemoteError(Reason.MALFORMED, f"a message of {len(frames)} frames; expected one")
    return frames[0]


def _catch_signals(stop: Callable[[int, FrameType | None], None]) -> socket.socket:
    """SIGTERM and SIGINT end the loop; the returned socket becomes readable so that it wakes."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)
    _kept.append(theirs)
    signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    return ours


@cache
def _package_version() -> str:
    try:
        return version("interlock")
    except PackageNotFoundError:  # run from a source tree that was never installed
        return "unknown"


_kept: list[socket.socket] = []  # the writing end must outlive the call
