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

import msgspec
import zmq

from .clock import now_ns
from .commands import (
    Approve,
    ControlRequest,
    Execute,
    KeysReloaded,
    ReloadKeys,
    RoleRequest,
    Status,
)
from .config import Config
from .credentials import Credentials, owners_of
from .descriptors import keep_spares
from .door import Door
from .doorkeeper import Doorkeeper
from .effects import Answer, AskPeer, Effect, Halt, MarkQuarantine, Note, Quit, SaveMemory
from .errors import LocalError, Reason, RemoteError, UserError
from .events import KeysChanged
from .journal import QuarantineStore
from .keyring import Principal
from .limits import INTAKE_PER_TURN, MAX_SMALL_FRAME_BYTES, MAX_SUBSCRIPTION_BYTES
from .messages import PROTOCOL_VERSION, Codec, Message, Refused, encode
from .peerline import PeerLine
from .policy import check_control
from .sockets import send_to
from .state import DataDir
from .telemetry import Counters, JournalStatus, NodeStatus, ProcessStatus
from .waiter import Waiter

MS = 1_000_000
_STATM = Path("/proc/self/statm")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
EVENTS_KEPT = 50
MEMORY_EVERY_NS = 1_000 * MS
MEMORY_AGAIN_NS = 30_000 * MS  # freed memory is not always given back to the system
TEND_EVERY_MS = 10  # to look who has connected or left
# The answer to a shutdown is the last word of a process: its end must not swallow it.
ANSWER_LINGER_MS = 500

log = logging.getLogger("interlock")
_requests: Codec[ControlRequest] = Codec(ControlRequest)


