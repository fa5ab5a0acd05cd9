"""A pair of real processes that faults are done to, with producers and a consumer around it.

Decides how processes are started (in a network namespace, under strace, with another clock), how
they are asked, and how a run ends: all confirmed, all delivered once, both journals sound and the
same. What the faults are is the matter of the tests.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from faults.checker import check, last_line, lines
from interlock.cli.embedded import EmbeddedPair
from interlock.cli.init import FILE
from interlock.cli.keys import security_text
from interlock.client.control import ask_status
from interlock.shared.config import AckLevel
from support.pair import command, wait_for, write_config

HERE = Path(__file__).parent
# Each has at most so many messages unconfirmed: one keeps the pair busy, and one waits for each
# answer, so that nothing that comes later tells it of an answer that was lost.
PRODUCERS = {"p": 20_000, "q": 1}
RATE = 500
FINISH_S = 60.0
DONE, REFUSED = 0, 3  # exit codes of an operation
LOG = 4_000  # the end of a node's log, in a report


class Stage(EmbeddedPair):
    """A pair; `around` has, by node, the words that go before its command, "" those for clients."""

    def __init__(
        self,
        directory: Path,
        around: Mapping[str, Sequence[str]] | None = None,
        environment: Mapping[str, Mapping[str, str]] | None = None,
    ) -> None:
        super().__init__(directory)
        self.around = dict(around or {})
        self.environment = dict(environment or {})
        self.clients: dict[str, subprocess.Popen[bytes]] = {}
        self.printed = directory / "consumed"

    def start(self, name: str) -> None:
        role = "primary" if name == self.config.pair.primary else "secondary"
        line = [*self.around.get(name, ()), *command(role, "-c", self.config.path)]
        with (self.directory / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                line,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={**os.environ, **self.environment.get(name, {})},
            )

    def interlock(self, *words: object, code: int | None = 0) -> str:
        """What `interlock ...`, run where the clients are, prints; fails at another exit code."""
        done = subprocess.run(
            [*self.around.get("", ()), *command(*words)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert code is None or done.returncode == code, done.stdout + done.stderr
        return done.stdout

    def nodes(self) -> dict[str, Any]:
        """What `interlock status --json` prints of each node that answers."""
        found = self.interlock(
            "status", "--json", "--timeout", "0.5", "-c", self.config.path, code=None
        )
        return {name: node for name, node in json.loads(found)["nodes"].items() if node}

    def states(self) -> dict[str, str]:
        """The state of each node that answers."""
        if "" in self.around:  # this process may be where no node can be reached
            return {name: node["state"] for name, node in self.nodes().items()}
        return {name: node.state for name, node in ask_status(self.config, 0.5).items() if node}

    def wait_until_gated(self, timeout: float = FINISH_S) -> None:
        self.wait_for_states("GATED", "IN_SYNC", timeout=timeout)

    def wait_for_states(self, *states: str, timeout: float = FINISH_S) -> None:
        """Waits until the nodes that answer are in these states."""
        wanted = sorted(states)
        wait_for(
            f"states {wanted}",
            lambda: sorted(self.states().values()) == wanted,
            timeout,
        )

    def operate(self, operation: str, node: str, *options: str) -> None:
        """What an operator does: reads the preflight, and types what it asks for. What is refused,
        as a busy machine may move the world in between, is tried again; it must become DONE."""
        asked = (operation, node, *options, "--json", "-c", self.config.path)
        said = ["--operator", "ann", "--reason", "a fault", "--confirm", node]

        def is_done() -> bool:
            found = json.loads(self.interlock("preflight", *asked, code=None))["preflight"]
            if found is None:
                return False
            sentence = found.get("attestation", "")
            typed = [*said, *(("--attest", sentence) if sentence else ())]
            ending = json.loads(self.interlock(*asked, *typed, code=None))
            assert ending["exit_code"] in (DONE, REFUSED), ending
            return bool(ending["exit_code"] == DONE)

        wait_for(f"{operation} {node} to be done", is_done, FINISH_S)

    def wait_for_end(self, name: str) -> int:
        """Waits until a node has ended by itself; its exit code."""
        process = self.processes[name]
        wait_for(f"{name} to end", lambda: process.poll() is not None, FINISH_S)
        return process.returncode

    def begin_load(self, rate: int) -> None:
        """Starts the producers and a consumer that reads from seq 1."""
        for name, window in PRODUCERS.items():
            script = [sys.executable, "-P", str(HERE / "send.py"), str(self.config.path)]
            self._client(name, [*script, name, str(rate), str(window), str(self.confirmed(name))])
        with self.printed.open("wb") as out:
            line = command("consume", "--control", "-c", self.config.path)
            self._client("consumer", line, out)

    def _client(self, name: str, line: Sequence[str], out: Any = subprocess.DEVNULL) -> None:
        with (self.directory / f"{name}.err").open("wb") as errors:
            self.clients[name] = subprocess.Popen(
                [*self.around.get("", ()), *line], stdout=out, stderr=errors, start_new_session=True
            )

    def confirmed(self, name: str) -> Path:
        return self.directory / f"{name}.confirmed"

    def count_confirmed(self, name: str = "p") -> int:
        """The messages that a producer has had confirmed by now."""
        for client, process in self.clients.items():
            assert process.poll() is None, (self.directory / f"{client}.err").read_text()
        line = last_line(self.confirmed(name))
        return int(line.split()[0]) if line else 0

    def wait_for_more(self, messages: int = 200) -> None:
        """Waits until so many more of the first producer are confirmed than now, and at least one
        of each: the pair serves everybody."""
        for name in PRODUCERS:
            goal = self.count_confirmed(name) + (messages if name == "p" else 1)
            wait_for(
                f"{goal} confirmed messages of {name}",
                lambda name=name, goal=goal: self.count_confirmed(name) >= goal,  # type: ignore[misc]
                FINISH_S,
            )

    def finish(self) -> int:
        """Ends the load and the pair, and judges all that came out. Returns the messages."""
        self.wait_until_gated()
        for name in PRODUCERS:
            self.clients[name].terminate()
        for name in PRODUCERS:
            code = self.clients[name].wait(FINISH_S)
            assert code == 0, (self.directory / f"{name}.err").read_text()
        confirmed = {name: list(lines(self.confirmed(name))) for name in PRODUCERS}
        last = max(int(line.split()[1]) for found in confirmed.values() for line in found[:-1])
        wait_for(f"seq {last} to be printed", lambda: self.last_printed()["seq"] >= last, FINISH_S)
        self.end_clients()
        live = list(lines(self.printed))
        again = self.interlock(
            "consume", "--control", "--count", len(live), "-c", self.config.path
        ).splitlines()
        assert live == again, "a replay shows something else than the feed did"
        messages = check(dict(confirmed.items()), live)
        self._stop_leader_first()
        directories = [self.config.data_dir(name) for name in "ab"]
        self.interlock("log", "verify", *directories)
        self.interlock("log", "diff", *directories)
        return messages

    def _stop_leader_first(self) -> None:
        """Were both asked at once, the leader could write a tick that nobody is there to take."""
        nodes = self.nodes()
        leader = next((name for name in nodes if nodes[name]["role"] == "primary"), None)
        if leader is not None:
            self.processes[leader].terminate()
            self.processes[leader].wait(FINISH_S)
        self.stop()

    def last_printed(self) -> dict[str, Any]:
        """The last message that the consumer has printed."""
        return json.loads(last_line(self.printed) or '{"seq": 0}')  # type: ignore[no-any-return]

    def report(self) -> str:
        """What there is to tell of a run that failed."""
        asked = self.interlock("status", "--json", "-c", self.config.path, code=None)
        logs = (f"{name}:\n{self.log(name)[-LOG:]}" for name in self.processes)
        return "\n".join((asked, *logs))

    def end_clients(self) -> None:
        """Ends the producers and the consumer, whatever they are doing."""
        for process in self.clients.values():
            process.kill()
            process.wait()


@contextmanager
def stage(
    directory: Path,
    level: AckLevel = AckLevel.WRITTEN,
    around: Mapping[str, Sequence[str]] | None = None,
    environment: Mapping[str, Mapping[str, str]] | None = None,
    hosts: Mapping[str, str] | None = None,
    rate: int = RATE,
    **settings: int,
) -> Iterator[Stage]:
    """A gated pair under load. `hosts` are addresses of the nodes, which then use keys; if none,
    it is loopback without keys. `rate`: the messages of each producer in a second; `settings` go
    into the configuration."""
    path = directory / FILE
    write_config(path, level, **settings)
    if hosts:
        before, _, after = path.read_text("utf-8").partition("[nodes.b]")
        texts = [before.replace("127.0.0.1", hosts["a"]), after.replace("127.0.0.1", hosts["b"])]
        keys = security_text("ab")  # who can be reached from elsewhere has to use keys
        path.write_text("[nodes.b]".join(texts) + keys, "utf-8")
    with Stage(directory, around, environment) as pair:
        try:
            for name in "ab":
                pair.start(name)
            pair.wait_until_gated()
            pair.begin_load(rate)
            pair.wait_for_more()
            wait_for("the consumer to print", lambda: pair.last_printed()["seq"], FINISH_S)
            yield pair
        except BaseException:
            print(pair.report())
            raise
        finally:
            pair.end_clients()
