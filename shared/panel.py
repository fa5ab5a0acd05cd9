"""How a node is seen and commanded, whatever its journal is: control, telemetry, signals, events.

Decides nothing about the protocol. Everything here works without a journal, so that a node whose
journal cannot be opened can still say so and be repaired from afar; `nodeio` adds what a node needs
to serve. The panel outlives a repair: whoever waits for an answer on control gets it on the same
socket.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import time
from collections import deque
from collections.abc import Callable, Iterator
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import FrameType
from typing import Any

import zmq

from .commands import ControlRequest, Status
from .config import Config
from .effects import Answer, AskPeer, Effect, Halt, MarkQuarantine, Note, Quit, SaveMemory
from .errors import LocalError, Reason, RemoteError, UserError
from .journal import QuarantineStore
from .limits import INTAKE_PER_TURN, MAX_SMALL_FRAME_BYTES, MAX_SUBSCRIPTION_BYTES
from .messages import PROTOCOL_VERSION, Codec, Message, Refused, encode
from .peerline import PeerLine
from .sockets import Socket, bind, make_socket, send_to
from .state import DataDir
from .telemetry import Counters, JournalStatus, NodeStatus, ProcessStatus
from .waiter import Waiter

MS = 1_000_000
EVENTS_KEPT = 50
# The answer to a shutdown is the last word of a process: its end must not swallow it.
ANSWER_LINGER_MS = 500

log = logging.getLogger("interlock")
_requests: Codec[ControlRequest] = Codec(ControlRequest)


class Panel:
    """The operators' side of one node process."""

    def __init__(self, config: Config, name: str, data: DataDir) -> None:
        """Binds control and telemetry. Raises UserError for a bad endpoint."""
        self.config = config
        self.name = name
        self.data = data
        self.counters = Counters()
        self.started_ns = time.time_ns()
        self.events: deque[str] = deque(maxlen=EVENTS_KEPT)
        self.stopping = False
        self.context: zmq.Context[Any] = zmq.Context()
        self.waiter = Waiter()
        node = config.node(name)
        self.control = self.bound(
            zmq.ROUTER, "control", node.control, max_bytes=MAX_SMALL_FRAME_BYTES
        )
        self.telemetry: Socket = make_socket(
            self.context, zmq.PUB, max_bytes=MAX_SUBSCRIPTION_BYTES
        )
        bind(self.telemetry, f"nodes.{name}.telemetry", node.telemetry)
        self.quarantine = QuarantineStore(data.path)
        peer_control = config.node(config.peer_of(name)).control
        self.peer = PeerLine(self.context, peer_control, self.waiter, self.counters)
        self._signalled = _catch_signals(self._stop)
        self.signalled_fd = self._signalled.fileno()
        self.waiter.add(self.signalled_fd)
        self._telemetry_ns = 0
        self._poll_ms = max(1, min(config.timing.heartbeat_ms // 4, 25))

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
        if at_once:
            return self.waiter.wait(0)
        return self.waiter.wait(min(self._poll_ms, 5) if self.peer.waits() else self._poll_ms)

    def requests(self, ready: set[Any]) -> Iterator[tuple[bytes, ControlRequest]]:
        """The requests that wait on control, bounded per turn; what is none is refused here."""
        if self.control not in ready:
            return
        for sender, *frames in self.waiter.drain(self.control, INTAKE_PER_TURN):
            try:
                request = _requests.decode(one_frame(frames))
                if request.version != PROTOCOL_VERSION:
                    raise RemoteError(
                        Reason.WRONG_VERSION,
                        f"protocol version {request.version}; this node speaks {PROTOCOL_VERSION}",
                    )
            except RemoteError as error:
                self.refuse("control", self.control, sender, error)
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

    def perform(self, effect: Effect, now_ns: int) -> None:
        """The effects that need no journal. Raises LocalError for any other."""
        match effect:
            case SaveMemory(memory):
                self.data.save(memory)
            case Note(text):
                self.note(text)
            case Answer(to, message):
                self.send(self.control, to, message)
            case AskPeer(number, question, patience_ns):
                self.peer.ask(number, question, now_ns + patience_ns)
            case MarkQuarantine(entry, state):
                self._mark_quarantine(entry, state)
            case Quit(text):
                self.note(text)
                self.stopping = True
            case Halt(text):
                raise UserError(text)
            case _:
                raise LocalError(f"this role does not perform {effect}")

    def _mark_quarantine(self, entry: str, state: str) -> None:
        try:
            self.quarantine.mark(entry, state)
        except RemoteError as error:
            self.note(f"quarantine entry {entry} was not marked as {state}: {error}")

    def tend(self, ready: set[Any], now_ns: int, status: Callable[[], NodeStatus]) -> None:
        """Publishes the status when it is time, and takes a signal's wake-up away."""
        if self.signalled_fd in ready:
            self._signalled.recv(64)
        if now_ns - self._telemetry_ns >= self.config.timing.telemetry_interval_ms * MS:
            self._telemetry_ns = now_ns
            self.telemetry.send(encode(Status(status())), zmq.NOBLOCK)

    # What is told -----------------------------------------------------------------------------

    def note(self, text: str, level: int = logging.INFO) -> None:
        """An event for the log and for the status."""
        stamp = time.strftime("%H:%M:%S", time.gmtime())
        self.events.append(f"{stamp}Z {text}")
        log.log(level, "%s: %s", self.name, text)

    def process_status(self, journal: JournalStatus) -> ProcessStatus:
        """The part of the node's status that no core knows."""
        return ProcessStatus(
            self.started_ns,
            os.getpid(),
            _package_version(),
            journal,
            self.counters,
            list(self.events),
            self.config.pair.environment.value,
            self.config.pair.approvals,
            _resident_bytes(),
        )

    def close(self) -> None:
        """Ends all sockets of the node."""
        self.control.close(linger=ANSWER_LINGER_MS)
        self.context.destroy(linger=0)


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


def _resident_bytes() -> int | None:
    """What this process holds in memory; None where the system does not say (no /proc)."""
    try:
        pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    except (OSError, ValueError, IndexError):
        return None
    return pages * os.sysconf("SC_PAGE_SIZE")


_kept: list[socket.socket] = []  # the writing end must outlive the call
