"""The quarantine keeps what it is given, and lists nothing that it does not hold."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from interlock.shared.commands import QuarantineEntry
from interlock.shared.errors import DiskFull, LocalError, Reason, RemoteError
from interlock.shared.journal import QuarantineStore
from interlock.shared.wire import GENESIS, Position
from support.journal_kit import FastDisk, LogMaker, make_log, state_at
from support.tree_disk import Tree, TreeDisk, tree_of, write_tree

NOW_NS = 1_795_579_506_000_000_000  # 2026-11-25 04:05:06 UTC


def small_log() -> LogMaker:
    maker = LogMaker()
    maker.data("p", [b"1", b"2", b"3"])
    maker.tick()
    maker.data("q", [b"4"])
    maker.data("p", [b"5"])
    return maker


def kept(store: QuarantineStore, maker: LogMaker, start: int = 1) -> QuarantineEntry:
    after = state_at(maker, start).position
    return store.keep(iter(maker.records[start:]), after, "because", NOW_NS)


def refused(reason: Reason) -> pytest.RaisesExc[RemoteError]:
    return pytest.raises(RemoteError, check=lambda error: error.reason is reason)


def test_an_entry_says_what_it_holds(tmp_path: Path) -> None:
    maker = small_log()
    store = QuarantineStore(tmp_path)
    assert store.entries() == []
    entry = kept(store, maker)
    data = b"".join(maker.records[1:])
    assert entry == QuarantineEntry(
        "20261125T040506Z-seq2-7",
        "kept",
        NOW_NS,
        state_at(maker, 1).position,
        2,
        7,
        4,
        6,
        len(data),
        {"p": 4, "q": 1},
        "because",
    )
    assert (tmp_path / "quarantine" / f"{entry.name}.records").read_bytes() == data
    assert QuarantineStore(tmp_path).entries() == [entry]


def test_entries_of_one_moment_have_names_of_their_own(tmp_path: Path) -> None:
    store = QuarantineStore(tmp_path, FastDisk())
    names = [kept(store, small_log()).name for _ in range(3)]
    assert len(set(names)) == 3
    assert [one.name for one in store.entries()] == sorted(names)


def test_names_sort_by_time(tmp_path: Path) -> None:
    store = QuarantineStore(tmp_path, FastDisk())
    maker = make_log([10] * 12)
    late = store.keep(maker.records, GENESIS, "", NOW_NS + 60 * 10**9)
    early = store.keep(maker.records, GENESIS, "", NOW_NS)
    assert store.entries() == [early, late]


def test_it_is_read_in_chunks(tmp_path: Path) -> None:
    maker = small_log()
    store = QuarantineStore(tmp_path, FastDisk())
    entry = kept(store, maker)
    data = b""
    while chunk := store.read(entry.name, len(data), 50):
        assert len(chunk) <= 50
        data += chunk
    assert data == b"".join(maker.records[1:])
    assert store.read(entry.name, 2**64 - 1, 50) == b""


@pytest.mark.parametrize(
    "name",
    [
        "",
        "..",
        "../node",
        "20261125T040506Z-seq2-8",
        "20261125T040506Z-seq2-7.json",
        "20261125T040506Z-journal/../20261125T040506Z-seq2-7",
        "./20261125T040506Z-seq2-7",
        "20261125T040506Z-seq2-7\n",
        "20261125T040506Z-seq2-7\0",
        "2026112५T040506Z-seq2-7",
        "/etc/passwd",
        "a" * 5_000,
    ],
)
def test_a_name_that_is_none_is_refused(tmp_path: Path, name: str) -> None:
    store = QuarantineStore(tmp_path, FastDisk())
    kept(store, small_log())
    store.set_aside([], "", NOW_NS)
    before = tree_of(tmp_path)
    with refused(Reason.UNKNOWN_COMMAND):
        store.read(name, 0, 10)
    with refused(Reason.UNKNOWN_COMMAND):
        store.mark(name, "discarded")
    assert tree_of(tmp_path) == before


# Marks ----------------------------------------------------------------------------------------


def test_discarded_bytes_go_and_the_entry_stays(tmp_path: Path) -> None:
    store = QuarantineStore(tmp_path, FastDisk())
    entry = kept(store, small_log())
    assert store.mark(entry.name, "resubmitted").state == "resubmitted"
    assert store.read(entry.name, 0, 10)
    store.mark(entry.name, "discarded")
    store.mark(entry.name, "discarded")
    (found,) = store.entries()
    assert found.state == "discarded"
    assert found.size_bytes == entry.size_bytes
    assert {path.suffix for path in (tmp_path / "quarantine").iterdir()} == {".json"}
    with refused(Reason.NOT_RETAINED):
        store.read(entry.name, 0, 10)
    with refused(Reason.GUARD):
        store.mark(entry.name, "resubmitted")
    with pytest.raises(LocalError):
        store.mark(entry.name, "kept")


def test_files_that_were_set_aside_are_listed_and_discarded(tmp_path: Path) -> None:
    store = QuarantineStore(tmp_path, FastDisk())
    for name in ("a.log", "b.log"):
        (tmp_path / name).write_bytes(b"12345")
    entry = store.set_aside([tmp_path / "b.log", tmp_path / "a.log"], "why", NOW_NS)
    assert (entry.name, entry.size_bytes, entry.records) == ("20261125T040506Z-journal", 10, 0)
    with refused(Reason.NOT_RETAINED) as caught:
        store.read(entry.name, 0, 10)
    assert str(tmp_path / "quarantine" / entry.name) in str(caught.value)
    store.mark(entry.name, "discarded")
    assert list(tree_of(tmp_path)) == ["quarantine", f"quarantine/{entry.name}.json"]


# What is wrong --------------------------------------------------------------------------------


def test_an_entry_that_cannot_be_read_is_listed_as_that(tmp_path: Path) -> None:
    store = QuarantineStore(tmp_path, FastDisk())
    entry = kept(store, small_log())
    (tmp_path / "quarantine" / f"{entry.name}.json").write_bytes(b'{"name": "\xff')
    (found,) = store.entries()
    assert (found.name, found.state) == (entry.name, "kept")
    assert "cannot be read" in found.why
    (tmp_path / "quarantine" / f"{entry.name}.records").unlink()
    with refused(Reason.NOT_RETAINED):
        store.read(entry.name, 0, 10)


@pytest.mark.parametrize("case", ["none", "gap", "other history", "not a record"])
def test_what_is_no_tail_is_not_kept(tmp_path: Path, case: str) -> None:
    maker = small_log()
    records, after = maker.records[1:], state_at(maker, 1).position
    if case == "none":
        records = []
    elif case == "gap":
        del records[1]
    elif case == "other history":
        after = Position(after.seq, after.hash ^ 1)
    else:
        records[2] = records[2][:-1] + b"?"
    store = QuarantineStore(tmp_path, FastDisk())
    with pytest.raises((LocalError, RemoteError)):
        store.keep(records, after, "", NOW_NS)
    assert tree_of(tmp_path) == {"quarantine": None}


class FullDisk(FastDisk):
    def sync_data(self, fd: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_without_space_nothing_is_kept_and_the_space_is_given_back(tmp_path: Path) -> None:
    with pytest.raises(DiskFull, match="cannot keep records in"):
        kept(QuarantineStore(tmp_path, FullDisk()), small_log())
    assert tree_of(tmp_path) == {"quarantine": None}


# Deaths ---------------------------------------------------------------------------------------


def test_a_death_at_any_step_leaves_no_half_entry(tmp_path: Path) -> None:
    maker = small_log()
    data = b"".join(maker.records[1:])
    home = tmp_path / "n"
    home.mkdir()
    photos: list[tuple[str, Tree]] = []

    def photograph(step: str) -> None:
        photos.extend((f"{death} before {step}", image) for death, image in disk.images().items())

    disk = TreeDisk(home, photograph)
    store = QuarantineStore(home, disk)
    first = kept(store, maker)
    photograph("returned")
    returned = len(photos)
    store.mark(first.name, "discarded")
    photograph("end")
    disk.close()
    states = set()
    for number, (death, image) in enumerate(photos):
        one = QuarantineStore(write_tree(tmp_path / f"{number}", image), FastDisk())
        entries = one.entries()
        assert all("cannot be read" not in entry.why for entry in entries), death
        for entry in entries:
            states.add(entry.state)
            if entry.state == "kept":
                assert one.read(entry.name, 0, 2**20) == data, death
        if number >= returned - 4:
            assert entries, death
        again = one.keep(maker.records[1:], first.after, "again", NOW_NS + 10**9)
        assert one.read(again.name, 0, 2**20) == data, death
        names = {path.stem for path in (tmp_path / f"{number}/quarantine").iterdir()}
        assert names == {entry.name for entry in one.entries()}, death
    assert states == {"kept", "discarded"}


def test_a_tail_is_found_again_by_its_beginning(tmp_path: Path) -> None:
    maker, other = make_log([50] * 6), make_log([50] * 5 + [49])
    store = QuarantineStore(tmp_path, FastDisk())
    after = state_at(maker, 2).position
    entry = kept(store, maker, 2)
    assert store.holding(after, lambda: maker.records[2:5]) == entry
    assert store.holding(after, lambda: maker.records[2:]) == entry
    assert store.holding(after, lambda: other.records[2:]) is None
    assert store.holding(state_at(maker, 3).position, lambda: maker.records[3:]) is None
    store.mark(entry.name, "discarded")
    assert store.holding(after, lambda: maker.records[2:]) is None
