"""Runs seeds of the simulator: `python -P tests/sim/run.py --seeds 1000`, or one with `--seed`."""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from interlock.shared.roles import TRANSITIONS
from sim.checkers import Violation
from sim.world import Seen, SimWorld

Outcome = tuple[int, str, str, Seen | None]  # seed, invariant, report, what was seen


def run_seed(seed: int, trace: int = 60) -> Outcome:
    """One world. The invariant is empty if all of them hold."""
    world = SimWorld(seed, trace=trace)
    try:
        return seed, "", "", world.run()
    except Violation as violation:
        return seed, violation.name, report(world, violation), None
    except Exception as error:  # noqa: BLE001  a bug of a core or of the simulator: told as such
        violation = Violation("nothing raises", repr(error))
        violation.__cause__ = error
        return seed, violation.name, report(world, violation), None


def report(world: SimWorld, violation: Violation) -> str:
    """What a person needs to understand and repeat a violation."""
    import traceback

    lines = [*world.trace.lines(), f"now: {world.describe()}"]
    if violation.__cause__ is not None:
        lines += traceback.format_exception(violation.__cause__)
    return "\n".join(
        [
            "",
            f"VIOLATION in seed {world.seed} (level {world.level.value}): {violation}",
            *lines,
            f"replay: .venv/bin/python -P tests/sim/run.py --seed {world.seed} --trace 400",
        ]
    )


def run_all(seeds: list[int], processes: int) -> Iterator[Outcome]:
    """Runs seeds; in parallel if there is more than one process."""
    if processes == 1:
        yield from map(run_seed, seeds)
        return
    context = multiprocessing.get_context("spawn")
    with context.Pool(processes) as pool:
        yield from pool.imap_unordered(run_seed, seeds, chunksize=8)


def summary(seen: Seen, ran: int, seconds: float) -> str:
    """Everything that was covered, and what was not."""
    lines = [
        f"{ran} seeds in {seconds:.1f} s ({ran / max(seconds, 1e-9):.1f} seeds/s)",
        "totals: " + ", ".join(f"{name} {count}" for name, count in sorted(seen.totals.items())),
        "faults: " + ", ".join(f"{name} {count}" for name, count in sorted(seen.faults.items())),
        "operations:",
        *(f"  {count:7d}  {name}" for name, count in sorted(seen.operations.items())),
        "transitions:",
        *(
            f"  {count:7d}  {before} -> {after}"
            for (before, after), count in sorted(seen.transitions.items())
        ),
    ]
    missing = [
        f"{before.value} -> {after.value}"
        for before, afters in TRANSITIONS.items()
        for after in sorted(afters, key=lambda each: each.value)
        if not seen.transitions[before.value, after.value]
    ]
    return "\n".join([*lines, "never reached: " + (", ".join(missing) or "none")])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, help="run this one and say what happened")
    parser.add_argument("--seeds", type=int, default=200, help="how many to run")
    parser.add_argument("--first", type=int, default=1, help="the first of them")
    parser.add_argument("--seconds", type=float, default=0, help="stop after this time instead")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--trace", type=int, default=60, help="events that a report shows")
    parser.add_argument("--failures", type=int, default=1, help="stop after so many")
    args = parser.parse_args()
    if args.seed is not None:
        _, invariant, text, _ = run_seed(args.seed, args.trace)
        print(text or f"seed {args.seed}: every invariant holds")
        return bool(invariant)
    began, ran, failed, seen = time.monotonic(), 0, 0, Seen()
    count = args.seeds if not args.seconds else 1 << 40
    seeds = range(args.first, args.first + count)
    batch = 64 * args.processes
    for start in range(0, count, batch):
        part = list(seeds[start : start + batch])
        for _, invariant, text, found in run_all(part, args.processes):
            ran += 1
            if found is not None:
                seen.add(found)
            if invariant:
                failed += 1
                print(text, flush=True)
        if failed >= args.failures or (args.seconds and time.monotonic() - began >= args.seconds):
            break
    print(summary(seen, ran, time.monotonic() - began))
    print(f"{failed} seeds failed" if failed else "no violation")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
