"""The data directory: whose it is, who has it open, and how what it remembers is replaced."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from interlock.shared.errors import LocalError, UserError
from interlock.shared.operations import Check, Operation, Receipt, Request, Result
from interlock.shared.roles import Role
from interlock.shared.state import LOCK_FILE, STATE_FILE, DataDir, NodeMemory
from interlock.shared.wire import Position

CLUSTER = "0f8fad5b-d9cb-469f-a165-70867728950e"
OTHER = "7c9e6679-7425-40de-944b-e07fc1f90ae7"
MEMORY = NodeMemory(CLUSTER, "a", Role.SECONDARY, 3, 7, Position(41, 2**64 - 1))
RECEIPT = Receipt(
    id="00ff00ff00ff00ff",
    request=Request(Operation.PROMOTE, "a", solo=True),
    operator="ann",
    approvers=["bob"],
    reason="the primary is gone",
    attestation="b is stopped",
    result=Result.DONE,
    text="a leads epoch 8",
    checks=[Check("no gap", True, "opened at seq 42")],
    epoch=8,
    started_ns=1,
    finished_ns=2,
    pause_ms=0.5,
)
FULL = NodeMemory(
    cluster=CLUSTER,
    node="a",
    role=Role.SECONDARY,
    incarnation=3,
    promised_epoch=7,
    target=None,
    doubt="gave way to epoch 7",
    fenced="node b has promised epoch 7",
    boot="5f0e",
    stopped=Position(41, 2**64 - 1),
    receipts=[RECEIPT],
    keys="9f86d081884c7d65",
)

HOLDER = """
import sys
from pathlib import Path
from interlock.shared.state import DataDir
data = DataDir(Path(sys.argv[1]), sys.argv[2], sys.argv[3])
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "a"


