"""Descriptors kept back for what a node cannot do without: its journal's files, its own sockets.

A crowd of connections takes every descriptor that the process may open, as libzmq accepts whoever
comes. Then a few spare ones are given up for a moment, so that what is needed finds room.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable
from typing import Final, TypeVar

SPARES: Final = 32
_TRIES: Final = 3  # a crowd may be quicker at what was given up
_EXHAUSTED: Final = (errno.EMFILE, errno.ENFILE)

T = TypeVar("T")
_spares: list[int] = []
_lock = threading.Lock()


def keep_spares() -> None:
    """Takes as many spare descriptors as there should be, or as there are."""
    with _lock:
        try:
            while len(_spares) < SPARES:
                _spares.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
        except OSError:
            pass  # none left: what is there has to do


def with_spares(make: Callable[[], T]) -> T:
    """What `make` opens; if no descriptor is left, with the spare ones given up for it.

    Raises what `make` raises.
    """
    for attempt in range(_TRIES):
        try:
            return make()
        except Exception as error:  # OSError, and libzmq's own, which is none
            if getattr(error, "errno", 0) not in _EXHAUSTED:
                raise
            if attempt == _TRIES - 1 or not _spares:
                raise
            _give_up()
        finally:
            if attempt:
                keep_spares()
    raise AssertionError  # the last attempt returns or raises


def make_room() -> None:
    """Call it before libzmq binds or connects: it ends the process if it finds no descriptor to
    look an address up with. Call `keep_spares` afterwards."""
    try:
        os.close(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
    except OSError:
        _give_up()


def _give_up() -> None:
    with _lock:
        while _spares:
            os.close(_spares.pop())
