"""How a node starts, refuses to start, and ends: exit codes, and one sentence that says what to do.

All by the commands that a user types.
"""

from __future__ import annotations

import shutil
import signal
import socket as tcp
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from typer.testing import CliRunner

from interlock import Producer
from interlock.cli.embedded import EmbeddedPair
from interlock.cli.init import FILE
from interlock.cli.main import app
from interlock.shared.config import SOCKETS, AckLevel, Config, load_config
from interlock.shared.journal import JournalReader
from interlock.shared.roles import Role
from interlock.shared.state import STATE_FILE, DataDir, NodeMemory
from interlock.shared.telemetry import NodeStatus
from support.pair import (
    PATIENCE_S,
    assert_identical,
    endpoint,
    host_and_port,
    mistake,
    pair_of,
    run,
    start_as,
    status,
    wait_for,
    wait_for_state,
    write_config,
)


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """A pair that nobody has started."""
    write_config(tmp_path / FILE)
    return load_config(tmp_path)


def remember(config: Config, name: str, cluster: str, node: str, role: Role) -> Path:
    """Makes the data directory of `name` as a node of that cluster and name has left it."""
    directory = config.data_dir(name)
    data = DataDir(directory, cluster, node)
    data.save(NodeMemory(cluster, node, role))
    data.close()
    return directory


def refusal(*arguments: object) -> str:
    """As `mistake`, for what is refused before a socket is opened: without a process of its own."""
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert done.exit_code == 2, done.output
    assert done.stdout == ""
    assert done.stderr.startswith("interlock: ")
    assert done.stderr.count("\n") == 1
    return str(done.stderr).removeprefix("interlock: ").removesuffix("\n")


def change_endpoint(config: Config, node: str, socket: str, to: str) -> None:
    path, right = Path(config.path), endpoint(config, node, socket)
    path.write_text(path.read_text("utf-8").replace(f'"{right}"', f'"{to}"'), "utf-8")


def ended(pair: EmbeddedPair, name: str) -> int:
    """The exit code of a node that ends by itself."""
    process = pair.processes[name]
    wait_for(f"node {name} to end", lambda: process.poll() is not None)
    code: int = process.returncode
    return code


# Configuration --------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["primary", "secondary"])
@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("[pair]", "[pair", "is not valid TOML"),
        ("[pair]", "[pair]\ncolour = 1", "pair: object contains unknown field `colour`"),
        ("cluster = ", "# cluster = ", "missing required field `cluster`"),
        ('cluster = "', 'cluster = "x', "pair.cluster: "),
        ('primary = "a"', 'primary = "c"', "pair.primary: 'c' is not one of the nodes a and b"),
        ('ack_level = "written"', 'ack_level = "sent"', "pair.ack_level: "),
        ("heartbeat_ms = ", "heartbeat_ms = -", "timing.heartbeat_ms: "),
        ("heartbeat_ms = 50", "heartbeat_ms = 5_000", "timing.link_timeout_ms: "),
        ("segment_bytes = ", "segment_bytes = 1 #", "limits.segment_bytes: "),
        ("retain_bytes = 0", 'retain_bytes = "all"', "limits.retain_bytes: expected `int`"),
        ('data = "b"', 'data = "a"', "both nodes have the data directory"),
        ('data = "b"', "data = 5", "nodes.b.data: expected `str`"),
        ("[nodes.b]", "[nodes.bad-name-with-many-letters]", "nodes.bad-name-with-many-letters: "),
    ],
)
def test_a_mistake_in_the_configuration_is_named_by_file_and_key(
    config: Config, command: str, old: str, new: str, told: str
) -> None:
    path = Path(config.path)
    text = path.read_text("utf-8")
    assert old in text
    path.write_text(text.replace(old, new), "utf-8")
    complaint = refusal(command, "-c", config.path)
    assert complaint.startswith(str(path))
    assert told in complaint
    assert not config.data_dir("a").exists()