class Panel:
    """The operators' side of one node process."""

    def __init__(self, config: Config, name: str, data: DataDir) -> None:
        """Reads the keys, and binds control and telemetry. Raises UserError for keys or endpoints
        that cannot be used."""
        config.check_exposure(name)
        keep_spares()
        self.config = config
        self.name = name
        self.data = data
        self.counters = Counters()
        self.started_ns = time.time_ns()
        self.events: deque[str] = deque(maxlen=EVENTS_KEPT)
        self.stopping = False
        self.context: zmq.Context[Any] = zmq.Context()
        self.waiter = Waiter(config.node(name).idle)
        self.keeper = Doorkeeper(self.context, config, name, self.waiter, self.counters, self.note)
        self.doors: list[Door] = []
        self.control = self.door("control", zmq.ROUTER, max_bytes=MAX_SMALL_FRAME_BYTES)
        self.telemetry = self.door("telemetry", zmq.PUB, max_bytes=MAX_SUBSCRIPTION_BYTES)
        self.quarantine = QuarantineStore(data.path)
        self.credentials = Credentials(
            lambda: (self.keeper.pair, self.keeper.ring), owners_of(config)
        )
        peer_control = config.node(config.peer_of(name)).control
        self.peer = PeerLine(
            self.context, peer_control, self.credentials, self.waiter, self.counters
        )
        started = self.keeper.started(data.memory.keys if data.memory else "")
        self._changed = [started] if started else []
        self._signalled = _catch_signals(self._stop)
        self.signalled_fd = self._signalled.fileno()
        self.waiter.add(self.signalled_fd)
        self._telemetry_ns = self._tended_ns = self._memory_ns = 0
        self._poll_ms = max(1, min(config.timing.heartbeat_ms // 2, 50))

    def door(self, domain: str, kind: int, **options: int) -> Door:
        """A new socket of this node, bound, guarded, and polled if it is one to read from."""
        endpoint: str = getattr(self.config.node(self.name), domain)
        made = Door(
            self.keeper,
            self.context,
            self.waiter,
            self.counters,
            domain,
            f"nodes.{self.name}.{domain}",
            endpoint,
            kind,
            **options,
        )
        self.doors.append(made)
        return made

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self.stopping = True

    # The turn ---------------------------------------------------------------------------------

    def poll(self, *, at_once: bool) -> set[Any]:
        """Waits for something to do, not at all if `at_once`, and no longer than a timer."""
        wait_ms = 0 if at_once else self._poll_ms
        return self.waiter.wait(min(wait_ms, 5) if self.peer.waits else wait_ms)

    def requests(self, ready: set[Any]) -> Iterator[tuple[bytes, Principal, RoleRequest]]:
        """The requests that wait on control, bounded per turn, and whose they are; what is none, or
        is not for its sender to ask, is refused here. Who acts is the key's name, not what a
        message claims."""
        if self.control.socket not in ready:
            return
        for sender, who, frames in self.control.arrivals(INTAKE_PER_TURN, now_ns()):
            try:
                request = _requests.decode_only(frames)
                if request.version != PROTOCOL_VERSION:
                    raise RemoteError(
                        Reason.WRONG_VERSION,
                        f"protocol version {request.version}; this node speaks {PROTOCOL_VERSION}",
                    )
                check_control(who, request)
                if isinstance(request, ReloadKeys):
                    self._reload_keys(sender, who)
                    continue
            except RemoteError as error:
                self.refuse(self.control, sender, who, error)
                continue
            if who.name and isinstance(request, Execute | Approve):
                request = msgspec.structs.replace(request, operator=who.name)
            yield sender, who, request

    def refuse(self, door: Door, sender: bytes, who: Principal, error: RemoteError) -> None:
        """Counts a message that was none or was not allowed, and tells its sender."""
        self.counters.refused(door.domain, error.reason)
        door.misbehaved(sender, who, now_ns())
        self.send(door, sender, Refused(error.reason, error.text))

    def send(self, door: Door, sender: bytes, message: Message) -> None:
        """Sends to one peer of a ROUTER, dropping it if the peer is gone or does not read."""
        socket = door.socket
        try:
            send_to(socket, sender, encode(message))
        except zmq.ZMQError:
            self.counters.count("replies-dropped")
        self.waiter.touch(socket)

    # Keys -------------------------------------------------------------------------------------

    def key_changes(self) -> Iterator[KeysChanged]:
        """What has become of the list of allowed keys since the last call, for the core."""
        changed, self._changed = self._changed, []
        yield from changed

    def _reload_keys(self, sender: bytes, who: Principal) -> None:
        """An operator has the files read now. Raises RemoteError if they cannot be used."""
        try:
            changed = self.keeper.reload(who.name or "an operator")
        except UserError as error:
            raise RemoteError(Reason.GUARD, f"the keys stay as they were: {error}") from None
        keys = len(self.keeper.ring.by_key)
        self.send(self.control, sender, KeysReloaded(changed.digest, keys, changed.changes))
        self._keys_changed(changed)

    def _keys_changed(self, changed: KeysChanged) -> None:
        if changed.changes:
            self._changed.append(changed)
        for door in self.doors:
            if door.domain in self.keeper.to_reopen:
                door.reopen()
        self.keeper.to_reopen = frozenset()

    def perform(self, effect: Effect, at_ns: int) -> None:
        """The effects that need no journal. Raises LocalError for any other."""
        match effect:
            case SaveMemory(memory):
                self.data.save(memory)
            case Note(text):
                self.note(text)
            case Answer(to, message):
                self.send(self.control, to, message)
            case AskPeer(number, question, patience_ns):
                self.peer.ask(number, question, at_ns + patience_ns)
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

    def tend(self, ready: set[Any], at_ns: int, status: Callable[[], NodeStatus]) -> None:
        """Lets clients in, publishes the status when it is time, takes changed keys and a signal's
        wake-up."""
        self.keeper.serve(ready, at_ns)
        if self.signalled_fd in ready:
            self._signalled.recv(64)
        for door in self.doors:
            door.tend(ready, at_ns)
        if at_ns - self._tended_ns >= TEND_EVERY_MS * MS:
            self._tended_ns = at_ns
            keep_spares()
            self._mind_memory(at_ns)
            if (changed := self.keeper.look(at_ns)) is not None:
                self._keys_changed(changed)
        if at_ns - self._telemetry_ns >= self.config.timing.telemetry_interval_ms * MS:
            self._telemetry_ns = at_ns
            self.telemetry.socket.send(encode(Status(status())), zmq.NOBLOCK)

    def _mind_memory(self, at_ns: int) -> None:
        """What libzmq has queued is freed with its connections: a message that never ends, or
        thousands of frames for subscribers that do not read. libzmq bounds neither in bytes."""
        if at_ns < self._memory_ns:
            return
        self._memory_ns = at_ns + MEMORY_EVERY_NS
        held = _resident_bytes() or 0
        if held <= self.config.limits.max_memory_bytes:
            return
        self._memory_ns = at_ns + MEMORY_AGAIN_NS
        self.counters.count("connections-dropped-for-memory")
        self.note(
            f"{held:,} bytes of memory are above limits.max_memory_bytes "
            f"({self.config.limits.max_memory_bytes:,}): the connections of all clients are "
            "dropped; they connect again",
            logging.ERROR,
        )
        for door in self.doors:
            if door.domain != "link":
                door.reopen()

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
            self.keeper.status(now_ns()),
        )

    def close(self) -> None:
        """Ends all sockets of the node."""
        for door in self.doors:
            door.close(ANSWER_LINGER_MS if door is self.control else 0)
        self.context.destroy(linger=0)


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
        with _STATM.open("rb", buffering=0) as file:
            return int(file.read(128).split()[1]) * _PAGE_BYTES
    except (OSError, ValueError, IndexError):
        return None


_kept: list[socket.socket] = []  # the writing end must outlive the call
