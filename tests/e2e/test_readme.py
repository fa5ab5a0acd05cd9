"""The README's commands and examples, run as they stand there; and what the pages name, exists."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from typer.core import TyperGroup

from interlock.cli.embedded import EmbeddedPair
from interlock.cli.main import app
from interlock.client.local import free_ports
from interlock.shared.roles import NodeState
from support.pair import wait_for, wait_for_state

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text("utf-8")
PAGES = [
    "README.md",
    "SECURITY.md",
    *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")),
]
ENVIRONMENT = os.environ | {
    "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
}


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


# First steps ----------------------------------------------------------------------------------


class Terminals:
    """Runs lines as somebody would type them; `running` are the nodes, by their role."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, line: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            ["sh", "-c", line if "|" in line else f"exec {line}"],
            cwd=self.folder,
            env=ENVIRONMENT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def answer(self, line: str) -> str:
        return self.start(line).communicate(timeout=60)[0].decode()

    def type(self, line: str) -> str:
        """The output of a command that ends well; a node stays running."""
        role = line.split()[1]
        if role in ("primary", "secondary"):
            self.running[role] = self.start(line)
            return ""
        end = time.monotonic() + 30
        while True:
            process = self.start(line)
            output = process.communicate(timeout=60)[0].decode()
            if process.returncode == 0:
                return output
            # Nobody types so fast that the nodes are not up yet.
            assert role == "status", f"{line}: {output}"
            assert time.monotonic() < end, output

    def stop(self, role: str) -> None:
        """Ctrl-C."""
        process = self.running.pop(role)
        process.send_signal(signal.SIGINT)
        output = process.communicate(timeout=30)[0].decode()
        assert process.returncode == 0, output

    def close(self) -> None:
        for process in self.running.values():
            process.kill()
            process.communicate()


def lines(block: str) -> list[str]:
    return [line for line in block.splitlines() if line and not line.startswith("#")]


def test_first_steps_by_hand(tmp_path: Path) -> None:
    first, second, third, last = map(lines, blocks("sh"))
    assert first[0] == "interlock init pair"
    first[0] += f" --base-port {free_ports()}"
    publish = third[1]
    with contextlib.closing(Terminals(tmp_path)) as terminals:
        for line in first + second:
            terminals.type(line)
        _, published, consumed = map(terminals.type, third)
        assert "confirmed 5 messages of demo" in published
        messages = [json.loads(line) for line in consumed.splitlines()]
        assert [message["body"] for message in messages] == list("12345")
        shown = json.loads(blocks("json")[0])
        assert shown == messages[0] | {"seq": shown["seq"], "time_ns": shown["time_ns"]}

        # "Now press Ctrl-C in terminal 2, and publish again"
        terminals.stop("secondary")
        publisher = terminals.start(publish)
        while True:
            node = json.loads(terminals.answer("interlock status -c pair --json"))["nodes"]["a"]
            if node["state"] == "STALLED" and node["pending"]["messages"] >= 5:
                break
            time.sleep(0.05)
        assert publisher.poll() is None, "confirmed without the standby"
        terminals.type(second[0])
        assert b"confirmed 5 messages of demo" in publisher.communicate(timeout=30)[0]

        terminals.stop("secondary")
        terminals.stop("primary")
        for line in last:
            assert re.search("clean|identical", terminals.type(line))


def test_the_failover_of_the_page(tmp_path: Path) -> None:
    """The primary is killed, and the page's lines bring the service back and the old one home.
    What a person would type at the prompts is given as options."""
    page = next(block for block in blocks("console") if "promote" in block)
    look, promote, start, reinstate, history = [
        line.partition("#")[0].strip() for line in page.splitlines()
    ]
    attest = "a is stopped and stays stopped, not promoted and not in solo since the link broke"
    typed = "--reason page"
    with EmbeddedPair(tmp_path / "pair", secure=True) as pair:
        assert pair.config.security is not None
        who = pair.config.security.operator
        pair.start("a")
        pair.start("b")
        pair.wait_until_gated()
        pair.kill("a")
        with contextlib.closing(Terminals(tmp_path)) as terminals:
            wait_for_state(pair, "b", "ORPHANED")
            assert "interlock promote b" in terminals.answer(look)
            done = terminals.answer(f"{promote} {typed} --confirm b --attest '{attest}'")
            assert "DONE: b leads epoch 2" in done
            terminals.type(start)
            wait_for(
                "the old primary to be fenced",
                lambda: "interlock reinstate a" in terminals.answer(look),
                seconds=60,
            )
            assert "DONE" in terminals.answer(f"{reinstate} {typed} --confirm a")
            wait_for_state(pair, "b", "GATED")
            told = terminals.answer(history)
            assert re.search(rf"promote.*{who}.*page", told)
            assert re.search(rf"reinstate.*{who}.*page", told)
            terminals.stop("primary")


