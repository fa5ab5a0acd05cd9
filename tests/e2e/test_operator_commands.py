"""Operations as a stranger does them: `interlock` commands, their output, their exit codes.

0 DONE, 2 something was not given or mistyped, 3 REFUSED and nothing was changed, 4 UNKNOWN.
"""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from interlock.cli.embedded import EmbeddedPair
from support.pair import command, mistake, pair_of, run, status, wait_for, wait_for_state
from support.traffic import Traffic, assert_one_history

PATIENCE_S = 20.0


def told(*arguments: object, code: int = 0) -> dict[str, Any]:
    """What a command with --json prints, after it ended with `code`."""
    done = run(*arguments, "--json")
    assert done.returncode == code, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    assert found["exit_code"] == code
    return found


def events(*arguments: object) -> list[tuple[str, str, str, str]]:
    """What `interlock history` tells: what, who, why and how it ended."""
    done = run("history", *arguments, "--json")
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    return [(one["what"], one["operator"], one["reason"], one["result"]) for one in lines]


class Terminal:
    """A command in a terminal of its own, typed at as by a person."""

    def __init__(self, process: subprocess.Popen[bytes], fd: int) -> None:
        self.process, self.output = process, ""
        self._fd = fd

    def read_until(self, text: str) -> None:
        end = time.monotonic() + PATIENCE_S
        while text not in self.output:
            left = end - time.monotonic()
            assert left > 0, f"waited for {text!r}; the terminal shows:\n{self.output}"
            if select.select([self._fd], [], [], left)[0]:
                self.output += os.read(self._fd, 65_536).decode().replace("\r\n", "\n")

    def type(self, text: str) -> None:
        os.write(self._fd, text.encode() + b"\n")

    def end(self) -> int:
        """Reads to the end of the command; its exit code."""
        try:
            while data := os.read(self._fd, 65_536):
                self.output += data.decode().replace("\r\n", "\n")
        except OSError:  # what Linux says when the other end is closed
            pass
        return self.process.wait(PATIENCE_S)


@contextmanager
def terminal(*arguments: object) -> Iterator[Terminal]:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        command(*arguments),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**os.environ, "COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"},
        start_new_session=True,
    )
    os.close(theirs)
    try:
        yield Terminal(process, ours)
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def test_a_failover_by_what_the_commands_print(tmp_path: Path) -> None:
    """The primary dies at night. Whoever is on call knows `interlock --help`, looks at `status`,
    and from there types what is printed, the attestation too, in a terminal. In the end `history`
    tells who did what, when and why; from a node, and from either disk when both are down."""
    with pair_of(tmp_path) as pair, Traffic(pair.config, 500) as traffic:
        config = ("-c", pair.config.path)
        assert "promote" in run("--help").stdout
        told("switchover", *config, "--operator", "ann", "--reason", "drill", "--confirm", "a")
        told("switchover", *config, "--operator", "ann", "--reason", "back", "--confirm", "b")
        traffic.wait_for_more()

        pair.kill("a")
        wait_for_state(pair, "b", "ORPHANED")
        advice = run("status", *config).stdout
        assert "interlock promote b" in advice, advice
        with terminal("promote", "b", "--solo", *config, "--operator", "bob") as person:
            person.read_until("reason")
            person.type("a does not answer, its host is off")
            person.read_until("attest:")
            sentence = re.search(r"type this sentence:\n\n    (.+)\n", person.output)
            assert sentence is not None
            person.type(sentence[1])
            person.read_until("to confirm (b)")
            person.type("b")
            assert person.end() == 0, person.output
            assert "DONE: b leads epoch" in person.output
        traffic.wait_for_more()

        pair.start("a")
        wait_for_state(pair, "a", "FENCED")
        advice = run("status", *config).stdout
        assert "interlock reinstate a" in advice, advice
        told(
            "reinstate",
            "a",
            *config,
            "--operator",
            "cy",
            "--reason",
            "host is on",
            "--confirm",
            "a",
        )
        pair.wait_until_gated()
        traffic.wait_for_more()
        traffic.finish()

        expected = [
            ("switchover a", "ann", "drill", "DONE"),
            ("switchover b", "ann", "back", "DONE"),
            ("promote b", "bob", "a does not answer, its host is off", "DONE"),
            ("reinstate a", "cy", "host is on", "DONE"),
        ]
        wait_for("all of it to be released", lambda: operations(*config) == expected)
        shown = run("history", *config).stdout
        assert "host is on" in shown
        assert_one_history(pair)
        assert run("history", *config).returncode != 0, "no node answers"
        for name in "ab":
            assert operations("--dir", pair.config.data_dir(name)) == expected