@pytest.mark.parametrize("socket", ["intake", "telemetry"])
@pytest.mark.parametrize(
    "wrong", ["tcp://*:7000", "tcp://127.0.0.1", "tcp://127.0.0.1:70000", "udp://127.0.0.1:7000"]
)
def test_an_endpoint_that_is_none_is_named(config: Config, socket: str, wrong: str) -> None:
    change_endpoint(config, "b", socket, wrong)
    complaint = refusal("primary", "-c", config.path)
    assert f"nodes.b.{socket}: '{wrong}' is not an endpoint" in complaint


def test_without_a_configuration_the_command_that_makes_one_is_told(tmp_path: Path) -> None:
    told = mistake("primary", "-c", tmp_path)
    assert told == (
        f"there is no configuration {tmp_path / FILE}; make one with: interlock init {tmp_path}"
    )


def test_an_unknown_node_is_told_the_known_ones(config: Config) -> None:
    assert "no node 'c'; its nodes are a and b" in refusal(
        "secondary", "-c", config.path, "--node", "c"
    )


# Ports ----------------------------------------------------------------------------------------


@contextmanager
def taken(endpoint: str) -> Iterator[None]:
    """Somebody else listens on a TCP endpoint."""
    with tcp.socket() as other:
        other.setsockopt(tcp.SOL_SOCKET, tcp.SO_REUSEADDR, 1)
        other.bind(host_and_port(endpoint))
        other.listen()
        yield


@pytest.mark.parametrize(
    ("command", "node", "socket"),
    [
        *(("primary", "a", socket) for socket in SOCKETS),
        *(("secondary", "b", socket) for socket in ("intake", "link", "feed", "telemetry")),
    ],
)
def test_a_port_in_use_is_named_by_its_key(
    config: Config, command: str, node: str, socket: str
) -> None:
    """The standby opens all of them too: when it takes the lead nothing is left to go wrong."""
    where = endpoint(config, node, socket)
    with taken(where):
        told = mistake(command, "-c", config.path)
    assert told == (
        f"nodes.{node}.{socket}: {where} is in use by another process; "
        "stop that one or change the endpoint"
    )


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ("tcp://192.0.2.1:7000", "is not an address of this machine; change the endpoint"),
        ("tcp://no-such-host.invalid:7000", "names no interface or address of this machine"),
        ("ipc:///no/such/directory/x", "cannot use /no/such/directory/x.lock: No such file"),
    ],
)
def test_an_endpoint_that_cannot_be_bound_is_named_by_its_key(
    config: Config, wrong: str, told: str
) -> None:
    """With keys: without them an endpoint that others could reach is not even tried."""
    change_endpoint(config, "a", "replay", wrong)
    assert run("keys", "init", "-c", config.path).returncode == 0
    complaint = mistake("primary", "-c", config.path)
    assert complaint.startswith("nodes.a.replay: ")
    assert told in complaint


# Data directories -----------------------------------------------------------------------------


def test_a_directory_of_another_cluster_is_refused(config: Config) -> None:
    other = "12345678-1234-1234-1234-123456789abc"
    directory = remember(config, "a", other, "a", Role.PRIMARY)
    told = refusal("primary", "-c", config.path)
    assert told == (
        f"the data directory {directory} belongs to cluster {other}, the configuration is of "
        f"cluster {config.cluster}; correct nodes.a.data or pair.cluster"
    )


def test_a_directory_of_the_other_node_is_refused(config: Config) -> None:
    directory = remember(config, "a", config.cluster, "b", Role.SECONDARY)
    told = mistake("primary", "-c", config.path)
    assert told == (
        f"the data directory {directory} belongs to node b, not a; correct nodes.a.data"
    )


def test_a_directory_that_cannot_be_is_refused(config: Config) -> None:
    """A file is in its place, or in its way."""
    path = Path(config.path)
    (path.parent / "a").write_text("in the way", "utf-8")
    assert "cannot use the data directory" in refusal("primary", "-c", config.path)
    path.write_text(path.read_text("utf-8").replace('data = "a"', 'data = "a/below"'), "utf-8")
    told = refusal("primary", "-c", config.path)
    assert told == (
        f"cannot use the data directory {path.parent.resolve() / 'a' / 'below'} of node a: "
        "Not a directory; it must be a directory that this user can write"
    )