def test_the_keys_of_the_page(tmp_path: Path) -> None:
    page = next(block for block in blocks("console") if "keys list" in block)
    listed, new, publish, revoke, reload = [
        line.partition("#")[0].strip() for line in page.splitlines()
    ]
    with (
        EmbeddedPair(tmp_path / "pair", secure=True) as pair,
        contextlib.closing(Terminals(tmp_path)) as terminals,
    ):
        pair.start("a")
        pair.start("b")
        pair.wait_until_gated()
        assert len(re.findall("SHA256:", terminals.type(listed))) == 4
        assert "feed-*" not in terminals.type(listed)
        assert "is allowed as producer" in terminals.type(new)
        assert re.search("feed .*feed-[*]", terminals.type(listed))
        wait_for(
            "the nodes to take the new list",
            lambda: "confirmed 1 messages of feed-1" in terminals.answer(publish),
        )
        assert "is not allowed any more" in terminals.type(revoke)
        lists = re.findall(r"(?m)^[ab]: 4 keys, list (\w+): ", terminals.type(reload))
        assert len(lists) == 2
        assert lists[0] == lists[1]
        assert "does not let key feed" in terminals.answer(publish)


# Examples -------------------------------------------------------------------------------------


def test_examples_of_the_sdk(tmp_path: Path) -> None:
    """In the order of the page, each in a process of its own, beside a folder `pair`."""
    producer, consumer, asynchronous = blocks("python")
    for example in (producer, consumer):
        assert len([line for line in example.splitlines() if line]) <= 10
    with EmbeddedPair(tmp_path / "pair", secure=True) as pair:
        pair.start("a")
        pair.start("b")
        pair.wait_until_gated()
        seqs = re.findall(r"number (\d+) is seq (\d+)", run_python(producer, tmp_path))
        assert [number for number, _ in seqs] == ["1", "2", "3"]
        assert run_python(consumer, tmp_path).splitlines() == [
            f"{seq} desk-1 {number} b'order {number}'" for number, seq in seqs
        ]
        seq, read = run_python(asynchronous, tmp_path).splitlines()
        assert read == f"{seq.removeprefix('seq ')} b'cancel 3'"


def run_python(source: str, folder: Path) -> str:
    command = [sys.executable, "-P", "-c", source]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


# What the pages name --------------------------------------------------------------------------


def commands(group: TyperGroup, path: str) -> Iterator[str]:
    for name, command in group.commands.items():
        if isinstance(command, TyperGroup):
            yield from commands(command, f"{path} {name}")
        else:
            yield f"{path} {name}"


def test_every_command_is_told_once() -> None:
    group = typer.main.get_command(app)
    assert isinstance(group, TyperGroup)
    told = re.findall(r"^\| `(interlock [a-z ]+)` \|", README, re.MULTILINE)
    assert sorted(told) == sorted(commands(group, "interlock"))


def test_the_commands_of_make_exist() -> None:
    goals = re.findall(r"\bmake ([a-z-]+) ", "\n".join(blocks("console")))
    assert goals == ["demo", "test"]
    makefile = (ROOT / "Makefile").read_text("utf-8")
    assert all(re.search(rf"^{goal}:", makefile, re.MULTILINE) for goal in goals)


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    text = (ROOT / page).read_text("utf-8")
    for target in re.findall(r"\]\(([^)]+)\)", text):
        file, _, anchor = target.partition("#")
        path = (ROOT / page).parent / file if file else ROOT / page
        assert path.exists(), target
        if anchor:
            titles = re.findall(r"^#+ (.*)$", path.read_text("utf-8"), re.MULTILINE)
            assert anchor in {
                re.sub(r"[^a-z0-9 -]", "", t.lower()).replace(" ", "-") for t in titles
            }


def known_tests() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for path in (ROOT / "tests").rglob("test_*.py"):
        for name in re.findall(r"^def (test_\w+)", path.read_text("utf-8"), re.MULTILINE):
            found.setdefault(name, []).append(path.relative_to(ROOT).as_posix())
    return found


@pytest.mark.parametrize("page", PAGES)
def test_files_and_tests_that_a_page_names_exist(page: str) -> None:
    """`primary/gate.py`, or `tests/scenarios/test_gate.py::test_name`."""
    text = (ROOT / page).read_text("utf-8")
    tests = known_tests()
    for path, test in re.findall(r"`([\w./-]+\.(?:py|json|toml))(?:::(\w+))?`", text):
        if Path(path).name in ("interlock.toml", "node.json", "allowed.toml"):
            continue  # a user's files
        assert (ROOT / path).is_file(), path
        if test:
            where = tests.get(test, [])
            assert path in where, f"{test} is not in {path}; it is in {where}"


def test_every_state_is_told() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    section = page.partition("\n## States")[2].partition("\n## ")[0]
    told = re.findall(r"^\| `([A-Z_]+)` \|", section, re.MULTILINE)
    assert told == [state.value for state in told_order()]


def told_order() -> list[NodeState]:
    """Those of a primary first, then those of a secondary."""
    s = NodeState
    first = [s.STARTING, s.RESUMING, s.GATED, s.STALLED, s.SOLO, s.DRAINING]
    order = [*first, s.ORPHANED, s.CATCHING_UP, s.IN_SYNC, s.FENCED, s.DIVERGED, s.FAILED]
    assert set(order) == set(s)
    return order