def operations(*arguments: object) -> list[tuple[str, str, str, str]]:
    """The operations of the history, without what the epochs say; what was done to which node."""
    found = [one for one in events(*arguments) if one[3]]
    return [(" ".join(one[0].split()[:2]), *one[1:]) for one in found]


def test_refused_and_mistyped_and_nothing_is_changed(tmp_path: Path) -> None:
    """The standby is down: a switchover is refused by the guard that fails, with what would make
    it pass. What is missing or mistyped is told before anything is done."""
    with pair_of(tmp_path) as pair:
        config = ("-c", pair.config.path)
        by = ("--operator", "ann", "--reason", "drill")
        missing = mistake_after_preflight("switchover", "a", *config)
        assert "--reason TEXT --confirm a" in missing
        assert "--confirm a" in mistake_after_preflight(
            "switchover", "a", *config, *by, "--confirm", "b"
        )
        assert "no node 'c'" in mistake("switchover", "c", *config, *by)

        pair.kill("b")
        wait_for_state(pair, "a", "STALLED")
        done = run("switchover", "a", *config, *by, "--confirm", "a")
        assert done.returncode == 3
        assert "state fits" in done.stdout
        assert "to make `state fits` pass: wait until the standby follows" in unwrap(done.stdout)
        assert "REFUSED" in done.stdout
        assert "token" not in done.stdout
        found = told("switchover", "a", *config, *by, "--confirm", "a", code=3)
        failing = [guard for guard in found["preflight"]["guards"] if not guard["passed"]]
        assert failing[0]["name"] == "state fits"
        assert "STALLED" in failing[0]["observed"]
        assert all(guard["remedy"] for guard in failing)
        assert status(pair, "a").state == "STALLED"
        pair.start("b")
        pair.wait_until_gated()
        assert status(pair, "a").epoch == 1, "nothing was changed"
        assert operations(*config) == []


def unwrap(text: str) -> str:
    return " ".join(text.split())


def mistake_after_preflight(*arguments: object) -> str:
    """What is complained about after a preflight was shown: one sentence, exit code 2."""
    done = run(*arguments)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return unwrap(done.stderr)


@pytest.mark.parametrize("fate", ["wakes up", "is killed"])
def test_no_answer_is_unknown_and_status_settles_it(fate: str, tmp_path: Path) -> None:
    """The node hangs between the preflight and the execution, while a person types. Nobody can say
    whether it happened: exit code 4, and where to look. There it is to be seen that it did not."""
    with pair_of(tmp_path) as pair, Traffic(pair.config, 200) as traffic:
        config = ("-c", pair.config.path)
        options = ("--operator", "ann", "--confirm", "a", "--timeout", "0.3")
        with terminal("switchover", "a", *config, *options) as person:
            person.read_until("reason (it goes into the log)")
            pair.kill("a", signal.SIGSTOP)
            person.type("a test")
            assert person.end() == 4, person.output
        assert "UNKNOWN: " in person.output
        assert "interlock status" in person.output
        assert "failed" not in person.output.lower()
        if fate == "wakes up":
            pair.kill("a", signal.SIGCONT)
        else:
            pair.kill("a")
            pair.start("a")
        pair.wait_until_gated()
        assert status(pair, "a").state == "GATED"
        traffic.wait_for_more(20)
        assert operations(*config) == []
        told("switchover", "a", *config, "--reason", "again", "--confirm", "a")
        traffic.finish()
        assert_one_history(pair)


