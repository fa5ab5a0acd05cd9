"""Spare descriptors, in a process of its own: it takes every descriptor that there is."""

from __future__ import annotations

import subprocess
import sys

import pytest

# The process may open 64 files; `fill` takes what is left of them, as a crowd of connections does.
STAGE = """
import errno, os, resource
from interlock.shared import descriptors
from interlock.shared.descriptors import SPARES, keep_spares, make_room, with_spares
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
crowd = []
def open_one():
    return os.open(os.devnull, os.O_RDONLY)
def fill():
    try:
        while True:
            crowd.append(open_one())
    except OSError as error:
        assert error.errno == errno.EMFILE
def refused(make):
    try:
        make()
    except OSError as error:
        return error.errno
"""


def run(steps: str) -> None:
    """Fails with what the process says."""
    done = subprocess.run(
        [sys.executable, "-P", "-c", STAGE + steps], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr


def test_without_spares_a_crowd_leaves_nothing() -> None:
    """Or the tests below would prove nothing."""
    run(
        "fill(); assert refused(open_one) == refused(lambda: with_spares(open_one)) == errno.EMFILE"
    )


def test_what_is_needed_finds_room_among_a_crowd() -> None:
    run("""
keep_spares()
fill()
assert refused(open_one) == errno.EMFILE
fd = with_spares(open_one)
os.fstat(fd)
assert refused(open_one) == errno.EMFILE, "the rest is kept back again"
more = [with_spares(open_one) for _ in range(SPARES - 1)]
assert len({fd, *more}) == SPARES
assert refused(lambda: with_spares(open_one)) == errno.EMFILE, "and then there is nothing left"
""")


def test_spares_are_taken_again_when_the_crowd_has_left() -> None:
    run("""
keep_spares()
fill()
held = [with_spares(open_one) for _ in range(SPARES)]
while crowd:
    os.close(crowd.pop())
keep_spares()
fill()
os.fstat(with_spares(open_one))
""")


def test_room_is_made_for_what_cannot_be_tried_again() -> None:
    """libzmq ends the process if it finds no descriptor: it is asked when there are some."""
    run("""
keep_spares()
make_room()
fill()
assert refused(open_one) == errno.EMFILE, "nothing was given up while there was room"
make_room()
held = [open_one() for _ in range(SPARES)]
assert refused(open_one) == errno.EMFILE
""")


@pytest.mark.parametrize("number", ["ENOENT", "EACCES", "EIO"])
def test_another_error_gives_nothing_up_and_is_tried_once(number: str) -> None:
    run(f"""
keep_spares()
fill()
tries = []
def fail():
    tries.append(1)
    raise OSError(errno.{number}, "no")
assert refused(lambda: with_spares(fail)) == errno.{number}
assert len(tries) == 1
assert len(descriptors._spares) == SPARES
""")
