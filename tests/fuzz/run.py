"""`make fuzz`: each target of `targets` for some seconds with atheris, and then a node's sockets.

A finding is printed with the file that shows it and the command that replays it. What is worth
keeping goes into `corpus/TARGET/` by hand, where the unit tests run it ever after.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

HERE = Path(__file__).resolve()
FOUND = HERE.parents[2] / "build" / "fuzz"
NAMES = ("records", "messages", "journal", "config")
MAX_BYTES = 4_096
KEPT = 12
MEMORY = "/dev/shm"  # where a journal's files cost little
OUTPUT = 6_000  # of a finding: its traceback, and more


def main() -> int:
    options = _options()
    if find_spec("atheris") is None:
        print(
            "fuzzing needs atheris, which is not installed; install it with: "
            ".venv/bin/python -m pip install --editable '.[fuzz]'",
            file=sys.stderr,
        )
        return 2
    if options.inside:
        _fuzz_inside(options.inside, options.rest)
    if options.replay:
        done = _start(options.target or NAMES[0], [str(options.replay)])
        print(done.stdout[-OUTPUT:])
        return done.returncode
    wanted = [options.target] if options.target else [*NAMES, "sockets"]
    failed = [
        name for name in wanted if not _fuzz(name, options.seconds, options.seed, keep=options.keep)
    ]
    print(f"fuzzed {', '.join(wanted)} for {options.seconds} s each; failed: {failed or 'none'}")
    return 1 if failed else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument("--target", choices=[*NAMES, "sockets"], help="default: all")
    parser.add_argument("--seed", type=int, default=1, help="of sockets")
    parser.add_argument("--replay", type=Path, help="run this input once")
    parser.add_argument(
        "--keep", action="store_true", help=f"the {KEPT} smallest new inputs of each, in corpus/"
    )
    parser.add_argument("--inside", help=argparse.SUPPRESS)
    parser.add_argument("rest", nargs="*", help=argparse.SUPPRESS)
    return parser.parse_args()


def _fuzz(name: str, seconds: int, seed: int, *, keep: bool) -> bool:
    """False if something was found."""
    print(f"== {name}", flush=True)
    if name == "sockets":
        from fuzz.sockets import fuzz_sockets

        return fuzz_sockets(seconds, seed)
    from fuzz.targets import CORPUS, seeds

    with TemporaryDirectory() as own:
        grown, begin = Path(own, "grown"), Path(own, "seeds")
        for directory in (grown, begin, FOUND):
            directory.mkdir(parents=True, exist_ok=True)
        for number, data in enumerate(seeds(name)):
            (begin / str(number)).write_bytes(data)
        words = [f"-max_total_time={seconds}", f"-max_len={MAX_BYTES}", "-verbosity=1"]
        words += [f"-artifact_prefix={FOUND}/", "-timeout=10", "-print_final_stats=1"]
        kept = [str(CORPUS / name)] if (CORPUS / name).is_dir() else []
        done = _start(name, [*words, str(grown), str(begin), *kept])
        reached = sorted(grown.iterdir(), key=lambda path: path.stat().st_size)
        if keep:
            _keep(name, [path.read_bytes() for path in reached[:KEPT]])
    if done.returncode:
        print(done.stdout[-OUTPUT:])
        print(f"replay with: .venv/bin/python -P {HERE} --target {name} --replay {FOUND}/FILE")
        return False
    runs = re.search("Done (\\d+) runs", done.stdout)
    count = int(runs[1]) if runs else 0
    print(f"{name}: {count:,} inputs, {len(reached)} of which reached something new")
    return True


def _keep(name: str, inputs: list[bytes]) -> None:
    directory = HERE.with_name("corpus") / name
    directory.mkdir(parents=True, exist_ok=True)
    for data in inputs:
        (directory / sha256(data).hexdigest()[:12]).write_bytes(data)


def _start(name: str, words: list[str]) -> subprocess.CompletedProcess[str]:
    """A process of its own: the fuzzer never returns."""
    line = [sys.executable, "-P", str(HERE), "--inside", name, "--", *words]
    return subprocess.run(
        line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, errors="replace", check=False
    )


def _fuzz_inside(name: str, words: list[str]) -> None:
    import atheris

    if Path(MEMORY).is_dir():
        tempfile.tempdir = MEMORY
    with atheris.instrument_imports(include=["interlock", "fuzz"]):
        from fuzz import targets
    atheris.Setup([str(HERE), *words], targets.TARGETS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    sys.exit(main())
