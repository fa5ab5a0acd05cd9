"""`interlock.toml`: each mistake is told by file, key and what was expected there."""

from __future__ import annotations

from pathlib import Path

import pytest

from interlock.shared.config import AckLevel, Environment, Limits, Timing, load_config
from interlock.shared.errors import UserError

CLUSTER = "0f8fad5b-d9cb-469f-a165-70867728950e"
PAIR = f"""\
[pair]
cluster = "{CLUSTER}"
primary = "a"

[nodes.a]
data = "a"
intake = "tcp://127.0.0.1:7101"
link = "tcp://127.0.0.1:7102"
feed = "tcp://127.0.0.1:7103"
replay = "tcp://127.0.0.1:7104"
control = "tcp://127.0.0.1:7105"
telemetry = "tcp://127.0.0.1:7106"

[nodes.b]
data = "b"
intake = "tcp://127.0.0.1:7107"
link = "tcp://127.0.0.1:7108"
feed = "tcp://127.0.0.1:7109"
replay = "tcp://127.0.0.1:7110"
control = "tcp://[::1]:7111"
telemetry = "ipc:///tmp/telemetry"
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "interlock.toml"
    path.write_text(text, "utf-8")
    return path


def mistake(path: Path) -> str:
    """What `load_config` complains about; one sentence on one line that names the file."""
    with pytest.raises(UserError) as caught:
        load_config(path)
    text = str(caught.value)
    assert str(path) in text
    assert "\n" not in text
    return text


def test_a_valid_file_is_read(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, PAIR))
    assert config.cluster == CLUSTER
    assert config.pair.ack_level is AckLevel.WRITTEN
    assert (config.pair.approvals, config.pair.environment) == (1, Environment.PRODUCTION)
    assert config.timing.drain_timeout_ms == 5_000
    assert (config.pair.primary, config.secondary()) == ("a", "b")
    assert (config.peer_of("a"), config.peer_of("b")) == ("b", "a")
    assert (config.timing, config.limits) == (Timing(), Limits())
    assert config.node("b").telemetry == "ipc:///tmp/telemetry"


def test_what_operations_need_can_be_set(tmp_path: Path) -> None:
    pair = 'primary = "a"\napprovals = 2\nenvironment = "drill"'
    text = PAIR.replace('primary = "a"', pair) + "\n[timing]\ndrain_timeout_ms = 1\n"
    config = load_config(write(tmp_path, text))
    assert (config.pair.approvals, config.pair.environment) == (2, Environment.DRILL)
    assert config.timing.drain_timeout_ms == 1


def test_a_folder_stands_for_the_file_in_it(tmp_path: Path) -> None:
    assert load_config(write(tmp_path, PAIR).parent) == load_config(tmp_path / "interlock.toml")


def test_data_directories_are_relative_to_the_file_wherever_one_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pair").mkdir()
    write(tmp_path / "pair", PAIR.replace('data = "b"', 'data = "/srv/b"'))
    monkeypatch.chdir(tmp_path)
    config = load_config(Path("pair"))
    monkeypatch.chdir("/")
    assert config.data_dir("a") == (tmp_path / "pair" / "a").resolve()
    assert config.data_dir("b") == Path("/srv/b").resolve()


def test_an_unknown_node_is_told_which_there_are(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, PAIR))
    with pytest.raises(UserError, match=r"has no node 'c'; its nodes are a and b"):
        config.data_dir("c")


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        pytest.param('primary = "a"', 'primari = "a"', ["pair", "`primari`"], id="unknown-key"),
        pytest.param("[pair]", "[extra]\n[pair]", ["`extra`"], id="unknown-table"),
        pytest.param("[pair]", 'path = "x"\n[pair]', ["`path`"], id="path-is-no-key"),
        pytest.param(
            '"tcp://127.0.0.1:7109"', "7109", ["nodes.b.feed", "`str`", "`int`"], id="wrong-type"
        ),
        pytest.param(
            'feed = "tcp://127.0.0.1:7109"\n', "", ["nodes.b:", "`feed`"], id="missing-endpoint"
        ),
        pytest.param('primary = "a"\n', "", ["pair", "`primary`"], id="missing-key"),
        pytest.param(CLUSTER, "no-uuid", ["pair.cluster", "UUID"], id="cluster-is-no-uuid"),
        pytest.param(
            'primary = "a"',
            'primary = "a"\nack_level = "maybe"',
            ["pair.ack_level", "'maybe'", "expected one of received, written, synced"],
            id="bad-ack-level",
        ),
        pytest.param(
            'primary = "a"',
            'primary = "a"\nenvironment = "test"',
            ["pair.environment", "'test'"],
            id="bad-environment",
        ),
        pytest.param(
            'primary = "a"',
            'primary = "a"\napprovals = 0',
            ["pair.approvals", ">= 1"],
            id="nobody-approves",
        ),
        pytest.param(
            'primary = "a"',
            'primary = "a"\napprovals = 3',
            ["pair.approvals", "<= 2"],
            id="too-many-approvals",
        ),
        pytest.param(
            "[pair]",
            "timing = {drain_timeout_ms = 0}\n[pair]",
            ["timing.drain_timeout_ms", ">= 1"],
            id="no-time-to-drain",
        ),
        pytest.param(
            'primary = "a"',
            'primary = "c"',
            ["pair.primary", "'c'", "a and b"],
            id="no-such-primary",
        ),
        pytest.param("[nodes.b]", "[nodes.a.b]", ["nodes.a:", "`b`"], id="node-in-a-node"),
        pytest.param(
            "[nodes.b]",
            '[nodes."a b"]',
            ["nodes.a b", "printable ASCII"],
            id="bad-node-name",
        ),
        pytest.param(
            "[nodes.b]",
            "[nodes.a-name-of-17-byte]",
            ["nodes.a-name-of-17-byte", "1 to 16"],
            id="node-name-of-17-bytes",
        ),
        pytest.param(
            "tcp://127.0.0.1:7109",
            "127.0.0.1:7109",
            ["nodes.b.feed", "tcp://HOST:PORT"],
            id="no-tcp",
        ),
        pytest.param(":7109", ":0", ["nodes.b.feed", "tcp://HOST:PORT"], id="port-0"),
        pytest.param(":7109", ":65536", ["nodes.b.feed", "tcp://HOST:PORT"], id="port-too-high"),
        pytest.param(":7109", "", ["nodes.b.feed", "tcp://HOST:PORT"], id="no-port"),
        pytest.param(
            "tcp://127.0.0.1:7109", "tcp://*:7109", ["nodes.b.feed", "HOST"], id="nowhere-to-dial"
        ),
        pytest.param(
            ":7109",
            ":7103",
            ["nodes.b.feed", "tcp://127.0.0.1:7103", "nodes.a.feed"],
            id="endpoint-twice",
        ),
        pytest.param('data = "b"', 'data = "./x/../a"', ["data directory", "/a;"], id="same-data"),
        pytest.param(
            "[pair]",
            "timing = {heartbeat_ms = 0}\n[pair]",
            ["timing.heartbeat_ms", ">= 1"],
            id="timing-too-low",
        ),
        pytest.param(
            "[pair]",
            "limits = {segment_bytes = 1}\n[pair]",
            ["limits.segment_bytes", ">= 2097152"],
            id="limit-too-low",
        ),
        pytest.param(
            "[pair]",
            "timing = {heartbeat_ms = 501, link_timeout_ms = 1000}\n[pair]",
            ["timing.link_timeout_ms", "1000", "two heartbeats", "501"],
            id="time-out-within-two-heartbeats",
        ),
        pytest.param("[pair]", "[pair", ["not valid TOML", "line 1"], id="no-toml"),
        pytest.param("[pair]", f"x = {'9' * 5000}\n[pair]", ["not valid TOML"], id="long-number"),
        pytest.param("[pair]", f"x = {'[' * 5000}\n[pair]", ["not valid TOML"], id="deep"),
    ],
)
def test_a_mistake_is_named_by_its_key(
    tmp_path: Path, old: str, new: str, expected: list[str]
) -> None:
    assert old in PAIR
    text = mistake(write(tmp_path, PAIR.replace(old, new, 1)))
    for part in expected:
        assert part in text


def test_one_node_or_three_are_no_pair(tmp_path: Path) -> None:
    one, _, rest = PAIR.partition("[nodes.b]")
    assert "nodes: expected two nodes, found 1" in mistake(write(tmp_path, one))
    three = PAIR + "[nodes.c]" + rest
    assert "nodes: expected two nodes, found 3" in mistake(write(tmp_path, three))


def test_a_missing_file_is_told_how_to_be_made(tmp_path: Path) -> None:
    assert f"interlock init {tmp_path}" in mistake(tmp_path / "interlock.toml")


def test_a_file_that_cannot_be_read_is_told_why(tmp_path: Path) -> None:
    file = write(tmp_path, PAIR)
    assert "Not a directory" in mistake(file / "interlock.toml")


def test_bytes_that_are_no_text_are_no_toml(tmp_path: Path) -> None:
    path = tmp_path / "interlock.toml"
    path.write_bytes(b"[pair]\nprimary = '\xff'\n")
    assert "not valid TOML" in mistake(path)
