"""A secret key is in its own file and nowhere else: whatever was done, nothing that is written,
told, shown or kept has it, in any of the forms in which it could get there.
"""

from __future__ import annotations

import base64
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner
from zmq.utils import z85

from interlock import ClientError, Producer
from interlock.cli.main import app
from interlock.console.source import LiveSource
from interlock.shared.credentials import ENVIRONMENT
from interlock.shared.errors import Reason
from interlock.shared.keyring import KeyRole
from interlock.shared.keys import KEY_SUFFIX, KeyPair
from interlock.shared.operations import Operation
from support.attackers import Guarded, stranger
from support.operators import operate
from support.pair import PATIENCE_S, command, wait_for

SOME = 12  # characters of a secret: so many are not there by chance


@pytest.fixture(scope="module", autouse=True)
def _ann(guarded: Guarded) -> None:
    guarded.allow("ann", KeyRole.OPERATOR)


def secret_files(guarded: Guarded) -> list[Path]:
    found = sorted(guarded.store.folder.glob(f"*{KEY_SUFFIX}*"))
    assert {path.name for path in found} >= {"a.key", "b.key", "app.key", "ann.key"}
    return found


def traces(pair: KeyPair) -> list[bytes]:
    """What any form of a secret would show: its text, its bytes, and common ways to write them."""
    raw = z85.decode(pair.secret)
    forms = [
        pair.secret.encode("ascii"),
        raw,
        raw.hex().encode("ascii"),
        raw.hex().upper().encode("ascii"),
        base64.b64encode(raw),
        repr(raw).encode("ascii")[2:],
    ]
    return [form[:SOME] for form in forms] + [form[-SOME:] for form in forms[:5]]


@pytest.fixture
def secrets(guarded: Guarded) -> dict[str, list[bytes]]:
    """The traces of every secret key of the pair, by name."""
    names = [path.name.removesuffix(KEY_SUFFIX) for path in secret_files(guarded)]
    return {name: traces(guarded.own(name)) for name in names}


def assert_no_secret(what: str, data: bytes, secrets: dict[str, list[bytes]]) -> None:
    for name, forms in secrets.items():
        for form in forms:
            at = data.find(form)
            assert at < 0, f"expected no secret in {what}; it has that of {name} at {at}"


def test_the_search_would_find_one(guarded: Guarded, secrets: dict[str, list[bytes]]) -> None:
    for path in secret_files(guarded):
        with pytest.raises(AssertionError, match="expected no secret in the file"):
            assert_no_secret("the file", path.read_bytes(), secrets)


def did_it_all(guarded: Guarded) -> list[bytes]:
    """What could make a secret show: refusals, changes, an operation, and errors about its file.
    Returns what was told meanwhile."""
    pair, told = guarded.pair, []
    operate(pair, Operation.PAUSE, "a")
    operate(pair, Operation.RESUME, "a")
    with guarded.call("a", "control", stranger()) as one:
        one.outcome()
    with guarded.call("a", "intake", guarded.own("app")) as one:
        one.send(b"noise")
        told.append(one.refused("intake", Reason.MALFORMED).encode())
    guarded.allow("gone", KeyRole.OBSERVER)
    guarded.change({"gone": None})
    with pytest.raises(ClientError) as error:
        Producer("p", pair.config, key="gone", connect_timeout=0.5)
    told.append(repr(error.value).encode())
    damaged = guarded.store.path_of("damaged")
    damaged.write_bytes(guarded.store.path_of("app").read_bytes()[:-9])
    damaged.chmod(0o600)
    told.append(said("--key", "damaged", "status", "-c", pair.config.path, code=2))
    damaged.unlink()
    return told


def said(*arguments: object, code: int = 0) -> bytes:
    """All that a command of `interlock` prints."""
    words = [str(argument) for argument in arguments]
    done = CliRunner().invoke(app, words, env={ENVIRONMENT: ""})  # which --key changes
    assert done.exit_code == code, f"{arguments}: {done.output}"
    return done.stdout_bytes + done.stderr_bytes


