"""Real processes change roles while a producer sends and a consumer checks all the time.

Every test ends the same way: each message was delivered exactly once, in order and unchanged, both
journals are byte-identical, and each is sound.
"""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from interlock import Consumer, HistoryError, Producer, TimeoutExpired
from interlock.cli.embedded import EmbeddedPair
from interlock.client.control import ControlClient
from interlock.shared.commands import QuarantineEntry
from interlock.shared.epochs import Mode
from interlock.shared.journal import JournalReader
from interlock.shared.operations import Operation
from support.operators import epochs, failing, operate, preflight
from support.pair import pair_of, run, status, wait_for, wait_for_state
from support.traffic import Traffic, assert_one_history

SWITCHOVERS = 100


def other(node: str) -> str:
    return "b" if node == "a" else "a"


def journal_tail(pair: EmbeddedPair, node: str, after: int) -> bytes:
    """The bytes of a node's log beyond a seq, as its files have them."""
    records = JournalReader(pair.config.data_dir(node)).records(after + 1)
    return b"".join(bytes(record.raw) for record in records)


def test_a_hundred_switchovers_under_load_lose_nothing(tmp_path: Path) -> None:
    """Planned, there and back again. Each receipt says that the old leader was fenced and that the
    new one holds all that was released; each reign is one epoch, in turn."""
    with pair_of(tmp_path) as pair, Traffic(pair.config, 1_000) as traffic:
        leader = "a"
        for number in range(1, SWITCHOVERS + 1):
            receipt = operate(pair, Operation.SWITCHOVER, leader, reason=f"number {number}")
            assert {check.name for check in receipt.checks} >= {"fenced", "one leader", "no gap"}
            assert receipt.pause_ms > 0
            leader = other(leader)
            if number % 10 == 0:
                traffic.wait_for_more(10)
        assert traffic.finish() > SWITCHOVERS
        found = [(epoch.leader, epoch.reason) for epoch in epochs(pair, leader)]
        assert found[1:] == [
            ("b" if number % 2 else "a", f"number {number}") for number in range(1, SWITCHOVERS + 1)
        ]
        assert_one_history(pair)


def resubmit(pair: EmbeddedPair, entry: QuarantineEntry) -> dict[str, tuple[int, int, str]]:
    """`interlock quarantine resubmit`: by producer what it submitted, found to be there, and its
    fate."""
    said = ("--reason", "what was cut off", "--confirm", "a", "--json", "-c", pair.config.path)
    done = run("quarantine", "resubmit", "a", entry.name, *said)
    assert done.returncode == 0, done.stdout + done.stderr
    return {
        part["producer"]: (part["submitted"], part["already_there"], part["fate"])
        for part in json.loads(done.stdout)["producers"]
    }


def test_killed_with_a_tail_promoted_reinstated_and_the_tail_submitted_again(
    tmp_path: Path,
) -> None:
    """A is killed with a tail that B never got. B is promoted and serves alone. A comes back and is
    fenced; reinstated, its tail is in quarantine byte for byte.

    In the tail are messages of two producers. The one that lives has submitted its own again long
    ago: they are found to be there. The other died with A: its five come back by `resubmit`."""
    with pair_of(tmp_path) as pair, Traffic(pair.config) as traffic:
        traffic.wait_for_more()
        gone = Producer("gone", pair.config)
        gone.send(b"held").result(10)
        pair.kill("b", signal.SIGSTOP)
        wait_for_state(pair, "a", "STALLED")
        for number in range(5):
            gone.send(b"gone %d" % number)
        with pytest.raises(TimeoutExpired):
            gone.flush(0.2)
        gone.close()
        released = status(pair, "a").watermarks.released_seq
        pair.kill("a")
        pair.kill("b", signal.SIGCONT)
        wait_for_state(pair, "b", "ORPHANED")
        assert traffic.last_seq <= released
        held = status(pair, "b").watermarks.accepted_seq
        tail = journal_tail(pair, "a", held)
        assert b"gone 4" in tail

        found = preflight(pair, Operation.PROMOTE, "b", solo=True)
        assert "a is stopped and stays stopped" in found.attestation
        operate(pair, Operation.PROMOTE, "b", solo=True)
        traffic.wait_for_more()
        assert status(pair, "b").unprotected is not None

        pair.start("a")
        wait_for_state(pair, "a", "FENCED")
        risks = preflight(pair, Operation.REINSTATE, "a").risks
        assert [risk.what for risk in risks] == ["quarantined"]
        assert risks[0].producers.keys() == {"load", "gone"}
        operate(pair, Operation.REINSTATE, "a")
        pair.wait_until_gated()
        traffic.wait_for_more()
        assert status(pair, "b").unprotected is None

        entry = ControlClient(pair.config).quarantine("a")[0]
        assert (entry.state, entry.first_seq) == ("kept", held + 1)
        assert entry.producers == risks[0].producers
        out = tmp_path / "tail"
        done = run("quarantine", "export", "a", entry.name, "-o", out, "-c", pair.config.path)
        assert done.returncode == 0, done.stderr
        assert out.read_bytes() == tail

        first = resubmit(pair, entry)
        assert first["load"] == (0, 0, "connected"), "the living producer is left alone"
        assert first["gone"] == (5, 0, "done")
        assert traffic.finish() > entry.producers["load"]
        again = resubmit(pair, entry)
        assert again == {"load": (0, entry.producers["load"], "done"), "gone": (0, 5, "done")}
        wait_for("what was resubmitted", lambda: len(traffic.others["gone"]) >= 6)
        assert traffic.others["gone"] == [
            (1, b"held"),
            *((2 + number, b"gone %d" % number) for number in range(5)),
        ]
        assert ControlClient(pair.config).quarantine("a")[0].state == "resubmitted"
        assert_one_history(pair)


