"""What a row is in each format; the message is the row's own bytes, and a bad line is named."""

from __future__ import annotations

import csv
import gzip
import io
import lzma
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from interlock.cli.rows import Format, read_rows
from interlock.shared.errors import UserError


def rows(path: Path, content: bytes, form: Format) -> list[bytes]:
    path.write_bytes(content)
    return list(read_rows(path, form))


def complaint(path: Path, content: bytes, form: Format) -> str:
    path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        list(read_rows(path, form))
    assert str(path) in str(caught.value)
    return str(caught.value)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "rows"


def test_lines_are_messages_without_their_ends(file: Path) -> None:
    content = b"one\ntwo\r\n\nfour \xff\nlast without end"
    assert rows(file, content, Format.LINES) == [
        b"one",
        b"two",
        b"",
        b"four \xff",
        b"last without end",
    ]
    assert rows(file, b"", Format.LINES) == []


def test_of_a_line_end_only_the_end_is_cut(file: Path) -> None:
    assert rows(file, b"a\r\r\nb\r\n", Format.LINES) == [b"a\r", b"b"]


def test_json_lines_are_kept_as_they_are(file: Path) -> None:
    content = b'{"a" : 1}\n\n  [1,2]\r\n"text"\n'
    assert rows(file, content, Format.JSONL) == [b'{"a" : 1}', b"  [1,2]", b'"text"']


def test_a_bad_json_line_is_named(file: Path) -> None:
    for bad in (b"{", b"{}{}", b"nonsense", b'"\xff"', b"[" * 100_000, b"{'a': 1}"):
        assert "line 3: not JSON" in complaint(file, b"{}\n\n" + bad + b"\n{}\n", Format.JSONL)


def test_the_header_of_csv_is_no_message(file: Path) -> None:
    assert rows(file, b"id,price\n1,2\n3,4\n", Format.CSV) == [b"1,2", b"3,4"]
    assert rows(file, b"id,price\n", Format.CSV) == []
    assert rows(file, b"", Format.CSV) == []


def test_a_csv_row_is_its_own_bytes(file: Path) -> None:
    """Quotes, blanks and line ends within quotes are not for us to tidy up."""
    content = b'id,text\n1,"a, ""b"""\n2, c \n3,"two\nlines"\n4,"win\r\ndows"\r\n5,""\n'
    assert rows(file, content, Format.CSV) == [
        b'1,"a, ""b"""',
        b"2, c ",
        b'3,"two\nlines"',
        b'4,"win\r\ndows"',
        b'5,""',
    ]


def test_empty_lines_of_csv_are_skipped(file: Path) -> None:
    assert rows(file, b"\nid,x\n\n1,2\n\n\n3,4\n\n", Format.CSV) == [b"1,2", b"3,4"]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"a,b\n1,2\n3\n", "line 3: 1 fields; the header line has 2"),
        (b"a,b\n1,2,3\n", "line 2: 3 fields; the header line has 2"),
        (b'a,b\n"x\ny",2\n3\n', "line 4: 1 fields; the header line has 2"),
        (b'a,b\n"x"y,2\n', "line 2: not CSV"),
        (b'a,b\n1,2\n"never closed\n3,4\n', "not CSV: unexpected end of data"),
        (b"a,b\n1,\xff\n", "line 2: not CSV"),
    ],
)
def test_a_bad_csv_row_is_named_by_its_line(file: Path, content: bytes, told: str) -> None:
    assert told in complaint(file, content, Format.CSV)


@pytest.mark.parametrize("form", list(Format))
def test_compressed_files_are_read_by_their_name(tmp_path: Path, form: Format) -> None:
    content = b"[1]\n[2]\n[3]\n"
    plain = rows(tmp_path / "rows.txt", content, form)
    assert plain
    assert rows(tmp_path / "rows.txt.gz", gzip.compress(content), form) == plain
    assert rows(tmp_path / "rows.txt.xz", lzma.compress(content), form) == plain


@pytest.mark.parametrize("suffix", [".gz", ".xz"])
def test_a_damaged_compressed_file_is_a_mistake(tmp_path: Path, suffix: str) -> None:
    pack = gzip.compress if suffix == ".gz" else lzma.compress
    whole = pack(b"row\n" * 10_000)
    for content in (b"plain text\n", whole[: len(whole) // 2]):
        assert "cannot read" in complaint(tmp_path / f"rows{suffix}", content, Format.LINES)


def test_a_missing_file_and_a_folder_are_mistakes(tmp_path: Path) -> None:
    for path in (tmp_path / "missing", tmp_path):
        with pytest.raises(UserError, match="cannot read"):
            list(read_rows(path, Format.LINES))


fields = st.lists(
    st.lists(st.text(st.characters(exclude_characters="\0\r", codec="utf-8"), max_size=8),
             min_size=2, max_size=2),
    max_size=8,
)  # fmt: skip


@given(fields)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
def test_csv_rows_parse_back_to_their_fields(file: Path, table: list[list[str]]) -> None:
    """Whatever csv writes, each message is one row of it, and all rows are there."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n", quoting=csv.QUOTE_ALL)
    writer.writerows([["a", "b"], *table])
    found = rows(file, out.getvalue().encode(), Format.CSV)
    parsed = [next(csv.reader(io.StringIO(row.decode(), newline=""))) for row in found]
    assert parsed == table