def test_a_journal_without_its_memory_is_refused(config: Config) -> None:
    """Without node.json nobody knows what this node has promised."""
    with pair_of(Path(config.path).parent / "pair") as pair:
        directory = pair.config.data_dir("b")
    (directory / STATE_FILE).unlink()
    told = refusal("secondary", "-c", pair.config.path)
    assert told.startswith(f"{directory} holds a journal but no {STATE_FILE}")
    for nonsense in (b"", b"{}", b'{"cluster": 1}', b"\xff\xfe"):
        (directory / STATE_FILE).write_bytes(nonsense)
        told = refusal("secondary", "-c", pair.config.path)
        assert told.startswith(f"cannot read {directory / STATE_FILE}")
        assert told.endswith("restore it from a copy")


# Roles ----------------------------------------------------------------------------------------


def test_two_nodes_that_were_both_first_started_as_primary_stop(config: Config) -> None:
    """Neither has a log, each waits for the other to follow. Somebody has to say which is which."""
    with EmbeddedPair(Path(config.path).parent) as pair:
        start_as(pair, "primary", "a")
        start_as(pair, "primary", "b")
        processes = pair.processes
        wait_for("one to end", lambda: any(p.poll() is not None for p in processes.values()))
        codes = {name: process.poll() for name, process in processes.items()}
        assert set(codes.values()) <= {2, None}
        for name, code in codes.items():
            if code == 2:
                complaint = pair.log(name).splitlines()[-1]
                assert complaint.startswith("interlock: nodes ")
                assert "were both first started as primary; stop one" in complaint
                assert "interlock secondary" in complaint
                assert "Traceback" not in pair.log(name)


def test_a_node_goes_on_as_what_it_remembers_and_says_so(tmp_path: Path) -> None:
    with pair_of(tmp_path) as pair:
        pair.kill("b", signal.SIGTERM)
        assert ended(pair, "b") == 0
        start_as(pair, "primary", "b")
        found = wait_for_state(pair, "b", "IN_SYNC")
        assert (found.role, found.incarnation) == ("secondary", 2)
        assert (
            "b: started as primary, but this node remembers that it is the secondary and goes on "
            "as that"
        ) in pair.log("b")
        assert status(pair, "a").state == "GATED"


def test_a_running_node_is_not_started_twice(tmp_path: Path) -> None:
    with pair_of(tmp_path) as pair:
        for command, name in (("primary", "a"), ("secondary", "b")):
            told = mistake(command, "-c", pair.config.path)
            directory, pid = pair.config.data_dir(name), pair.processes[name].pid
            assert told == (
                f"the data directory {directory} is in use by a running node {name} (pid {pid}); "
                "stop that one first, or name the other node with --node"
            )
        assert [status(pair, name).incarnation for name in "ab"] == [1, 1]


def as_secondary(pair: EmbeddedPair, name: str) -> NodeStatus | None:
    found = status(pair, name)
    return found if found.role == "secondary" else None


def test_a_wiped_primary_is_fenced_and_status_says_why(tmp_path: Path) -> None:
    """Its disk was replaced. An empty node must not lead, and the messages must not be lost."""
    with pair_of(tmp_path) as pair:
        with Producer("p", pair.config) as producer:
            seq = producer.send(b"keep me").result(PATIENCE_S)
        pair.kill("a")
        shutil.rmtree(pair.config.data_dir("a"))
        pair.start("a")
        wait_for_state(pair, "a", "FENCED", "an empty node cannot lead")
        # The primary says so before it makes way for the secondary that it becomes.
        found = wait_for("node a to be a secondary", lambda: as_secondary(pair, "a"))
        assert (found.state, found.promotable) == ("FENCED", False)
        assert "interlock reinstate a --reseed" in found.fenced
        told = wait_for_state(pair, "b", "ORPHANED", "the primary a refused: node a is a secondary")
        assert told.watermarks.written_seq >= seq
        done = run("status", "-c", pair.config.path)
        assert done.returncode == 1
        shown = " ".join(done.stdout.split())
        assert "FENCED" in shown
        assert "journal of node a is empty" in " ".join(status(pair, "a").why.split())
        assert "cannot lead" in shown
        # The command line says primary; a node that forgot its fence would lead from nothing.
        pair.kill("a")
        pair.start("a")
        again = wait_for_state(pair, "a", "FENCED", "an empty node cannot lead")
        assert (again.role, again.incarnation, again.fenced) == ("secondary", 2, found.fenced)
        assert again.watermarks.accepted_seq == 0


