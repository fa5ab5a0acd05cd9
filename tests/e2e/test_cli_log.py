"""`interlock log`, as a person and as a program use it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from base64 import b64decode
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from interlock.cli.main import app
from interlock.shared.journal import Journal
from interlock.shared.wire import decode_messages, parse_record
from support.journal_kit import FastDisk, LogMaker, directory_bytes, fill, idle

SMALL = 1_000
BINARY = bytes([0, 159, 146, 150])
ESCAPES = b"a\x1b[31mred\n"


def log() -> LogMaker:
    """13 records, 22 messages, three segments, two epochs; text, UTF-8, binary and nasty bodies."""
    maker = LogMaker()
    maker.data("desk", [b'{"px":1}', "€ 5".encode(), BINARY, ESCAPES])
    maker.tick()
    for _ in range(3):
        maker.data("feed", [b"x" * 120, b"", b"y" * 130])
    maker.open_epoch(2)
    for size in (300, 250, 100, 1):
        maker.data("desk", [b"z" * size])
    maker.tick()
    maker.data("feed", [b"end"])
    return maker


def node(directory: Path, maker: LogMaker, records: int | None = None) -> Path:
    directory.mkdir()
    one = Journal.open(directory, SMALL, FastDisk())
    fill(one, maker, 0, records)
    one.close()
    return directory


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return node(tmp_path / "a", log())


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["log", *map(str, arguments)])


def answer(*arguments: object, code: int = 0) -> Any:
    """The one JSON value that a command prints."""
    result = run(*arguments, "--json")
    assert result.exit_code == code, result.output
    return json.loads(result.stdout)


def lines(*arguments: object) -> list[Any]:
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


def bodies(rows: list[Any]) -> list[bytes]:
    return [
        row["body"].encode() if "body" in row else b64decode(row["body_base64"]) for row in rows
    ]


# ls -------------------------------------------------------------------------------------------


def test_ls_lists_segments_and_checkpoints(data_dir: Path) -> None:
    listed = answer("ls", data_dir)
    assert [(one["first_seq"], one["last_seq"]) for one in listed["segments"]] == [
        (1, 12),
        (13, 17),
        (18, 22),
    ]
    assert sum(one["records"] for one in listed["segments"]) == 13
    assert [(one["seq"], one["ok"]) for one in listed["checkpoints"]] == [(18, True), (15, True)]
    text = run("ls", data_dir)
    assert text.exit_code == 0
    for name in (f"{1:020d}.log", f"{18:020d}.log", f"{18:020d}.ckpt", "1,000"):
        assert name in text.stdout


def test_ls_of_a_new_journal(tmp_path: Path) -> None:
    directory = node(tmp_path / "new", log(), 0)
    assert answer("ls", directory)["checkpoints"] == []
    assert "no checkpoints" in run("ls", directory).stdout


# show -----------------------------------------------------------------------------------------


def test_show_prints_headers_and_messages_for_people(data_dir: Path) -> None:
    text = run("show", data_dir).stdout
    shown = text.splitlines()
    assert re.fullmatch(
        r"1  epoch-opened  epoch 1  1970-01-01T00:00:00\.000000001Z  a  hash [0-9a-f]{16}  "
        r"prev 0{16}  88 B",
        shown[0],
    )
    assert json.loads(shown[1])["leader"] == "a"
    assert shown[2].startswith("2..5  data  epoch 1  ")
    assert "  desk#1  " in shown[2]
    assert shown[3] == '    2  {"px":1}'
    assert shown[4] == "    3  € 5"
    assert shown[5] == "    4  hex 009f9296"
    assert shown[6] == r"    5  a\x1b[31mred\n"  # a body cannot steer the terminal
    assert "\x1b" not in text
    assert f"    17  {'z' * 200}... (300 B)" in shown


def test_show_as_json(data_dir: Path) -> None:
    maker = log()
    shown = lines("show", data_dir, "--json")
    assert [(one["seq"], one["count"]) for one in shown[:4]] == [(1, 1), (2, 4), (6, 1), (7, 3)]
    assert [one["kind"] for one in shown[:3]] == ["epoch-opened", "data", "tick"]
    assert shown[0]["payload"]["mode"] == "gated"
    assert shown[2]["payload"] == {}
    for one, raw in zip(shown, maker.records, strict=True):
        record = parse_record(memoryview(raw), 0)
        assert int(one["hash"], 16) == record.hash
        assert int(one["prev_hash"], 16) == record.prev_hash
        assert one["time_ns"] == record.time_ns
        assert one["producer_seq"] == record.producer_seq
        if one["kind"] == "data":
            assert bodies(one["messages"]) == decode_messages(record.payload)


def test_show_a_part(data_dir: Path) -> None:
    assert [one["seq"] for one in lines("show", data_dir, "--json", "--count", 2)] == [1, 2]
    assert lines("show", data_dir, "--json", "-n", 0) == []
    # The record that holds seq 8 begins at 7.
    found = lines("show", data_dir, "--json", "--from", 8, "--no-control", "--count", 4)
    assert [one["seq"] for one in found] == [7, 10, 13, 17]
    assert {one["kind"] for one in found} == {"data"}
    assert lines("show", data_dir, "--json", "--from", 99) == []


def test_show_ends_at_damage_and_says_where(data_dir: Path) -> None:
    segment = data_dir / f"{13:020d}.log"
    segment.write_bytes(b"?" + segment.read_bytes()[1:])
    result = run("show", data_dir, "--json")
    assert result.exit_code == 1
    assert len(result.stdout.splitlines()) == 5
    assert f"in {segment} at offset 0, where seq 13 was expected" in result.stderr


def test_show_tells_of_an_incomplete_record(data_dir: Path) -> None:
    segment = data_dir / f"{18:020d}.log"
    used = segment.read_bytes().rstrip(b"\0")
    segment.write_bytes((used + log().records[-1][:75]).ljust(SMALL, b"\0"))
    assert f"an incomplete record follows: 75 bytes in {segment}" in run("show", data_dir).stdout


# verify ---------------------------------------------------------------------------------------


def test_verify_of_clean_journals(data_dir: Path, tmp_path: Path) -> None:
    other = node(tmp_path / "b", log())
    report = answer("verify", data_dir, other)
    assert report["ok"] is True
    assert [one["messages"] for one in report["journals"]] == [22, 22]
    text = run("verify", data_dir).stdout
    assert text.startswith(f"{data_dir}: clean, seq 1 to 22, hash ")
    assert "22 messages in 13 records, 3 segments, 2 checkpoints" in text


def test_verify_names_the_first_damage(data_dir: Path, tmp_path: Path) -> None:
    clean = node(tmp_path / "b", log())
    segment = data_dir / f"{1:020d}.log"
    data = bytearray(segment.read_bytes())
    data[200] ^= 1
    segment.write_bytes(data)
    report = answer("verify", clean, data_dir, code=1)
    assert report["ok"] is False
    assert report["journals"][0]["damage"] is None
    damage = report["journals"][1]["damage"]
    assert damage["file"] == str(segment)
    assert damage["seq"] == 2
    assert damage["offset"] == len(log().records[0])
    result = run("verify", data_dir)
    assert result.exit_code == 1
    assert f"DAMAGED: {damage['what']} in {segment} at offset" in result.stdout


def test_verify_of_a_node_that_runs(tmp_path: Path) -> None:
    one = Journal.open(tmp_path, SMALL, FastDisk())
    fill(one, log())
    idle(one)
    assert answer("verify", tmp_path)["journals"][0]["last_seq"] == 22
    one.close()


# diff -----------------------------------------------------------------------------------------


def test_diff_of_identical_journals(data_dir: Path, tmp_path: Path) -> None:
    other = node(tmp_path / "b", log())
    found = answer("diff", data_dir, other)
    assert found["identical"] is True
    assert found["files_identical"] is True
    assert found["compared_messages"] == 22
    assert run("diff", data_dir, other).stdout == (
        "identical: 22 messages from seq 1 on; the files are byte-identical\n"
    )


def test_diff_tells_which_is_longer(data_dir: Path, tmp_path: Path) -> None:
    other = node(tmp_path / "b", log(), 10)
    found = answer("diff", other, data_dir, code=1)
    assert (found["extra_messages_a"], found["extra_messages_b"]) == (0, 3)
    assert run("diff", data_dir, other).stdout == (
        f"{data_dir} is longer by 3 messages; before that, equal: 19 messages from seq 1 on\n"
    )


def test_diff_names_the_first_differing_byte(data_dir: Path, tmp_path: Path) -> None:
    other = node(tmp_path / "b", log())
    segment = other / f"{13:020d}.log"
    segment.write_bytes(segment.read_bytes().replace(b"zzz", b"zqz", 1))
    found = answer("diff", data_dir, other, code=1)
    where = found["difference"]
    assert (where["seq"], where["byte_a"], where["byte_b"]) == (17, ord("z"), ord("q"))
    assert where["file_b"] == str(segment)
    text = run("diff", data_dir, other).stdout
    assert f"first in the record at seq 17: 7a in {data_dir / segment.name}" in text


# export ---------------------------------------------------------------------------------------


def expected_bodies() -> list[bytes]:
    found = []
    for raw in log().records:
        record = parse_record(memoryview(raw), 0)
        if record.kind.name == "DATA":
            found += decode_messages(record.payload)
        else:
            found.append(bytes(record.payload))
    return found


def test_export_to_jsonl(data_dir: Path, tmp_path: Path) -> None:
    output = tmp_path / "log.jsonl"
    result = run("export", data_dir, "--format", "jsonl", "-o", output)
    assert result.stdout == f"22 messages written to {output}\n"
    rows = [json.loads(line) for line in output.read_text().splitlines()]
    assert [row["seq"] for row in rows] == list(range(1, 23))
    assert bodies(rows) == expected_bodies()
    assert rows[3] == {
        "seq": 4,
        "epoch": 1,
        "time_ns": 2,
        "producer": "desk",
        "producer_seq": 3,
        "kind": "data",
        "body_base64": "AJ+Slg==",
    }
    assert (rows[0]["kind"], rows[0]["producer_seq"]) == ("epoch-opened", 0)
    assert list(tmp_path.glob("*.part")) == []


def test_export_a_part_to_standard_output(data_dir: Path) -> None:
    rows = lines("export", data_dir, "-o", "-", "--from", 8, "--no-control")
    assert [row["seq"] for row in rows] == [*range(8, 16), *range(17, 21), 22]
    assert {row["kind"] for row in rows} == {"data"}


def test_export_that_meets_damage_leaves_no_file(data_dir: Path, tmp_path: Path) -> None:
    segment = data_dir / f"{13:020d}.log"
    segment.write_bytes(b"?" + segment.read_bytes()[1:])
    result = run("export", data_dir, "-o", tmp_path / "out.jsonl")
    assert result.exit_code == 1
    assert "journal damaged" in result.stderr
    assert list(tmp_path.iterdir()) == [data_dir]


def test_export_to_parquet(data_dir: Path, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="the extra `parquet` is not installed")
    output = tmp_path / "log.parquet"
    result = run("export", data_dir, "--format", "parquet", "-o", output)
    assert result.exit_code == 0, result.output
    rows = parquet.read_table(output).to_pylist()
    assert [row["seq"] for row in rows] == list(range(1, 23))
    assert [row["body"] for row in rows] == expected_bodies()
    assert rows[3] == {
        "seq": 4,
        "epoch": 1,
        "time_ns": 2,
        "producer": "desk",
        "producer_seq": 3,
        "kind": "data",
        "body": BINARY,
    }


def test_parquet_without_its_package(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    result = run("export", data_dir, "--format", "parquet", "-o", tmp_path / "x")
    assert result.exit_code == 2
    assert "pip install 'interlock[parquet]'" in result.stderr
    assert list(tmp_path.iterdir()) == [data_dir]


# Mistakes -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["ls", "{tmp}/none"], "cannot list {tmp}/none: No such file or directory"),
        (["show", "{tmp}"], "{tmp} holds no journal"),
        (["verify", "{tmp}/a", "{tmp}"], "{tmp} holds no journal"),
        (["diff", "{tmp}/a", "{tmp}/a/lock"], "expected a node's data directory"),
        (["export", "{tmp}", "-o", "-"], "{tmp} holds no journal"),
        (["export", "{tmp}/a", "-o", "{tmp}/none/x"], "cannot write {tmp}/none/x"),
        (["export", "{tmp}/a", "-o", "-", "--format", "parquet"], "name a file with --output"),
        (["show", "{tmp}/a", "--from", "0"], "greater than or equal to 1"),
        (["export", "{tmp}/a", "-o", "-", "--format", "xml"], "'xml' is not one of"),
    ],
)
def test_a_mistake_is_one_sentence(
    data_dir: Path, tmp_path: Path, arguments: list[str], sentence: str
) -> None:
    result = run(*(argument.format(tmp=tmp_path) for argument in arguments))
    assert result.exit_code == 2
    # typer frames what it says itself, and breaks its lines.
    said = " ".join(re.sub("[│╭╮╰╯─]", " ", result.stderr).split())
    assert sentence.format(tmp=tmp_path) in said
    assert "Traceback" not in result.output


def test_reading_changes_nothing(data_dir: Path, tmp_path: Path) -> None:
    before = directory_bytes(data_dir)
    for arguments in (
        ["ls", data_dir],
        ["show", data_dir],
        ["verify", data_dir],
        ["diff", data_dir, data_dir],
        ["export", data_dir, "-o", tmp_path / "x"],
    ):
        assert run(*arguments).exit_code == 0
    assert directory_bytes(data_dir) == before


@pytest.mark.parametrize("command", ["ls", "show", "verify", "diff", "export"])
def test_help_explains_itself(command: str) -> None:
    result = run(command, "--help")
    assert result.exit_code == 0
    assert "--json" in result.stdout or command == "export"


def test_a_reader_that_leaves_is_no_error(data_dir: Path) -> None:
    command = f"{sys.executable} -P -m interlock log show {data_dir} --json | head -n 1"
    piped = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, check=True, timeout=60
    )
    assert json.loads(piped.stdout)["seq"] == 1
    assert piped.stderr == ""
