"""Planted bugs: each weakens one rule of the protocol; the simulator has to catch every one.

`make mutants` copies the product, changes the lines of one bug (`planted.txt`), runs seeds until an
invariant fails, and prints which one, at which seed, and after how long. The seed that caught it
last time is tried first; if it does not, or with `--search`, all of them from 1 on are. So the seed
that is printed says within how many a search from 1 is certain to end. A seed that fails on the
product as it is proves nothing and is passed over. Everything is taken from one copy, made at the
start, so that work on the product meanwhile does not matter.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from sim.mutations import Mutant, apply, load

ROOT = Path(__file__).resolve().parents[2]
COPIED = ("primary", "secondary", "shared", "client")
TOOLS = ("sim", "support")
FOUND = re.compile(r"^VIOLATION in seed (\d+) \(level (\w+)\): ([^:]*): (.*)$", re.MULTILINE)


class Caught(NamedTuple):
    """What came of one bug: the first seed that caught it (0: none did), how many were run."""

    seed: int
    ran: int
    invariant: str
    text: str


def copy(into: Path) -> Path:
    """The product and the simulator as they are now."""
    package = into / "interlock"
    package.mkdir()
    for file in ROOT.glob("*.py"):
        shutil.copy(file, package)
    ignore = shutil.ignore_patterns("__pycache__")
    for folder in COPIED:
        shutil.copytree(ROOT / folder, package / folder, ignore=ignore)
    for folder in TOOLS:
        shutil.copytree(ROOT / "tests" / folder, into / folder, ignore=ignore)
    return into


def run(at: Path, first: int, seeds: int, script: str = "run.py") -> Caught:
    """Runs seeds on a copy until one fails."""
    command = [sys.executable, "-P", str(at / "sim" / script), "--processes", "1"]
    command += ["--first", str(first), "--seeds", str(seeds), "--failures", "1"]
    environment = {**os.environ, "PYTHONPATH": str(at)}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    found = FOUND.search(ended.stdout)
    if found is not None:
        seed = int(found[1])
        return Caught(seed, seed - first + 1, found[3], found[4])
    if ended.returncode:
        raise RuntimeError(ended.stdout[-2000:] + ended.stderr[-2000:])
    return Caught(0, seeds, "", "")


class Sound:
    """The copy without a bug, and the seeds that it has been seen to pass."""

    def __init__(self, at: Path) -> None:
        self.at = copy(at)
        self._passed = {1}
        if run(self.at, 1, 1).seed:
            raise RuntimeError("seed 1 fails on the product as it is: mend that first")

    def passes(self, seed: int) -> bool:
        if seed not in self._passed and not run(self.at, seed, 1).seed:
            self._passed.add(seed)
        return seed in self._passed


def attempt(mutant: Mutant, sound: Sound, seeds: int, *, search: bool = False) -> Caught:
    """Plants the bug and runs seeds until one catches it that the sound product passes."""
    with tempfile.TemporaryDirectory() as folder:
        planted = Path(folder, "copy")
        shutil.copytree(sound.at, planted)
        apply(mutant, planted / "interlock")
        if mutant.seed and not search:
            caught = run(planted, mutant.seed, 1)
            if caught.seed and sound.passes(caught.seed):
                return caught
        first = 1
        while first <= seeds:
            caught = run(planted, first, seeds - first + 1)
            if not caught.seed:
                break
            if sound.passes(caught.seed):
                return caught._replace(ran=caught.seed)
            first = caught.seed + 1
    return Caught(0, seeds, "", "")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=2_000, help="within which each is caught")
    parser.add_argument("--search", action="store_true", help="try no seed before the others")
    parser.add_argument(
        "--only", default="", help="bugs whose name contains one of these, separated by |"
    )
    args = parser.parse_args()
    chosen = [each for each in load() if any(part in each.name for part in args.only.split("|"))]
    survived, began = 0, time.monotonic()
    print(f"{'planted bug':58} {'rule':4} {'seed':>5} {'ran':>5} {'s':>5}  caught by", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        sound = Sound(Path(folder))
        for mutant in chosen:
            start = time.monotonic()
            caught = attempt(mutant, sound, args.seeds, search=args.search)
            survived += not caught.seed
            by = caught.invariant or "NOT CAUGHT"
            detail = f" ({caught.text[:200]})" if args.only else ""
            print(
                f"{mutant.name:58} {mutant.rule:4} {caught.seed or '-':>5} {caught.ran:5} "
                f"{time.monotonic() - start:5.0f}  {by}{detail}",
                flush=True,
            )
    total = len(chosen)
    print(f"{total - survived} of {total} caught, in {time.monotonic() - began:.0f} s")
    return bool(survived)


if __name__ == "__main__":
    sys.exit(main())
