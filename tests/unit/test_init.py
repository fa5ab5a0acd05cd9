"""`interlock init` writes a file that says what the code does; and how any command ends."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path
from uuid import UUID

import msgspec
import pytest
from typer.testing import CliRunner, Result

from interlock import __version__
from interlock.cli.main import app
from interlock.shared.config import SOCKETS, AckLevel, Config, Limits, Timing, load_config
from interlock.shared.errors import LocalError, UserError


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def refusal(*arguments: object) -> str:
    """What the command complains about: one sentence, exit code 2, no traceback."""
    result = run(*arguments)
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert result.stderr.startswith("interlock: ")
    assert result.stderr.count("\n") == 1
    return str(result.stderr)


def test_init_writes_what_the_code_does(tmp_path: Path) -> None:
    result = run("init", tmp_path / "pair")
    assert result.exit_code == 0, result.output
    config = load_config(tmp_path / "pair")
    assert config.pair.cluster.version == 4
    assert config.pair.ack_level is AckLevel.WRITTEN
    assert (config.pair.primary, config.secondary()) == ("a", "b")
    assert config.timing == Timing()
    assert config.limits == Limits()
    assert config.data_dir("a") == (tmp_path / "pair" / "a").resolve()
    endpoints = [getattr(config.node(node), socket) for node in "ab" for socket in SOCKETS]
    assert endpoints == [f"tcp://127.0.0.1:{port}" for port in range(7101, 7113)]


def test_init_shows_every_key_and_says_what_it_is(tmp_path: Path) -> None:
    run("init", tmp_path)
    text = (tmp_path / "interlock.toml").read_text("utf-8")
    raw = tomllib.loads(text)
    for table, struct in (("timing", Timing), ("limits", Limits)):
        assert list(raw[table]) == [field.name for field in msgspec.structs.fields(struct)]
    lines = text.splitlines()
    for index, line in enumerate(lines):
        assert len(line) <= 100
        if "  # " in line or line.startswith(("cluster", "primary", "ack_level", "data")):
            assert lines[index - 1].startswith("# ")


@pytest.mark.parametrize("bound", ["lowest", "highest"])
def test_init_tells_ranges_that_are_true(tmp_path: Path, bound: str) -> None:
    """Every value that the file says is allowed is, and its neighbour is not."""
    run("init", tmp_path)
    path = tmp_path / "interlock.toml"
    text = path.read_text("utf-8")
    told = 0
    for line in text.splitlines():
        value, _, words = line.partition("  # ")
        if not words or line.startswith("#"):
            continue
        low, _, high = words.partition(" to ")
        if bound == "highest" and not high:
            continue
        told += 1
        edge = int(low.removesuffix(" or more") if bound == "lowest" else high)
        beyond = edge + (1 if bound == "highest" else -1)
        key = value.partition(" = ")[0]
        path.write_text(text.replace(line, f"{key} = {edge}"), "utf-8")
        if (key, bound) in (("heartbeat_ms", "highest"), ("link_timeout_ms", "lowest")):
            with pytest.raises(UserError, match="two heartbeats"):  # in range, but not beside it
                load_config(path)
        else:
            load_config(path)
        path.write_text(text.replace(line, f"{key} = {beyond}"), "utf-8")
        with pytest.raises(UserError, match=rf"\.{key}: expected `int`"):
            load_config(path)
    assert told == (13 if bound == "lowest" else 11)


def test_init_takes_names_ports_host_and_level(tmp_path: Path) -> None:
    result = run(
        "init",
        tmp_path,
        *("--node-names", "london,new-york"),
        *("--base-port", 9000),
        *("--host", "::1"),
        *("--ack-level", "synced"),
        "--json",
    )
    told = json.loads(result.stdout)
    config = load_config(tmp_path)
    assert told == {
        "path": str(tmp_path / "interlock.toml"),
        "cluster": config.cluster,
        "primary": "london",
        "secondary": "new-york",
        "nodes": msgspec.to_builtins(config.nodes),
        "keys": ["london", "new-york", "app", config.security and config.security.operator],
    }
    assert sorted(path.name for path in (tmp_path / "keys").iterdir()) == sorted(
        ["allowed.toml", *(f"{name}.key" for name in told["keys"])]
    )
    assert UUID(told["cluster"]) == config.pair.cluster
    assert config.pair.ack_level is AckLevel.SYNCED
    assert config.node("london").intake == "tcp://[::1]:9000"
    assert config.data_dir("new-york").name == "new-york"


def test_init_says_what_to_run_next(tmp_path: Path) -> None:
    folder = tmp_path / "a pair"
    output = run("init", folder).stdout
    for command in ("primary", "secondary", "status"):
        assert f"interlock {command} -c '{folder}/interlock.toml'\n" in output


def test_two_pairs_are_two_clusters(tmp_path: Path) -> None:
    run("init", tmp_path / "one")
    run("init", tmp_path / "two")
    assert load_config(tmp_path / "one").cluster != load_config(tmp_path / "two").cluster


def test_init_never_replaces_a_file(tmp_path: Path) -> None:
    path = tmp_path / "interlock.toml"
    path.write_text("precious", "utf-8")
    assert f"{path} exists" in refusal("init", tmp_path)
    assert path.read_text("utf-8") == "precious"


def test_init_below_a_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    assert f"cannot make the folder {file}" in refusal("init", file)
    assert f"cannot write {file}/pair/interlock.toml" in refusal("init", file / "pair")


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        ("--node-names", "a", "--node-names 'a': expected two"),
        ("--node-names", "a,a", "two different names"),
        ("--node-names", "a,b,c", "two different names"),
        ("--node-names", "a,../b", "letters, digits, - and _"),
        ("--node-names", "a," + 17 * "b", "1 to 16"),
        ("--base-port", "0", "--base-port 0: expected 1 to 65524"),
        ("--base-port", "65525", "expected 1 to 65524"),
        ("--host", "two words", "'tcp://two words:7101' is not an endpoint"),
    ],
)
def test_init_refuses_options_that_make_no_pair(
    tmp_path: Path, option: str, value: str, expected: str
) -> None:
    assert expected in refusal("init", tmp_path / "pair", option, value)
    assert not (tmp_path / "pair").exists()


def test_init_may_use_the_highest_ports(tmp_path: Path) -> None:
    assert run("init", tmp_path, "--base-port", 65524).exit_code == 0
    assert load_config(tmp_path).node("b").telemetry == "tcp://127.0.0.1:65535"


# How the command ends -------------------------------------------------------------------------


def interlock(*arguments: object, stdout: int = subprocess.PIPE) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of the command in a process of its own."""
    # Output has to wait in a buffer, as it does for a user, for a lost reader to show at the exit.
    buffered = {key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"}
    command = [sys.executable, "-P", "-m", "interlock", *map(str, arguments)]
    ended = subprocess.run(
        command, env=buffered, stdout=stdout, stderr=subprocess.PIPE, text=True, timeout=60
    )
    return ended.returncode, ended.stdout, ended.stderr


def test_the_command_itself_tells_a_mistake_in_one_sentence(tmp_path: Path) -> None:
    code, out, err = interlock("init", tmp_path, "--node-names", "x")
    assert (code, out) == (2, "")
    assert err.startswith("interlock: --node-names 'x': expected")
    assert "Traceback" not in err


def test_version_and_help_are_told() -> None:
    assert run("--version").stdout == f"interlock {__version__}\n"
    shown = run("--help")
    assert shown.exit_code == 0
    assert "init" in shown.stdout


def test_an_unknown_command_is_a_mistake() -> None:
    assert run("inti").exit_code == 2


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (UserError("no such file"), 2, "interlock: no such file\n"),
        (LocalError("the disk is gone"), 1, "interlock: the disk is gone\n"),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_each_kind_of_error_has_its_exit_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int, said: str
) -> None:
    def fail(*_: object) -> Config:
        raise error

    monkeypatch.setattr("interlock.cli.init.parse_config", fail)
    result = run("init", tmp_path)
    assert (result.exit_code, result.stdout, result.stderr) == (code, "", said)


def test_a_bug_is_not_dressed_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("interlock.cli.init.parse_config", lambda *_: 1 / 0)
    assert isinstance(run("init", tmp_path).exception, ZeroDivisionError)


def test_a_reader_that_went_away_is_no_error(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    code, _, err = interlock("init", tmp_path, "--json", stdout=writing)
    os.close(writing)
    assert (code, err) == (141, "")
    assert (tmp_path / "interlock.toml").is_file()
