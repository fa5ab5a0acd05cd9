"""Runs seeds of the simulator: `make sim SEEDS=1000`, `make soak HOURS=8`, or one by `--seed`.

A violation prints the seed, the invariant, what happened last, and the command that replays it.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from interlock.shared.roles import TRANSITIONS
from sim.checkers import Violation
from sim.unreached import why_unreached
from sim.world import Seen, SimWorld

Outcome = tuple[int, str, str, Seen | None]  # seed, invariant, report, what was seen
PROGRESS = 1_000  # seeds between two lines of a long run


def fresh_seed() -> int:
    """Where seeds begin that nobody has run before: another place each second."""
    return int(time.time()) * 10_000


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


def outcomes(first: int, count: int, processes: int) -> Iterator[Outcome]:
    """Runs `count` seeds, 0 for no end; in parallel if there is more than one process."""
    seeds = range(first, first + (count or 1 << 40))
    if processes == 1:
        yield from map(run_seed, seeds)
        return
    batch = 64 * processes
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        for start in range(0, len(seeds), batch):
            yield from pool.imap_unordered(run_seed, seeds[start : start + batch], chunksize=4)


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
        (before, after)
        for before, afters in TRANSITIONS.items()
        for after in sorted(afters, key=lambda each: each.value)
        if not seen.transitions[before.value, after.value]
    ]
    lines.append("not reached, as nothing here leads to it (see tests/sim/unreached.py):")
    known = Counter(why for pair in missing if (why := why_unreached(*pair)))
    lines += [f"  {count:7d}  {why}" for why, count in sorted(known.items())]
    chance = [f"{a.value} -> {b.value}" for a, b in missing if not why_unreached(a, b)]
    return "\n".join([*lines, "not reached by chance: " + (", ".join(chance) or "none")])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, help="run this one and say what happened")
    parser.add_argument("--seeds", type=int, default=200, help="how many to run")
    parser.add_argument("--first", type=int, default=1, help="the first of them")
    parser.add_argument(
        "--hours", type=float, default=0, help="run fresh seeds for so long instead"
    )
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--trace", type=int, default=60, help="events that a report shows")
    parser.add_argument("--failures", type=int, default=1, help="stop after so many")
    args = parser.parse_args()
    if args.seed is not None:
        _, invariant, text, _ = run_seed(args.seed, args.trace)
        print(text or f"seed {args.seed}: every invariant holds")
        return bool(invariant)
    began, ran, failed, seen = time.monotonic(), 0, 0, Seen()
    first, count = args.first, args.seeds
    if args.hours:
        first, count = fresh_seed(), 0
        print(f"fresh seeds from {first}", flush=True)
    for _, invariant, text, found in outcomes(first, count, args.processes):
        ran += 1
        if found is not None:
            seen.add(found)
        if invariant:
            failed += 1
            print(text, flush=True)
        if args.hours and ran % PROGRESS == 0:
            print(f"{ran} seeds, {time.monotonic() - began:.0f} s, {failed} failed", flush=True)
        over = args.hours and time.monotonic() - began >= args.hours * 3600
        if over or failed >= args.failures:
            break
    print(summary(seen, ran, time.monotonic() - began))
    print(f"{failed} seeds failed" if failed else "no violation")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