def test_four_eyes_another_operator_has_to_approve(tmp_path: Path) -> None:
    """`approvals = 2`. Ann asks for a switchover and her command waits. Her own name does not count
    twice. Bob approves, and it is done; the log names both."""
    with pair_of(tmp_path, approvals=2) as pair:
        config = ("-c", pair.config.path)
        options = ("--operator", "ann", "--reason", "drill", "--confirm", "a")
        asking = subprocess.Popen(
            command("switchover", "a", *config, *options),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            assert asking.stderr is not None
            hint = ""
            while not (token := re.search(r"interlock approve (\w+) --node a", hint)):
                hint += asking.stderr.readline()
                assert asking.poll() is None, hint
            run("approve", token[1], "--node", "a", "--operator", "ann", *config)
            with pytest.raises(subprocess.TimeoutExpired):
                asking.wait(1.2)  # it asks twice a second
            assert status(pair, "a").state == "GATED"
            told("approve", token[1], "--node", "a", "--operator", "bob", *config)
            output, complaint = asking.communicate(timeout=PATIENCE_S)
        finally:
            asking.kill()
            asking.wait()
        assert asking.returncode == 0, output + complaint
        assert "switchover a by ann and bob" in unwrap(output)
        pair.wait_until_gated()
        assert status(pair, "b").state == "GATED"
        assert operations(*config) == [("switchover a", "ann + bob", "drill", "DONE")]
        late = told("approve", token[1], "--node", "a", "--operator", "cy", *config, code=3)
        assert "no such token" in late["text"]


@pytest.mark.parametrize("kind", ["switchover", "kill-primary", "kill-standby"])
def test_the_demo_changes_roles_in_mid_load(kind: str) -> None:
    done = run(
        "demo", "--headless", "--failover", kind, "--messages", "20000", "--json", seconds=60
    )
    assert done.returncode == 0, done.stderr + done.stdout
    found = json.loads(done.stdout)
    assert found["ok"]
    assert found["delivered"] == found["confirmed"] == 20_000
    assert found["gaps"] == found["duplicates"] == 0
    assert found["failover"] == kind
    assert found["operations"]
    assert found["epochs"] == {"switchover": 2, "kill-primary": 3, "kill-standby": 3}[kind]
    assert found["pause_ms"] > 0


def damage(pair: EmbeddedPair, node: str) -> Path:
    """Flips a bit in the middle of a stopped node's log."""
    segment = min(pair.config.data_dir(node).glob("*.log"))
    data = bytearray(segment.read_bytes())
    end = len(data.rstrip(b"\0"))
    assert end > 20_000
    data[end // 2] ^= 1
    segment.write_bytes(data)
    return segment


def test_a_journal_that_is_damaged_in_the_middle_is_repaired_from_the_peer(tmp_path: Path) -> None:
    """A bit of the stopped standby's log has flipped. `log repair` fetches what is damaged from the
    running node; afterwards both logs are the same and the pair runs."""
    with pair_of(tmp_path) as pair, Traffic(pair.config) as traffic:
        config = ("-c", pair.config.path)
        traffic.wait_for_more(500)
        pair.kill("b", signal.SIGTERM)
        assert pair.processes["b"].wait(PATIENCE_S) == 0
        segment = damage(pair, "b")
        assert run("log", "verify", segment.parent).returncode == 1
        done = run("log", "repair", "b", *config)
        assert done.returncode == 0, done.stderr
        assert re.search(rf"damage .*{segment.name}", done.stdout), done.stdout
        assert run("log", "verify", segment.parent).returncode == 0
        again = run("log", "repair", "b", *config)
        assert "nothing is damaged" in again.stdout
        pair.start("b")
        pair.wait_until_gated()
        traffic.wait_for_more()
        traffic.finish()
        one, two = (pair.config.data_dir(name) for name in "ab")
        # A tick may be written between the two reads of one comparison.
        wait_for("log diff to be clean", lambda: run("log", "diff", one, two).returncode == 0)
        assert_one_history(pair)
