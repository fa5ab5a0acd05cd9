"""The stage of a drill: a pair of its own under load, whose faults are real.

Decides how each fault is made and undone: signals to processes that it started, a proxy between the
nodes, bytes on their disks. Where this machine cannot do one (no root, a tool is missing), it says
so, and the drill is UNKNOWN.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from uuid import uuid4

from ..client.control import ControlClient
from ..client.local import free_ports
from ..runbooks.conditions import Value
from ..runbooks.parse import Runbook
from ..runbooks.stage import Measures, UnavailableError
from ..runbooks.verbs import OF_KEYS, Action, Do, Fault, FaultKind
from ..shared.config import AckLevel
from ..shared.errors import InterlockError, UserError
from ..shared.telemetry import NodeStatus
from .drill_disk import SmallDisk, damage, faketime
from .drill_thief import KEY
from .drill_traffic import DrillTraffic
from .embedded import EmbeddedPair
from .init import FILE, render
from .proxy import Proxy

SETTINGS = {
    "heartbeat_ms": 50,
    "link_timeout_ms": 500,
    "telemetry_interval_ms": 50,
    "segment_bytes": 2 * 1024 * 1024,
    "pending_messages": 4_000,
}
MENDS = {
    FaultKind.THAW: FaultKind.FREEZE,
    FaultKind.MEND_LINK: FaultKind.CUT_LINK,
    FaultKind.FREE_DISK: FaultKind.FILL_DISK,
    FaultKind.CALM: FaultKind.FLOOD,
}
STATUS_S = 0.3
COMMAND_S = 30.0
STOP_S = 3.0


def _config_text(*, secure: bool) -> str:
    names, ports = ("a", "b"), free_ports()
    text = render(str(uuid4()), names, "127.0.0.1", ports, AckLevel.WRITTEN, secure=secure)
    for key, value in SETTINGS.items():
        text = re.sub(rf"(?m)^{key} = \S+", f"{key} = {value}", text)
    return text.replace('environment = "production"', 'environment = "drill"')


def needs_keys(runbook: Runbook) -> bool:
    """Whether the pair of this runbook's drill has to have keys."""
    return any(
        (isinstance(step.what, Action) and step.what.do in OF_KEYS)
        or (isinstance(step.what, Fault) and step.what.fault is FaultKind.STEAL_KEY)
        for step in runbook.steps
    )


