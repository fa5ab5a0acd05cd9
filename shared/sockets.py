"""ZeroMQ sockets as every part of Interlock makes them.

Decides options and their reasons. All messages are single-frame (on a ROUTER: routing id and
frame), so that MAXMSGSIZE, which bounds a frame, bounds a message.
"""

from __future__ import annotations

import errno
import fcntl
import os
import resource
from collections.abc import Iterable
from itertools import count
from typing import Any

import zmq

from .descriptors import make_room, with_spares
from .errors import UserError
from .limits import (
    FEW_DESCRIPTORS,
    HWM_FRAMES,
    MAX_CONNECTIONS,
    MAX_FRAME_BYTES,
    RESERVED_DESCRIPTORS,
)

Socket = zmq.Socket[Any]

# Who sent it (a routing id), the key that the sender has proven (Z85; empty: none), and the frames.
Routed = tuple[bytes, str, list[bytes]]

# A connection that does not finish its handshake holds a descriptor until then; the default of
# 30 s lets a burst of idle connections exhaust the descriptors that the journal needs.
HANDSHAKE_MS = 2_000
_NOBLOCK = int(zmq.NOBLOCK)
_SNDMORE = int(zmq.SNDMORE | zmq.NOBLOCK)
_POLLIN = int(zmq.POLLIN)

RECONNECT_MS = 50
RECONNECT_MAX_MS = 500

_ERRORS = {
    errno.EADDRINUSE: "is in use by another process; stop that one or change the endpoint",
    errno.EADDRNOTAVAIL: "is not an address of this machine; change the endpoint",
    errno.ENODEV: "names no interface or address of this machine; change the endpoint",
    errno.EACCES: "is not permitted for this user; change the endpoint",
    errno.ENOENT: "is in a directory that does not exist; create it or change the endpoint",
}


def make_socket(
    context: zmq.Context[Any],
    kind: int,
    *,
    max_bytes: int = MAX_FRAME_BYTES,
    hwm: int = HWM_FRAMES,
    mandatory: int = 0,
) -> Socket:
    """A socket of `kind` that never blocks an exit and takes no frame above `max_bytes`.

    `mandatory`: a ROUTER that raises what it cannot deliver. Raises UserError if the process may
    not open any more.
    """
    socket = _new(context, kind)
    socket.setsockopt(zmq.LINGER, 0)
    socket.setsockopt(zmq.MAXMSGSIZE, max_bytes)
    socket.setsockopt(zmq.SNDHWM, hwm)
    socket.setsockopt(zmq.RCVHWM, hwm)
    socket.setsockopt(zmq.HANDSHAKE_IVL, HANDSHAKE_MS)
    socket.setsockopt(zmq.RECONNECT_IVL, RECONNECT_MS)
    socket.setsockopt(zmq.RECONNECT_IVL_MAX, RECONNECT_MAX_MS)
    socket.setsockopt(zmq.IPV6, 1)
    if mandatory:
        socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
    return socket


def _new(context: zmq.Context[Any], kind: int) -> Socket:
    try:
        return with_spares(lambda: context.socket(kind))
    except zmq.ZMQError as error:
        raise _exhausted(error) from None


def _exhausted(error: zmq.ZMQError) -> UserError:
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return UserError(
        f"cannot open another socket: {error.strerror}; this process may open {limit} files: "
        "raise that (ulimit -n, or LimitNOFILE in its unit)"
    )


_monitors = count()


def monitored(socket: Socket, events: int) -> Socket:
    """A socket on which libzmq tells of these events of another one. Unbounded, so drain it often:
    at a bound libzmq would wait with its I/O thread. Raises as `make_socket`."""
    address = f"inproc://monitor-{next(_monitors)}"
    try:
        with_spares(lambda: socket.monitor(address, events))
    except zmq.ZMQError as error:
        raise _exhausted(error) from None
    told = _new(socket.context, zmq.PAIR)
    told.setsockopt(zmq.RCVHWM, 0)
    told.setsockopt(zmq.LINGER, 0)
    told.connect(address)
    return told


