"""A thousand connections to every socket of both nodes, on which nobody ever says anything."""

from __future__ import annotations

import contextlib
import resource
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from faults.stage import FINISH_S, Stage, stage
from interlock.shared.config import SOCKETS
from support.pair import endpoint, host_and_port, wait_for

pytestmark = [pytest.mark.faults, pytest.mark.timeout(300)]

CONNECTIONS = 1_000
ENOUGH_FILES = 16_000
MANY_FILES = 500  # so many at once show that a node does hold them
FEW_FILES = 200
LIMIT = 1_024


@pytest.fixture
def _many_files() -> Iterator[None]:
    """Descriptors for this process, and for the nodes, which inherit the limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < ENOUGH_FILES:
        pytest.skip(f"{ENOUGH_FILES} open files are needed, and {hard} are allowed here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@contextmanager
def idle_connections(pair: Stage) -> Iterator[None]:
    """A thousand to each socket of both nodes, who may accept them a little later."""
    places = [(name, kind) for name in "ab" for kind in SOCKETS]
    addresses = [host_and_port(endpoint(pair.config, *place)) for place in places]
    with ExitStack() as stack:
        for number in range(CONNECTIONS * len(addresses)):
            one = stack.enter_context(socket.socket())
            one.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                one.connect(addresses[number % len(addresses)])
        yield


def open_files(pair: Stage, name: str) -> int:
    return sum(1 for _ in Path(f"/proc/{pair.processes[name].pid}/fd").iterdir())


def wait_until_gone(pair: Stage, name: str) -> None:
    wait_for(f"{name} to close them", lambda: open_files(pair, name) < FEW_FILES, FINISH_S)


@pytest.mark.usefixtures("_many_files")
def test_idle_connections_hinder_nobody(tmp_path: Path) -> None:
    """Meanwhile the pair serves who is there and who comes; and it gets rid of them by itself."""
    with stage(tmp_path) as pair, idle_connections(pair):
        for name in "ab":
            wait_for(f"{name} to have them", lambda name=name: open_files(pair, name) > MANY_FILES)
        pair.wait_for_more()
        assert pair.nodes().keys() == {"a", "b"}
        for name in "ab":
            wait_until_gone(pair, name)
        assert pair.finish() > 400


@pytest.mark.faults_long
@pytest.mark.usefixtures("_many_files")
def test_a_node_that_may_open_few_files_is_back_when_they_are_gone(tmp_path: Path) -> None:
    """With the usual limit of 1,024 open files the connections take them all. Nothing is lost, no
    node ends, and soon everybody is served again."""
    few = ["prlimit", f"--nofile={LIMIT}:{LIMIT}"]
    with stage(tmp_path, around={"a": few, "b": few}) as pair:
        with idle_connections(pair):
            wait_for("a to have no descriptor left", lambda: open_files(pair, "a") == LIMIT)
        wait_until_gone(pair, "a")
        pair.wait_for_more()
        assert pair.finish() > 400
