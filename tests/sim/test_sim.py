"""Whole worlds from one seed each: kept seeds, fresh ones of the day, and proofs that it can fail.

`make sim SEEDS=1000` runs more of them and prints what was covered, `make soak HOURS=8` runs as
long as it is let, `make mutants` plants every bug of `planted.txt`, and `make exhaust` goes through
all interleavings of a small world.
"""

from __future__ import annotations

import time

import pytest

from interlock.primary.gate import Gate
from interlock.shared.config import AckLevel
from sim import mutants
from sim.exhaust import explore
from sim.mutations import Mutant, load
from sim.pieces import Budget
from sim.run import run_seed

# Seeds that once failed, with what was wrong then. The worlds have changed since (more faults,
# other operators), so the stories are kept as scenarios; these stay as good seeds to start with.
KEPT = {
    39: "a primary that had not noticed its broken link was asked to give way, and stopped",
    41: "a number that was promised and never opened parted the pair for ever",
    42: "solo over an epoch that was closed for the peer: one number twice",
    105: "nobody repaired a node that was FAILED",
    117: "solo on a node with a new, empty disk",
    215: "an attestation that is true by one reading and false by the other",
    356: "a release by an ack that a reseed had overtaken",
    1681: "a node was reseeded from one that lacked released records",
}
CHUNKS, CHUNK = 5, 30  # fresh seeds in all: what a minute has room for
DAY_S = 86_400

# Bugs that are caught within a few seeds: one of each kind of checker.
QUICK = (
    "the standby's ack is not waited for",
    "ack before fsync",
    "replay goes beyond the released",
    "an epoch's opening is not synced",
    "an overlap is cut at the wrong end",
    "a refused submission was sequenced",
)


@pytest.mark.parametrize("seed", KEPT)
def test_kept_seeds_hold(seed: int) -> None:
    _, invariant, text, _ = run_seed(seed)
    assert not invariant, text


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_fresh_seeds_of_the_day_hold(chunk: int) -> None:
    """Other ones each day, the same all day: a failure prints the command that replays it."""
    first = int(time.time()) // DAY_S * 10_000 + chunk * CHUNK
    for seed in range(first, first + CHUNK):
        _, invariant, text, _ = run_seed(seed)
        assert not invariant, text


def test_the_same_seed_is_the_same_world() -> None:
    first, second = (run_seed(7)[3] for _ in range(2))
    assert first is not None
    assert second is not None
    assert first.totals == second.totals
    assert first.transitions == second.transitions


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> mutants.Sound:
    """A copy of the product as it is."""
    return mutants.Sound(tmp_path_factory.mktemp("sound"))


def test_every_planted_bug_fits_the_product(sound: mutants.Sound) -> None:
    """The lines that a planted bug changes are still there, once: else it would plant nothing."""
    planted = load()
    assert len(planted) >= 25
    for mutant in planted:
        for change in mutant.changes:
            assert (sound.at / "interlock" / change.file).read_text().count(change.old) == 1, (
                f"{mutant.name}: adapt tests/sim/planted.txt to {change.file}"
            )


@pytest.mark.parametrize("name", QUICK)
def test_a_planted_bug_is_caught(sound: mutants.Sound, name: str) -> None:
    mutant: Mutant = next(each for each in load() if each.name == name)
    assert mutants.attempt(mutant, sound, 10).seed


def test_a_small_world_holds_whatever_the_order() -> None:
    seen = explore(AckLevel.WRITTEN, Budget(2, 1, 1, 1), seconds=60, depth=3)
    assert not seen.violation, "\n".join([seen.violation, *map(str, seen.path)])
    assert seen.states > 100


def test_the_exhaustion_catches_a_gate_that_does_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    advance = Gate.advance
    monkeypatch.setattr(Gate, "advance", lambda gate, own, acked: advance(gate, own, own))
    seen = explore(AckLevel.WRITTEN, Budget(2, 1, 1, 1), seconds=60, depth=4)
    assert seen.violation.startswith("released <= held at the ack level")