def test_without_its_standby_it_stalls_goes_solo_and_the_gate_comes_back(tmp_path: Path) -> None:
    """B is killed: A stalls, and nothing is released until an operator says solo. `--for 2s` is
    over: it stalls again rather than going on. Solo without an end lasts until B has caught up, and
    then the gate engages by itself."""
    with pair_of(tmp_path) as pair, Traffic(pair.config) as traffic:
        traffic.wait_for_more()
        pair.kill("b")
        wait_for_state(pair, "a", "STALLED")
        assert failing(pair, Operation.SWITCHOVER, "a")
        held = status(pair, "a").watermarks.released_seq
        wait_for("messages to wait", lambda: traffic.unconfirmed > 300)
        assert status(pair, "a").watermarks.released_seq == held

        operate(pair, Operation.SOLO, "a", for_ms=2_000)
        traffic.wait_for_more()
        unprotected = status(pair, "a").unprotected
        assert unprotected is not None
        assert unprotected.messages > 50
        assert unprotected.until_ns
        wait_for_state(pair, "a", "STALLED", "the time that was given to solo is over")
        held = status(pair, "a").watermarks.released_seq
        waiting = traffic.unconfirmed
        wait_for("messages to wait again", lambda: traffic.unconfirmed > waiting + 300)
        assert status(pair, "a").watermarks.released_seq == held

        operate(pair, Operation.SOLO, "a")
        traffic.wait_for_more()
        pair.start("b")
        pair.wait_until_gated()
        traffic.wait_for_more()
        assert status(pair, "a").unprotected is None
        assert status(pair, "b").promotable
        modes = [epoch.mode for epoch in epochs(pair, "a")]
        assert modes == [Mode.GATED, Mode.SOLO, Mode.SOLO, Mode.GATED]
        traffic.finish()
        assert_one_history(pair)


class Witness:
    """Reads one node only, as a consumer that cannot reach the other; keeps the last seq."""

    def __init__(self) -> None:
        self.last_seq = 0

    def read(self, consumer: Consumer) -> None:
        try:
            for message in consumer:
                self.last_seq = message.seq
        except HistoryError:
            pass  # reinstated, the node serves the other's log


@contextmanager
def witness_of(pair: EmbeddedPair, name: str) -> Iterator[Witness]:
    node, witness = pair.config.node(name), Witness()
    with Consumer(
        feeds=[node.feed], replays=[node.replay], cluster=pair.config.cluster, control=True
    ) as consumer:
        thread = threading.Thread(target=witness.read, args=(consumer,), daemon=True)
        thread.start()
        yield witness
    thread.join()


def test_a_zombie_releases_nothing_that_its_successor_does_not_hold(tmp_path: Path) -> None:
    """A hangs (SIGSTOP) with its connections open, B is promoted with an attestation, and A wakes
    up as a primary with a full pocket. It fences itself within seconds, and whoever reads only A
    has seen nothing beyond what both held."""
    with (
        pair_of(tmp_path) as pair,
        Traffic(pair.config) as traffic,
        witness_of(pair, "a") as witness,
    ):
        traffic.wait_for_more()
        pair.kill("a", signal.SIGSTOP)
        wait_for_state(pair, "b", "ORPHANED")
        operate(pair, Operation.PROMOTE, "b", solo=True)
        traffic.wait_for_more()
        successor = epochs(pair, "b")[-1]
        assert successor.leader == "b"
        pair.kill("a", signal.SIGCONT)

        def fenced() -> bool:
            seen = status(pair, "a")
            assert seen.watermarks.released_seq < successor.first_seq
            return seen.state == "FENCED"

        wait_for("the zombie to fence itself", fenced, 5)
        traffic.wait_for_more()
        assert status(pair, "a").watermarks.released_seq < successor.first_seq
        assert 0 < witness.last_seq < successor.first_seq
        operate(pair, Operation.REINSTATE, "a")
        pair.wait_until_gated()
        traffic.wait_for_more()
        traffic.finish()
        assert_one_history(pair)
