"""Small-scope exhaustion: every interleaving of a small world, breadth first (`make exhaust`).

Two nodes with the production cores; from a pair in sync, and from some states that are a story away
(`STAGES`): up to three messages, one operator with two operations, up to two faults (a death at any
effect, of a process or of the power; connections that break; a lost question or answer), three
times 0.6 s that pass. After each action all checkers of the simulator have looked. States that are
equal by `canon` are visited once.

What the bound covers is said by the summary: how many actions deep all states were visited, and
what was still waiting when the time was up.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter, deque
from collections.abc import Iterator
from pathlib import Path

import msgspec

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from interlock.shared.config import AckLevel
from interlock.shared.errors import InterlockError
from interlock.shared.roles import NodeState
from sim.checkers import Violation
from sim.mutants import copy
from sim.mutations import apply, load
from sim.pieces import Action, Budget
from sim.small import SmallWorld
from sim.snapshot import restored, snapshot

Path_ = tuple[Action, ...]
MORTAL = ("link to", "link back to", "question to", "answer to", "start", "synced", "submit to")


class Visited(msgspec.Struct):
    """What an exploration has seen."""

    states: int = 0
    seconds: float = 0
    transitions: int = 0
    depth: int = 0  # all states so many actions away were visited
    waiting: int = 0  # states of the next depth that were not gone on from
    reached: Counter[str] = msgspec.field(default_factory=Counter)
    violation: str = ""
    path: Path_ = ()


# Where explorations begin: what was done to a pair in sync, which costs nothing of the budget.
STAGES: dict[str, tuple[str, ...]] = {
    "in sync": (),
    "the link is lost": ("submit to a", "break", "wait", "wait"),
    "alone in solo": (
        *("dies b kill", "wait", "wait", "operate a solo", "wait", "wait"),
        *("submit to a", "synced a"),
    ),
    "the primary is gone": ("submit to a", "dies a kill", "wait", "wait"),
    "handing over": ("operate a switchover", "question to b", "answer to a"),
}


def begin(level: AckLevel, budget: Budget, stage: str = "in sync") -> SmallWorld:
    """A pair in sync, with nothing on its way, and then what the stage says."""
    world = SmallWorld(level, Budget(0, 0, 0, 0))
    for node in world.nodes:
        node.start()
        node.step()
    world.engine.now += 600_000_000
    for node in world.nodes:
        node.step()
    for _ in range(40):
        todo = [each for each in world.actions() if each.what not in ("wait", "dies")]
        if not todo:
            break
        world.do(todo[0])
    states = [node.state for node in world.nodes]
    assert states == [NodeState.GATED, NodeState.IN_SYNC], states
    world.budget = Budget(9, 9, 9, 9)
    for wanted in STAGES[stage]:
        world.do(next(each for each in world.actions() if str(each) == wanted))
    world.budget = msgspec.structs.replace(budget)
    return world


def step(world: SmallWorld, action: Action) -> tuple[bool, int]:
    """Does one action: whether it changed anything, and how many effects were performed."""
    before = sum(node.performed for node in world.nodes)
    try:
        did = world.do(action)
    except InterlockError as error:
        raise Violation("no core stops by its own bug", f"{error!r}") from error
    return did, sum(node.performed for node in world.nodes) - before


def deaths(action: Action, effects: int) -> Iterator[Action]:
    """The same action with the node dying between two of its effects."""
    if action.what in MORTAL:
        for trap in range(1, effects):
            for how in ("kill", "power cut"):
                yield action._replace(trap=trap, how=how)


def explore(
    level: AckLevel,
    budget: Budget,
    seconds: float,
    depth: int = 1 << 30,
    stage: str = "in sync",
) -> Visited:
    """Breadth first until everything was visited, the depth is reached, or the time is up."""
    seen = Visited()
    start = time.monotonic()
    end = start + seconds
    world = begin(level, budget, stage)
    known = {world.key()}
    frontier: deque[tuple[Path_, bytes]] = deque([((), snapshot(world))])
    while frontier:
        path, before = frontier.popleft()
        seen.depth = len(path)
        if len(path) >= depth or time.monotonic() > end:
            seen.waiting = len(frontier) + 1
            break
        todo = deque(restored(before).actions())
        while todo:
            action = todo.popleft()
            world = restored(before)
            seen.transitions += 1
            try:
                did, effects = step(world, action)
            except Violation as violation:
                seen.violation, seen.path = str(violation), (*path, action)
                break
            if not did:
                continue
            if world.budget.faults and not action.how:
                todo.extend(deaths(action, effects))
            key = world.key()
            if key not in known:
                known.add(key)
                for node in world.nodes:
                    seen.reached[node.state.value if node.core else "down"] += 1
                frontier.append(((*path, action), snapshot(world)))
        if seen.violation:
            break
    seen.states, seen.seconds = len(known), time.monotonic() - start
    return seen


def describe(level: AckLevel, stage: str, seen: Visited) -> str:
    """One exploration, for people."""
    rest = f", {seen.waiting} states not gone on from" if seen.waiting else ", which is everything"
    lines = [
        (
            f"{level.value:8} {stage:20} {seen.states:7} states {seen.transitions:8} transitions "
            f"in {seen.seconds:4.0f} s: all up to {seen.depth} actions away{rest}"
        )
    ]
    if seen.violation:
        lines.append(f"VIOLATION at level {level.value} from {stage!r}: {seen.violation}")
        lines += [f"  {number:3d}  {action}" for number, action in enumerate(seen.path, 1)]
    return "\n".join(lines)


Task = tuple[AckLevel, str, Budget, float, int]


def perform(task: Task) -> tuple[AckLevel, str, Visited]:
    """One exploration, in a process of its own."""
    level, stage, budget, seconds, depth = task
    return level, stage, explore(level, budget, seconds, depth, stage)


def run_planted(name: str) -> int:
    """The same, in a copy of the product with a bug of `planted.txt`."""
    mutant = next(each for each in load() if name in each.name)
    others = [each for each in sys.argv[1:] if each not in ("--planted", name)]
    with tempfile.TemporaryDirectory() as folder:
        at = copy(Path(folder))
        apply(mutant, at / "interlock")
        print(f"planted: {mutant.name}", flush=True)
        command = [sys.executable, "-P", str(at / "sim/exhaust.py"), *others]
        environment = {**os.environ, "PYTHONPATH": str(at)}
        return subprocess.run(command, env=environment, check=False).returncode


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=20, help="for each stage and ack level")
    parser.add_argument("--depth", type=int, default=1 << 30, help="at most so many actions")
    parser.add_argument("--levels", default="received,written,synced")
    parser.add_argument("--messages", type=int, default=3)
    parser.add_argument("--faults", type=int, default=2)
    parser.add_argument("--operations", type=int, default=2)
    parser.add_argument("--waits", type=int, default=3)
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--planted", default="", help="with a bug whose name contains this")
    args = parser.parse_args()
    if args.planted:
        return run_planted(args.planted)
    budget = Budget(args.messages, args.faults, args.operations, args.waits)
    tasks: list[Task] = [
        (AckLevel(name), stage, budget, args.seconds, args.depth)
        for stage in STAGES
        for name in args.levels.split(",")
    ]
    print(f"at most {budget}; {len(tasks)} explorations of {args.seconds:g} s", flush=True)
    reached: Counter[str] = Counter()
    states, failed = 0, False
    with multiprocessing.get_context("spawn").Pool(args.processes) as pool:
        for level, stage, seen in pool.imap_unordered(perform, tasks):
            print(describe(level, stage, seen), flush=True)
            states += seen.states
            reached.update(seen.reached)
            failed = failed or bool(seen.violation)
    print("nodes were: " + ", ".join(f"{name} {n}" for name, n in sorted(reached.items())))
    print(f"{states} states visited; " + ("a violation" if failed else "no violation"))
    return failed


if __name__ == "__main__":
    sys.exit(main())