def test_no_secret_is_told_by_the_nodes_or_the_commands(
    guarded: Guarded, secrets: dict[str, list[bytes]], tmp_path: Path
) -> None:
    told = did_it_all(guarded)
    at = ("-c", guarded.pair.config.path)
    for words in (
        ("status",),
        ("status", "--json"),
        ("history",),
        ("history", "--json"),
        ("keys", "list"),
        ("keys", "list", "--json"),
        ("keys", "show", "app"),
        ("keys", "show", "ann", "--json"),
        ("keys", "new", "later", "--role", "observer"),
        ("keys", "rotate", "later"),
        ("keys", "rotate", "later", "--activate"),
        ("keys", "rotate", "later", "--finish"),
        ("keys", "revoke", "later"),
        ("keys", "reload", "--json"),
        ("keys", "init"),
        ("preflight", "switchover"),
    ):
        told.append(said(*words, *at))
    picture = tmp_path / "picture.svg"
    said("console", *at, "--screenshot", picture)
    told.append(picture.read_bytes())
    for index, data in enumerate(told):
        assert data, f"expected something to be told at {index}"
        assert_no_secret(f"what was told, {index}: {data[:60]!r}", data, secrets)


def test_no_secret_is_in_telemetry_or_in_the_console_s_recording(
    guarded: Guarded, secrets: dict[str, list[bytes]], tmp_path: Path
) -> None:
    recording = tmp_path / "recording.jsonl"
    source = LiveSource(guarded.pair.config, recording)
    source.start()
    try:
        with guarded.call("b", "telemetry", guarded.own("ann")) as one:
            for _ in range(5):
                frame = one.hears(PATIENCE_S)
                assert frame is not None
                assert_no_secret("telemetry", frame, secrets)
        wait_for("both nodes in the recording", lambda: (source.tick(), named(recording))[1])
    finally:
        source.stop()
    assert_no_secret("the recording", recording.read_bytes(), secrets)


def named(recording: Path) -> bool:
    data = recording.read_bytes()
    return all(b'"node":"%s"' % name in data for name in (b"a", b"b"))


def test_no_secret_is_in_any_file_or_on_a_command_line(
    guarded: Guarded, secrets: dict[str, list[bytes]]
) -> None:
    """Logs, journals, memory files, the configuration, the list; and what `ps` shows of a node."""
    keep = set(secret_files(guarded))
    seen = set()
    for path in sorted(guarded.pair.directory.rglob("*")):
        if path.is_file() and path not in keep:
            assert_no_secret(str(path), path.read_bytes(), secrets)
            seen.add(path.suffix)
    assert seen >= {".log", ".toml", ".json"}, f"expected logs, journals and more, saw {seen}"
    for process in guarded.pair.processes.values():
        for file in ("cmdline", "environ"):
            data = Path(f"/proc/{process.pid}/{file}").read_bytes()
            assert_no_secret(f"{file} of a node", data, secrets)


def test_a_producer_on_the_command_line_tells_none_when_it_is_cut_off(
    guarded: Guarded, secrets: dict[str, list[bytes]]
) -> None:
    guarded.allow("cli", KeyRole.PRODUCER, producers=["cli"])
    process = subprocess.Popen(
        command(
            "--key", "cli", "publish", "--producer", "cli", "-c", guarded.pair.config.path, "-"
        ),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert process.stdin is not None
    try:
        process.stdin.write(b"one\n")
        process.stdin.flush()
        wait_for("its message", lambda: guarded.traffic.others["cli"])
        cli = traces(guarded.own("cli"))
        guarded.change({"cli": None})
        process.stdin.write(b"two\n")
        process.stdin.close()
        out = process.stdout.read() if process.stdout else b""
        assert process.wait(PATIENCE_S) != 0, "expected the command to fail"
    finally:
        process.kill()
        process.wait()
    assert b"may not submit as cli any more" in out, out
    assert b"Traceback" not in out
    assert_no_secret("what the command printed", out, {**secrets, "cli": cli})