@pytest.fixture
def held(path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that has the directory open until its stdin is closed."""
    with subprocess.Popen(
        [sys.executable, "-P", "-c", HOLDER, str(path), CLUSTER, "a"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def refusal(path: Path, cluster: str = CLUSTER, node: str = "a") -> str:
    with pytest.raises(UserError) as caught:
        DataDir(path, cluster, node)
    text = str(caught.value)
    assert str(path) in text
    assert "\n" not in text
    return text


def test_a_new_directory_is_made_and_remembers_nothing(path: Path) -> None:
    data = DataDir(path, CLUSTER, "a")
    assert data.memory is None
    assert path.is_dir()
    data.close()


@pytest.mark.parametrize("memory", [MEMORY, FULL], ids=["promises", "all-fields"])
def test_what_is_saved_is_remembered(path: Path, memory: NodeMemory) -> None:
    """A fence, a doubt or a receipt that a restart forgot would be a promise broken."""
    data = DataDir(path, CLUSTER, "a")
    data.save(memory)
    assert data.memory == memory
    data.close()
    again = DataDir(path, CLUSTER, "a")
    assert again.memory == memory
    again.close()


def test_the_fullest_memory_of_these_tests_leaves_no_field_out() -> None:
    """A new field is to be tried here too; only the target is what MEMORY is for."""
    first = NodeMemory(CLUSTER, "a", Role.SECONDARY)
    same = {
        field
        for field in NodeMemory.__struct_fields__
        if getattr(first, field) == getattr(FULL, field)
    }
    assert same == {"cluster", "node", "role", "target"}


def test_a_memory_of_before_the_operations_is_still_read(path: Path) -> None:
    """Fields that came later have a value for a node that never knew them."""
    path.mkdir(parents=True)
    old = {
        "cluster": CLUSTER,
        "node": "a",
        "role": "secondary",
        "incarnation": 3,
        "promised_epoch": 7,
        "target": [41, 2**64 - 1],
    }
    (path / STATE_FILE).write_bytes(msgspec.json.encode(old))
    data = DataDir(path, CLUSTER, "a")
    assert data.memory == MEMORY
    data.close()


def test_saving_replaces_the_file_whole(path: Path) -> None:
    """A reader that opened the old file still reads all of the old one: it was not written over."""
    data = DataDir(path, CLUSTER, "a")
    data.save(MEMORY)
    file = path / STATE_FILE
    with file.open("rb") as old:
        data.save(NodeMemory(CLUSTER, "a", Role.PRIMARY))
        assert msgspec.json.decode(old.read(), type=NodeMemory) == MEMORY
    assert msgspec.json.decode(file.read_bytes(), type=NodeMemory).role is Role.PRIMARY
    assert sorted(entry.name for entry in path.iterdir()) == [LOCK_FILE, STATE_FILE]
    data.close()


def test_saving_syncs_the_file_before_its_name_and_the_name_before_it_returns(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Renamed before it is synced: a power cut leaves the name without bytes, the promise gone."""
    data = DataDir(path, CLUSTER, "a")
    steps: list[str] = []
    fsync, replace = os.fsync, os.replace

    def noted_fsync(fd: int) -> None:
        steps.append("sync " + Path(f"/proc/self/fd/{fd}").readlink().name)
        fsync(fd)

    def noted_replace(source: Path, target: Path) -> None:
        steps.append(f"rename to {target.name}")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(os, "replace", noted_replace)
    data.save(MEMORY)
    assert steps == ["sync node.tmp", "rename to node.json", f"sync {path.name}"]
    data.close()


def test_a_failed_sync_stops_the_node_and_changes_nothing(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = DataDir(path, CLUSTER, "a")
    data.save(MEMORY)

    def fail(_: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(LocalError, match=r"cannot save .*node\.json: Input/output error"):
        data.save(NodeMemory(CLUSTER, "a", Role.PRIMARY))
    assert data.memory == MEMORY
    monkeypatch.undo()
    data.close()
    again = DataDir(path, CLUSTER, "a")
    assert again.memory == MEMORY
    again.close()


def test_a_running_node_keeps_others_out(path: Path, held: subprocess.Popen[str]) -> None:
    text = refusal(path)
    assert f"in use by a running node a (pid {held.pid})" in text
    assert "--node" in text


def test_a_killed_node_leaves_no_lock_behind(path: Path, held: subprocess.Popen[str]) -> None:
    held.kill()
    held.wait(timeout=60)
    DataDir(path, CLUSTER, "a").close()


def test_a_closed_directory_can_be_opened_again(path: Path) -> None:
    data = DataDir(path, CLUSTER, "a")
    data.close()
    data.close()
    DataDir(path, CLUSTER, "a").close()


def test_a_refused_directory_is_not_left_locked(path: Path) -> None:
    data = DataDir(path, CLUSTER, "a")
    data.save(MEMORY)
    data.close()
    refusal(path, node="b")
    DataDir(path, CLUSTER, "a").close()


def test_a_directory_of_another_cluster_is_refused(path: Path) -> None:
    data = DataDir(path, CLUSTER, "a")
    data.save(MEMORY)
    data.close()
    text = refusal(path, cluster=OTHER)
    assert CLUSTER in text
    assert OTHER in text
    assert "nodes.a.data or pair.cluster" in text


def test_a_directory_of_the_other_node_is_refused(path: Path) -> None:
    data = DataDir(path, CLUSTER, "a")
    data.save(MEMORY)
    data.close()
    assert "belongs to node a, not b; correct nodes.b.data" in refusal(path, node="b")


@pytest.mark.parametrize("below", ["", "deep/er"])
def test_a_directory_that_cannot_be_made_is_told(tmp_path: Path, below: str) -> None:
    """A file is in its place, or above it: that fails for root as well, unlike permissions."""
    (tmp_path / "file").touch()
    text = refusal(tmp_path / "file" / below)
    assert "cannot use the data directory" in text
    assert "of node a" in text


def test_a_journal_without_its_memory_is_refused(path: Path) -> None:
    """The promises are gone: a node that made new ones could lead in an epoch that it gave away."""
    path.mkdir(parents=True)
    (path / "00000000000000000001.log").touch()
    text = refusal(path)
    assert f"no {STATE_FILE}" in text
    assert "restore the file or use an empty directory" in text


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"{", id="cut"),
        pytest.param(b"\xff", id="no-text"),
        pytest.param(b'{"cluster": "x", "node": "a"}', id="key-missing"),
        pytest.param(b'{"cluster": "x", "node": "a", "role": "king"}', id="unknown-role"),
        pytest.param(b'{"cluster": "x", "node": "a", "role": "primary", "y": 1}', id="unknown-key"),
    ],
)
def test_a_damaged_memory_is_refused(path: Path, content: bytes) -> None:
    path.mkdir(parents=True)
    (path / STATE_FILE).write_bytes(content)
    text = refusal(path)
    assert f"cannot read {path / STATE_FILE}" in text
    assert "restore it from a copy" in text
