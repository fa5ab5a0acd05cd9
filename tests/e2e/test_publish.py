"""`interlock publish`: what goes in comes out, what cannot be read is named, and --resume."""

from __future__ import annotations

import gzip
import json
import lzma
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from interlock import Consumer, Producer, TakenOverError
from interlock.cli.embedded import EmbeddedPair
from interlock.cli.main import app
from support.pair import PATIENCE_S, assert_serves, pair_of, status

CSV = b'id,text\n1,plain\n2,"two\nlines, ""quoted"""\n3,"win\r\ndows"\n4,last'
ROWS = [b"1,plain", b'2,"two\nlines, ""quoted"""', b'3,"win\r\ndows"', b"4,last"]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPair]:
    with pair_of(tmp_path_factory.mktemp("pair")) as started:
        yield started
        assert_serves(started)


def publish(pair: EmbeddedPair, *arguments: object, stdin: bytes | None = None) -> Result:
    line = ["publish", "-c", pair.config.path, *map(str, arguments)]
    return CliRunner().invoke(app, line, input=stdin)


def confirmed(pair: EmbeddedPair, *arguments: object, stdin: bytes | None = None) -> dict[str, int]:
    """What a publish that succeeds says with --json."""
    done = publish(pair, *arguments, "--json", stdin=stdin)
    assert done.exit_code == 0, done.output
    told: dict[str, int] = json.loads(done.stdout)
    assert set(told) == {
        "producer",
        "confirmed",
        "skipped",
        "first_producer_seq",
        "seconds",
        "msgs_per_s",
    }
    return told


def refusal(pair: EmbeddedPair, *arguments: object, code: int = 2) -> str:
    done = publish(pair, *arguments)
    assert done.exit_code == code, done.output
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    return str(done.stderr)


def bodies(pair: EmbeddedPair, producer: str, count: int) -> list[bytes]:
    """The first `count` messages of a producer in the log."""
    found: list[bytes] = []
    with Consumer(pair.config) as consumer:
        while len(found) < count:
            message = consumer.next(PATIENCE_S)
            if message.producer == producer:
                assert message.producer_seq == len(found) + 1
                found.append(message.body)
    return found


def test_rows_of_csv_come_out_as_they_went_in(pair: EmbeddedPair, tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    file.write_bytes(CSV)
    told = confirmed(pair, file, "--producer", "csv", "--format", "csv")
    assert (told["confirmed"], told["skipped"], told["first_producer_seq"]) == (4, 0, 1)
    assert bodies(pair, "csv", 4) == ROWS


@pytest.mark.parametrize(
    ("name", "content"),
    [("rows.csv.gz", gzip.compress(CSV)), ("rows.csv.xz", lzma.compress(CSV))],
    ids=["gz", "xz"],
)
def test_compressed_files_and_stdin_give_the_same(
    pair: EmbeddedPair, tmp_path: Path, name: str, content: bytes
) -> None:
    file = tmp_path / name
    file.write_bytes(content)
    packed, piped = name[-2:], f"stdin-{name[-2:]}"
    assert confirmed(pair, file, "--producer", packed, "--format", "csv")["confirmed"] == 4
    assert bodies(pair, packed, 4) == ROWS
    confirmed(pair, "-", "--producer", piped, "--format", "csv", stdin=CSV)
    assert bodies(pair, piped, 4) == ROWS


def test_without_json_it_tells_in_words(pair: EmbeddedPair, tmp_path: Path) -> None:
    file = tmp_path / "rows.txt"
    file.write_bytes(b"one\ntwo\n")
    done = publish(pair, file, "--producer", "words")
    assert done.exit_code == 0
    assert done.stdout.startswith("confirmed 2 messages of words in ")
    assert "msg/s" in done.stdout


def test_resume_goes_on_by_position(pair: EmbeddedPair, tmp_path: Path) -> None:
    """The same again sequences nothing; more rows sequence only those; without --resume all do."""
    file = tmp_path / "rows.txt"
    file.write_bytes(b"1\n2\n3\n")
    options = [file, "--producer", "resumed"]
    assert confirmed(pair, *options, "--resume")["confirmed"] == 3
    again = confirmed(pair, *options, "--resume")
    assert (again["confirmed"], again["skipped"]) == (0, 3)
    file.write_bytes(b"1\n2\n3\n4\n5\n")
    more = confirmed(pair, *options, "--resume")
    assert (more["confirmed"], more["skipped"], more["first_producer_seq"]) == (2, 3, 4)
    done = publish(pair, *options, "--resume")
    assert "(5 rows were in the log already)" in done.stdout
    assert confirmed(pair, *options)["first_producer_seq"] == 6
    assert bodies(pair, "resumed", 10) == [b"1", b"2", b"3", b"4", b"5"] * 2


@pytest.mark.parametrize(
    ("form", "content", "told"),
    [
        ("csv", b"a,b\n1,2\n3\n", "line 3: 1 fields; the header line has 2"),
        ("csv", b'a,b\n1,2\n"x"y,2\n', "line 3: not CSV"),
        ("jsonl", b"{}\nnonsense\n", "line 2: not JSON"),
    ],
)
def test_a_bad_row_is_named_and_what_was_before_it_is_told(
    pair: EmbeddedPair, tmp_path: Path, form: str, content: bytes, told: str
) -> None:
    """The rows before it were sent: nobody may be left to guess whether they are in the log."""
    file = tmp_path / "rows"
    file.write_bytes(content)
    producer = f"bad-{form}-{len(content)}"
    complaint = refusal(pair, file, "--producer", producer, "--format", form)
    assert complaint.startswith(f"interlock: {file}, {told}")
    assert "1 messages before it are confirmed" in complaint
    assert len(bodies(pair, producer, 1)) == 1


@pytest.mark.parametrize(
    ("name", "content"),
    [("missing", None), ("rows.gz", b"no gzip"), ("rows.xz", b"no xz"), ("rows", b"nonsense\n")],
)
def test_a_file_that_cannot_be_read_disturbs_nobody(
    pair: EmbeddedPair, tmp_path: Path, name: str, content: bytes | None
) -> None:
    """It is found out before a session is opened, which would take the name over from another."""
    file = tmp_path / name
    if content is not None:
        file.write_bytes(content)
    running = Producer("running", pair.config)
    try:
        complaint = refusal(pair, file, "--producer", "running", "--format", "jsonl")
        assert str(file) in complaint
        running.send(b"still here").result(PATIENCE_S)
        (tmp_path / "good").write_bytes(b"{}\n")
        confirmed(pair, tmp_path / "good", "--producer", "running", "--format", "jsonl")
        with pytest.raises(TakenOverError):
            running.send(b"taken over").result(PATIENCE_S)
    finally:
        running.close()


def test_what_the_node_refuses_is_told(pair: EmbeddedPair, tmp_path: Path) -> None:
    file = tmp_path / "rows"
    file.write_bytes(b"x" * 65_537 + b"\n")
    complaint = refusal(pair, file, "--producer", "large", code=1)
    assert "65537 bytes" in complaint
    assert "limits.max_message_bytes" in complaint
    complaint = refusal(pair, file, "--producer", "a name that is too long", code=1)
    assert "1 to 16 printable ASCII characters" in complaint
    assert status(pair, "a").refused.get("intake.oversized", 0) == 0


def test_an_unknown_format_is_told_the_known_ones(pair: EmbeddedPair, tmp_path: Path) -> None:
    complaint = refusal(pair, tmp_path / "x", "--producer", "p", "--format", "xml")
    assert all(word in complaint for word in ("xml", "csv", "jsonl", "lines"))
