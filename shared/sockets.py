"""ZeroMQ sockets as every part of Interlock makes them.

Decides options and their reasons. All messages are single-frame (on a ROUTER: routing id and
frame), so that MAXMSGSIZE, which bounds a frame, bounds a message.
"""

from __future__ import annotations

import errno
import fcntl
import os
from typing import Any

import zmq

from .errors import UserError
from .limits import HWM_FRAMES, MAX_FRAME_BYTES

Socket = zmq.Socket[Any]

# A connection that does not finish its handshake holds a descriptor until then; the default of
# 30 s lets a burst of idle connections exhaust the descriptors that the journal needs.
HANDSHAKE_MS = 2_000
_NOBLOCK = int(zmq.NOBLOCK)
_SNDMORE = int(zmq.SNDMORE | zmq.NOBLOCK)
_EVENTS = int(zmq.EVENTS)
_POLLIN = int(zmq.POLLIN)
_RCVMORE = int(zmq.RCVMORE)

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
    context: zmq.Context[Any], kind: int, *, max_bytes: int = MAX_FRAME_BYTES, hwm: int = HWM_FRAMES
) -> Socket:
    """A socket of `kind` that never blocks an exit and takes no frame above `max_bytes`."""
    socket: Socket = context.socket(kind)
    socket.setsockopt(zmq.LINGER, 0)
    socket.setsockopt(zmq.MAXMSGSIZE, max_bytes)
    socket.setsockopt(zmq.SNDHWM, hwm)
    socket.setsockopt(zmq.RCVHWM, hwm)
    socket.setsockopt(zmq.HANDSHAKE_IVL, HANDSHAKE_MS)
    socket.setsockopt(zmq.RECONNECT_IVL, RECONNECT_MS)
    socket.setsockopt(zmq.RECONNECT_IVL_MAX, RECONNECT_MAX_MS)
    socket.setsockopt(zmq.IPV6, 1)
    return socket


def bind(socket: Socket, key: str, endpoint: str) -> None:
    """Binds, or raises UserError naming the configuration's `key` and what is wrong with it."""
    if endpoint.startswith("ipc://"):
        _lock_ipc(key, endpoint)
    try:
        socket.bind(endpoint)
    except zmq.ZMQError as error:
        what = _ERRORS.get(error.errno or 0, f"cannot be bound: {error.strerror}")
        raise UserError(f"{key}: {endpoint} {what}") from None


_ipc_locks: list[int] = []


def _lock_ipc(key: str, endpoint: str) -> None:
    """libzmq unlinks and re-binds an ipc path that a live process is bound to, which steals it."""
    path = endpoint.removeprefix("ipc://") + ".lock"
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise UserError(f"{key}: cannot use {path}: {error.strerror}") from None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(fd)
        raise UserError(f"{key}: {endpoint} {_ERRORS[errno.EADDRINUSE]}") from None
    _ipc_locks.append(fd)  # held until the process ends


def send_to(socket: Socket, peer: bytes, frame: bytes) -> None:
    """Sends a frame to one peer of a ROUTER. Raises zmq.Again if the peer does not read."""
    socket.send(peer, _SNDMORE)
    socket.send(frame, _NOBLOCK)


def readable(socket: Socket) -> bool:
    """Whether a message waits on the socket. Lets libzmq do what it has to do besides."""
    return bool(socket.getsockopt(_EVENTS) & _POLLIN)  # type: ignore[operator]


def receive_routed(socket: Socket) -> list[bytes]:
    """The frames of the next message of a ROUTER. Raises zmq.Again if there is none.

    They are two at least: asking whether a second one follows would cost as much as receiving it.
    """
    frames = [socket.recv(_NOBLOCK), socket.recv(_NOBLOCK)]
    while socket.getsockopt(_RCVMORE):
        frames.append(socket.recv(_NOBLOCK))
    return frames


def receive_dealt(socket: Socket) -> list[bytes]:
    """The frames of the next message of a DEALER. Raises zmq.Again if there is none."""
    return socket.recv_multipart(_NOBLOCK)