def connections_of_each(sockets: int) -> int:
    """How many connections each of `sockets` bound sockets may have, within the descriptors that
    the process may open, which are raised to what the system allows.

    Where they are few there is no bound: a crowd is there quicker than anybody looks, and opening
    sockets anew would find no descriptor. Idle connections end after HANDSHAKE_MS there as well.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        wanted = min(hard, 2 * MAX_CONNECTIONS * sockets)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
        soft = max(soft, wanted)
    if soft < FEW_DESCRIPTORS:
        return soft
    return min(MAX_CONNECTIONS, (soft - RESERVED_DESCRIPTORS) // sockets)


def bind(socket: Socket, key: str, endpoint: str) -> None:
    """Binds, or raises UserError naming the configuration's `key` and what is wrong with it."""
    if endpoint.startswith("ipc://"):
        _lock_ipc(key, endpoint)
    make_room()
    try:
        socket.bind(endpoint)
    except zmq.ZMQError as error:
        what = _ERRORS.get(error.errno or 0, f"cannot be bound: {error.strerror}")
        raise UserError(f"{key}: {endpoint} {what}") from None


_ipc_locks: dict[str, int] = {}  # by path; held until the process ends


def _lock_ipc(key: str, endpoint: str) -> None:
    """libzmq unlinks and re-binds an ipc path that a live process is bound to, which steals it."""
    path = endpoint.removeprefix("ipc://") + ".lock"
    if path in _ipc_locks:
        return
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise UserError(f"{key}: cannot use {path}: {error.strerror}") from None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(fd)
        raise UserError(f"{key}: {endpoint} {_ERRORS[errno.EADDRINUSE]}") from None
    _ipc_locks[path] = fd


# pyzmq resolves its enumerations in Python for each option that is read, and wraps `send` for
# options that nothing here has: on the path of a message its plain calls are used instead. Asking
# for readiness by `zmq_poll` takes a third less than by EVENTS, a Frame less than asking RCVMORE.
send_frame = zmq.backend.Socket.send


def send_to(socket: Socket, peer: bytes, frame: bytes) -> None:
    """Sends a frame to one peer of a ROUTER. Raises zmq.Again if the peer does not read."""
    send_frame(socket, peer, _SNDMORE)
    send_frame(socket, frame, _NOBLOCK)


def readable_of(sockets: Iterable[Socket]) -> list[Socket]:
    """Those on which a message waits. Lets libzmq do what it has to do besides."""
    found: list[Any] = zmq.zmq_poll([(each, _POLLIN) for each in sockets], 0)
    return [socket for socket, _ in found]


def readable(socket: Socket) -> bool:
    """Whether a message waits on the socket; as `readable_of`."""
    return bool(zmq.zmq_poll([(socket, _POLLIN)], 0))


def receive_routed(socket: Socket) -> Routed:
    """The next message of a ROUTER. Raises zmq.Again if there is none."""
    sender = socket.recv(_NOBLOCK)
    first = socket.recv(_NOBLOCK, False)
    return sender, "", _all_after(socket, first) if first.more else [first.bytes]


def receive_keyed(socket: Socket) -> Routed:
    """As `receive_routed`, with the key that its sender has proven."""
    sender = socket.recv(_NOBLOCK)
    first = socket.recv(_NOBLOCK, False)
    try:
        user = str(first.get("User-Id"))
    except zmq.ZMQError:  # no key was proven: that of nobody
        user = ""
    return sender, user, _all_after(socket, first) if first.more else [first.bytes]


def receive_all(socket: Socket) -> list[bytes]:
    """All frames of the next message. Raises zmq.Again if there is none."""
    first = socket.recv(_NOBLOCK, False)
    return _all_after(socket, first) if first.more else [first.bytes]


def _all_after(socket: Socket, frame: zmq.Frame) -> list[bytes]:
    """The frames of a message that begins with this one. Rare: ours are single."""
    frames = [frame.bytes]
    while frame.more:
        frame = socket.recv(_NOBLOCK, False)
        frames.append(frame.bytes)
    return frames