class EmbeddedStage:
    """A `Stage`. A context manager: entering starts the pair and the load, leaving ends both."""

    is_drill = True
    names = ("a", "b")

    def __init__(self, runbook: Runbook) -> None:
        self._directory = Path(tempfile.mkdtemp(prefix="interlock-drill-"))
        text = _config_text(secure=needs_keys(runbook))
        (self._directory / FILE).write_text(text, "utf-8")
        self._pair = EmbeddedPair(self._directory)
        self.control = ControlClient(self._pair.config)
        self._stack = contextlib.ExitStack()
        self._proxies: list[Proxy] = []
        self._seen: dict[str, Path] = {}
        self._broken: dict[tuple[FaultKind, str], Callable[[], object]] = {}
        self._disks: dict[str, SmallDisk] = {}
        self._clocks: dict[str, Path] = {}
        self._traffic: DrillTraffic | None = None
        self._faults = [step.what for step in runbook.steps if isinstance(step.what, Fault)]
        self._text = text

    # A pair with a network between its nodes ---------------------------------------------------

    def __enter__(self) -> EmbeddedStage:
        try:
            self._prepare()
            for name in self.names:
                self._start(name)
            self._pair.wait_until_gated()
            self._traffic = DrillTraffic(self._pair.config)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends what it started, and removes what it made."""
        if self._traffic is not None:
            self._traffic.end()
            self._traffic = None
        self._pair.stop()
        self._stack.close()
        shutil.rmtree(self._directory, ignore_errors=True)

    def _prepare(self) -> None:
        kinds = {fault.fault for fault in self._faults}
        for name in self.names:
            peer = self._pair.config.node(self._pair.config.peer_of(name)).link
            proxy = self._stack.enter_context(Proxy(peer))
            self._proxies.append(proxy)
            self._seen[name] = self._directory / f"as-{name}-sees-it.toml"
            text = self._text.replace(f'"{peer}"', f'"{proxy.endpoint}"')
            self._seen[name].write_text(text, "utf-8")
            if FaultKind.FILL_DISK in kinds:
                disk = SmallDisk(self._pair.config.data_dir(name))
                self._disks[name] = self._stack.enter_context(disk)
            if FaultKind.STEP_CLOCK in kinds:
                self._clocks[name] = self._directory / f"{name}.clock"
                self._clocks[name].write_text("+0", "utf-8")

    def _start(self, name: str) -> None:
        """Starts a node that does not run, as a supervisor would."""
        process = self._pair.processes.get(name)
        if process is not None and process.poll() is None:
            raise UserError(f"node {name} runs already")
        role = "primary" if name == self._pair.config.pair.primary else "secondary"
        command = [sys.executable, "-P", "-m", "interlock", role]
        command += ["-c", str(self._seen[name]), "--node", name]
        environment = dict(os.environ)
        if name in self._clocks:
            environment |= faketime(self._clocks[name])
        with (self._directory / f"{name}.log").open("ab") as log:
            self._pair.processes[name] = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env=environment,
            )

    # The stage --------------------------------------------------------------------------------

    def nodes(self) -> Mapping[str, NodeStatus | None]:
        return self.control.statuses(STATUS_S)

    def flow(self) -> Mapping[str, Value] | None:
        return self._traffic.flow() if self._traffic else None

    def note_action(self) -> None:
        if self._traffic:
            self._traffic.note_decision()

    def measures(self) -> Measures | None:
        if self._traffic is None:
            return None
        traffic, self._traffic = self._traffic, None
        measures = traffic.end()
        for name, status in self.nodes().items():
            if status is not None:
                measures.quarantined += sum(
                    entry.messages for entry in self.control.quarantine(name)
                )
        return measures

    def by_hand(self, do: Do, node: str) -> None:
        match do:
            case Do.START:
                self._start(node)
            case Do.STOP:
                self._stop(node)
            case Do.REPAIR:
                self._command("log", "repair", node)
            case Do.ROTATE_KEY:
                self._command("keys", "rotate", node)
            case Do.ACTIVATE_KEY:
                self._command("keys", "rotate", node, "--activate")
            case Do.FINISH_KEY:
                self._command("keys", "rotate", node, "--finish")
            case Do.REVOKE_KEY:
                self._command("keys", "revoke", KEY)
            case Do.RELOAD_KEYS:
                self._command("keys", "reload")
            case Do.EXPORT:
                kept = [one for one in self.control.quarantine(node) if one.state == "kept"]
                if not kept:
                    raise UserError(f"node {node} keeps nothing in quarantine")
                data = self.control.read_quarantine(node, kept[-1].name)
                (self._directory / kept[-1].name).write_bytes(data)
            case _:
                raise UserError(f"{do.value} is nothing that is done by hand")

    def _stop(self, node: str) -> None:
        """Asks its process to end, and makes sure that it has."""
        process = self._pair.processes[node]
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._pair.kill(node)

    def _command(self, *words: str) -> None:
        command = [sys.executable, "-P", "-m", "interlock", *words, "-c", self._pair.config.path]
        done = subprocess.run(command, capture_output=True, text=True, timeout=COMMAND_S)
        if done.returncode:
            raise UserError(f"interlock {' '.join(words)}: {done.stderr.strip()}")

    # Faults -----------------------------------------------------------------------------------

    def fault(self, kind: FaultKind, node: str, by_ms: int) -> None:
        assert self._traffic is not None
        if kind in MENDS:
            self._mend(MENDS[kind], node)
            return
        if kind is FaultKind.STEAL_KEY:  # a key that is new disturbs nobody: no RTO counts from it
            self._steal_key(self._traffic)
            return
        self._traffic.note_fault()
        match kind:
            case FaultKind.KILL:
                self._pair.kill(node)
            case FaultKind.FREEZE:
                self._pair.kill(node, signal.SIGSTOP)
                self._broken[kind, node] = partial(self._pair.kill, node, signal.SIGCONT)
            case FaultKind.CUT_LINK:
                self._cut_link()
            case FaultKind.WIPE:
                shutil.rmtree(self._pair.config.data_dir(node))
            case FaultKind.DAMAGE:
                damage(self._pair.config.data_dir(node))
            case FaultKind.FILL_DISK:
                self._disks[node].fill()
                self._broken[kind, node] = partial(self._free_disk, node)
                self._traffic.flood()  # so that the next segment is needed soon
            case FaultKind.HOLD_CONSUMER:
                self._traffic.hold_a_consumer()
            case FaultKind.FLOOD:
                self._traffic.flood()
                self._broken[kind, node] = self._traffic.calm
            case FaultKind.STEP_CLOCK:
                self._clocks[node].write_text(f"{by_ms / 1000:+g}", "utf-8")
                self._broken[kind, node] = partial(self._clocks[node].write_text, "+0", "utf-8")
            case _:
                raise UnavailableError(f"{kind.value} is no fault")

    def _steal_key(self, traffic: DrillTraffic) -> None:
        self._command(
            "keys", "new", KEY, "--role", "consumer", "--role", "producer", "--producer", KEY
        )
        self._command("keys", "reload")
        traffic.let_a_thief_in()

    def _free_disk(self, node: str) -> None:
        if self._traffic is not None:
            self._traffic.calm()
        self._disks[node].free()

    def _cut_link(self) -> None:
        for proxy in self._proxies:
            proxy.cut()
        self._broken[FaultKind.CUT_LINK, ""] = self._heal

    def _heal(self) -> None:
        for proxy in self._proxies:
            proxy.heal()

    def _mend(self, kind: FaultKind, node: str) -> None:
        undo = self._broken.pop((kind, node), None)
        if undo is not None:
            undo()

    def undo_faults(self) -> list[str]:
        """Mends what is broken, and starts nodes that were killed and not started again."""
        mended = []
        for (kind, node), undo in list(self._broken.items()):
            undo()
            mended.append(f"{kind.value} {node}".rstrip())
        self._broken.clear()
        if self._traffic is not None:
            self._traffic.calm()
        for name, process in self._pair.processes.items():
            if process.poll() is not None:
                with contextlib.suppress(InterlockError):
                    self._start(name)
                    mended.append(f"started {name}")
        return mended
