"""docs/operations.md, typed as it stands there: a pair is set up on "two machines", and kept.

The machines are folders, 10.0.1.1 and 10.0.1.2 are addresses of loopback, and what only the root of
a machine can do (users, units) is done here in its place. Everything else is typed into a shell.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from interlock.client.control import ask_status
from interlock.client.local import free_ports
from interlock.shared.config import load_config
from support.pair import wait_for

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "operations.md").read_text("utf-8")
UNITS = ROOT / "docs" / "systemd"
BIN = Path(sys.executable).parent

# Done by the root of a machine, and not here: another user, and software that is installed already.
BY_ROOT = (
    "useradd ",
    "python3 -m venv ",
    "/opt/interlock/bin/pip ",
    "ln -s ",
    "install -d -o interlock ",
    "systemctl daemon-reload",
)
PLACES = {"root@10.0.1.1": "a", "root@10.0.1.2": "b", "ann@desk": "ann", "desk@desk-1": "desk-1"}


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


# The page's machines --------------------------------------------------------------------------


class Machines:
    """Types the page's lines where they belong. `said` is what came back, by machine and line."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_ports()
        self.nodes: dict[str, subprocess.Popen[bytes]] = {}
        self.keys: dict[str, str] = {}  # by machine, what it exported
        self.public: dict[str, str] = {}  # by name, as it was told
        for machine in ("a", "b"):
            (self.home(machine) / "keys").mkdir(mode=0o700, parents=True)
        for machine in ("ann", "desk-1"):
            self.home(machine).mkdir(parents=True)
        (folder / "var").mkdir(mode=0o700)

    def home(self, machine: str) -> Path:
        """Where one works there: /etc/interlock of a node, `pair` of the others."""
        return self.folder / machine / "interlock"

    def type(self, block: str) -> list[str]:
        """The answers to the lines of a block."""
        head, *lines = block.splitlines()
        where = re.fullmatch(
            r"# on (?:the new )?(a and b|a|b|[\w-]+(?='s))(?:'s machine)?"
            r"(?:, as (?:root|interlock))?",
            head,
        )
        assert where, f"the page does not say where this is typed: {head}"
        machines = ["a", "b"] if where[1] == "a and b" else [where[1]]
        return [self._line(machine, line) for machine in machines for line in lines]

    def _line(self, machine: str, line: str) -> str:
        if line.startswith(BY_ROOT):
            return ""
        first, *rest = shlex.split(line)
        if first == "rsync":
            self._copy(machine, rest)
        elif first == "cp":
            assert (ROOT / rest[0]).is_file()
        elif first == "systemctl":
            assert rest[:2] == ["enable", "--now"]
            self.start(machine, rest[2])
        elif first == "export":
            self.keys[machine] = rest[0].removeprefix("INTERLOCK_KEY=")
        else:
            answer = self.shell(machine, line)
            if told := re.findall(r"^public +(\S{40}) ", answer, re.MULTILINE):
                self.public[rest[2]] = told[-1]
            return answer
        return ""

    def _copy(self, machine: str, words: list[str]) -> None:
        assert words[0] == "-a"
        *files, target = words[1:]
        place, _, path = target.partition(":")
        folder = self.home(PLACES[place]) / path.removeprefix("/etc/interlock/").removeprefix(
            "pair/"
        )
        assert folder.is_dir(), f"{target} is not there yet"
        for file in files:
            scratch = folder / f".{Path(file).name}.rsync"
            shutil.copy2(self.home(machine) / file, scratch)
            scratch.replace(folder / Path(file).name)

    def shell(self, machine: str, line: str, *, ends_with: int = 0) -> str:
        """What a command answers, that has to end with this code."""
        for name, public in self.public.items():
            line = line.replace(f"PUBLIC-KEY-OF-{name.upper()}", public)
        line = line.replace("/var/lib/interlock", str(self.folder / "var"))
        line = line.replace("10.0.1.1", "127.0.0.1").replace("10.0.1.2", "127.0.0.2")
        if "interlock init" in line:
            line += f" --base-port {self.port}"
        environment = os.environ | {
            "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
            "LOGNAME": "interlock",
            "COLUMNS": "200",
        }
        environment.pop("INTERLOCK_KEY", None)
        if machine in self.keys:
            environment["INTERLOCK_KEY"] = self.keys[machine]
        done = subprocess.run(
            ["sh", "-c", line],
            cwd=self.home(machine),
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == ends_with, f"{machine}: {line}\n{done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    def start(self, machine: str, unit: str) -> None:
        """As the unit says, with the paths of here."""
        text = (UNITS / f"{unit}.service").read_text("utf-8")
        (command,) = re.findall(r"^ExecStart=(.*)$", text, re.MULTILINE)
        words = shlex.split(command)
        assert words[0] == "/opt/interlock/bin/interlock"
        assert words[-1] == "/etc/interlock"
        words[0], words[-1] = str(BIN / "interlock"), str(self.home(machine))
        with (self.folder / f"{machine}.log").open("ab") as log:
            self.nodes[machine] = subprocess.Popen(
                words, cwd="/", stdin=subprocess.DEVNULL, stdout=log, stderr=log, umask=0o077
            )

    def wait_until_gated(self) -> None:
        """As Ann sees it."""
        config = load_config(self.home("ann"))

        def gated() -> bool:
            for name, process in self.nodes.items():
                log = (self.folder / f"{name}.log").read_text("utf-8")
                assert process.poll() is None, f"node {name} has ended:\n{log}"
            nodes = ask_status(config, 0.5).values()
            return sorted(node.state for node in nodes if node) == ["GATED", "IN_SYNC"]

        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("INTERLOCK_KEY", str(self.home("ann") / "keys" / "ann.key"))
            wait_for("the pair to be gated", gated, seconds=30)

    def close(self) -> None:
        for process in self.nodes.values():
            process.kill()
            process.wait()


@contextlib.contextmanager
def machines(folder: Path) -> Iterator[Machines]:
    with contextlib.closing(Machines(folder)) as made:
        yield made


@pytest.mark.timeout(300)  # some forty commands, one after the other
def test_the_pair_is_set_up_and_kept_by_the_lines_of_the_page(tmp_path: Path) -> None:
    pages = iter(blocks("sh"))
    with machines(tmp_path) as here:
        _set_up(here, pages)
        _look_after(here, pages)
        _revoke(here, pages)
        _new_disk(here, pages)
    assert next(pages, None) is None, "a block of the page that nobody has typed"


def _set_up(here: Machines, pages: Iterator[str]) -> None:
    """Up to "See that it works"."""
    for block in pages:
        answers = here.type(block)
        if "keys list" in block:
            names = re.findall(r"^ *(\S+) .*SHA256:", answers[-1], re.MULTILINE)
            assert names == ["a", "app", "b", "interlock"]
        if "systemctl enable --now interlock-b" in block:
            break
    secrets = {
        machine: sorted(path.stem for path in (here.home(machine) / "keys").glob("*.key"))
        for machine in ("a", "b", "ann", "desk-1")
    }
    assert secrets == {"a": ["a", "interlock"], "b": ["b"], "ann": ["ann"], "desk-1": ["desk-1"]}
    for path in tmp_tree(here.folder):
        assert path.stat().st_mode & 0o077 == 0, f"others can read {path}"

    here.wait_until_gated()
    _, status, reloaded = here.type(next(pages))
    assert re.search(r"^state +GATED.*IN_SYNC", status, re.MULTILINE)
    assert len(set(re.findall(r"list (\w{16})", reloaded))) == 1
    _, published, consumed = here.type(next(pages))
    assert "confirmed 5 messages of desk-1" in published
    bodies = [json.loads(line)["body"] for line in consumed.splitlines()]
    assert bodies == list("12345")
    # "The program can do what its roles say and no more"
    assert "has no role for that socket" in here.shell("desk-1", "interlock status", ends_with=1)


def tmp_tree(folder: Path) -> list[Path]:
    """What nobody else may read: secrets, and all that a node writes."""
    return [*folder.rglob("*.key"), *(path for path in (folder / "var").rglob("*"))]


def _look_after(here: Machines, pages: Iterator[str]) -> None:
    """ "What to watch", and "Replace a key"."""
    status, history = here.type(next(pages))
    told = json.loads(status)["nodes"]
    assert told["a"]["security"]["ring"] == told["b"]["security"]["ring"]
    assert "desk-1" in history

    old = here.public["ann"]
    for block in pages:
        here.type(block)
        if "--finish" in block:
            break
    here.type(next(pages))
    assert here.public["ann"] != old
    shown = here.shell("ann", "interlock keys show ann")
    assert re.findall(r"^public +(\S+) .*", shown, re.MULTILINE) == [here.public["ann"]]
    assert "GATED" in here.shell("ann", "interlock status")


def _revoke(here: Machines, pages: Iterator[str]) -> None:
    for _ in range(3):
        here.type(next(pages))
    line = "echo 6 | interlock publish - --producer desk-1"
    assert "does not let key desk-1" in here.shell("desk-1", line, ends_with=1)


def _new_disk(here: Machines, pages: Iterator[str]) -> None:
    """ "A node's secret is gone": b is a new machine, which has the configuration and no list."""
    here.nodes["b"].kill()
    here.nodes.pop("b").wait()
    shutil.rmtree(here.folder / "var" / "b")
    shutil.rmtree(here.home("b") / "keys")
    (here.home("b") / "keys").mkdir(mode=0o700)
    for _ in range(3):
        here.type(next(pages))
    here.start("b", "interlock-b")
    here.wait_until_gated()