def test_nodes_of_different_ack_levels_do_not_start_together(tmp_path: Path) -> None:
    """Each node has its own copy of the file, and one was edited."""
    with pair_of(tmp_path, "a") as pair:
        other = tmp_path / "other.toml"
        text = Path(pair.config.path).read_text("utf-8")
        other.write_text(text.replace('ack_level = "written"', 'ack_level = "synced"'), "utf-8")
        assert load_config(other).pair.ack_level is AckLevel.SYNCED
        start_as(pair, "secondary", "b", other)
        wait_for_state(
            pair,
            "b",
            "ORPHANED",
            "the ack level of node b is synced, this node's written: both nodes must run with the "
            "same pair.ack_level",
        )
        found = wait_for_state(pair, "a", "RESUMING", "waiting for the standby")
        assert found.watermarks.released_seq == 0
        assert found.refused["link.wrong-ack-level"] >= 1
        pair.kill("b", signal.SIGTERM)
        ended(pair, "b")
        pair.start("b")
        pair.wait_until_gated()
        assert_identical(pair)


# Ends -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_node_with_success(tmp_path: Path, number: int) -> None:
    """Gated, and each alone: the primary without its standby, the standby without its primary."""
    with pair_of(tmp_path) as pair:
        pair.kill("b", number)
        assert ended(pair, "b") == 0
        wait_for_state(pair, "a", "STALLED")
        pair.kill("a", number)
        assert ended(pair, "a") == 0
        pair.start("b")
        wait_for_state(pair, "b", "ORPHANED")
        pair.kill("b", number)
        assert ended(pair, "b") == 0
        for name in "ab":
            assert pair.log(name).rstrip().endswith(f"{name}: stopped")
            assert "Traceback" not in pair.log(name)


@pytest.mark.parametrize(("command", "name"), [("primary", "a"), ("secondary", "b")])
def test_a_journal_that_is_damaged_in_the_middle_stops_the_start(
    tmp_path: Path, command: str, name: str
) -> None:
    """Damage is named by file, offset and seq, and nothing of it is cut away. (Without the option
    the node serves as FAILED, to be repaired from afar.)"""
    with pair_of(tmp_path) as pair, Producer("p", pair.config, record_messages=1) as producer:
        for number in range(20):
            producer.send(b"row %d" % number)
        producer.flush()
    directory = pair.config.data_dir(name)
    (segment,) = directory.glob("*.log")
    records = list(JournalReader(directory).records())
    broken = records[len(records) // 2]
    before = segment.read_bytes()
    offset = before.index(bytes(broken.raw))
    damaged = bytearray(before)
    damaged[offset + len(broken.raw) - 1] ^= 1
    segment.write_bytes(damaged)
    done = run(command, "-c", pair.config.path, "--exit-on-damage")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    (complaint,) = (line for line in done.stderr.splitlines() if line.startswith("interlock: "))
    assert "journal damaged" in complaint
    assert f"{segment} at offset {offset}, where seq {broken.seq} was expected" in complaint
    assert "repair this journal from the peer's copy" in complaint
    assert segment.read_bytes() == bytes(damaged)
    # The other node is whole, and this one does not lock its directory for good.
    segment.write_bytes(before)
    with EmbeddedPair(tmp_path) as mended:
        mended.start("a")
        mended.start("b")
        mended.wait_until_gated()
        assert_identical(mended)
