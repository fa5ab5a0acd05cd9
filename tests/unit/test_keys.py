"""Key files: how they are made, which ones are refused, and that no secret gets out of them.

A secret that others can read, for a moment or at last, is no secret: so each test looks at the mode
at the moment that counts, and at every text that a user could see.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import zmq
from hypothesis import given
from hypothesis import strategies as st
from zmq.utils import z85

from interlock.shared import keys
from interlock.shared.errors import UserError
from interlock.shared.keys import (
    KeyPair,
    check_key_name,
    check_private,
    check_unchangeable,
    fingerprint,
    is_public_key,
    make_folder,
    new_pair,
    read_pair,
    write_pair,
    write_private,
)

# The example of libzmq's manual, in no use anywhere.
PUBLIC = "Yne@$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{hID"
SECRET = "D:)Q[IlAW!ahhC2ac:9*A}h:p?([4%wOTJ%JR%cs"
PAIR = KeyPair("ann", PUBLIC, SECRET)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "keys"
    make_folder(made)
    return made


@contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def refusal(path: Path) -> str:
    """The one sentence with which the key is refused; never with the secret in it."""
    with pytest.raises(UserError) as caught:
        read_pair(path)
    text = str(caught.value)
    assert "\n" not in text
    assert SECRET not in text
    assert SECRET[:8] not in text
    return text


def give_away(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the file another user's, as far as this process can tell."""
    if os.geteuid() == 0:
        os.chown(path, 54_321, -1)
    else:
        uid = os.geteuid() + 1
        monkeypatch.setattr(os, "geteuid", lambda: uid)


# Making ---------------------------------------------------------------------------------------


def test_a_new_pair_is_one_of_curve_and_another_each_time() -> None:
    one, two = new_pair("ann"), new_pair("ann")
    assert zmq.curve_public(one.secret.encode()).decode() == one.public
    assert one.public != two.public
    assert one.secret != two.secret


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077, 0o277])
def test_modes_do_not_depend_on_the_umask(tmp_path: Path, mask: int) -> None:
    folder = tmp_path / "keys"
    with umask(mask & 0o077):
        make_folder(folder)
    with umask(mask):
        write_pair(folder / "ann.key", PAIR)
    assert (mode(folder), mode(folder / "ann.key")) == (0o700, 0o600)
    assert read_pair(folder / "ann.key") == PAIR


def test_a_secret_can_be_read_by_nobody_else_at_any_moment(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Made 0644 and restricted afterwards, it could be opened in between, and read at leisure."""
    seen: list[int] = []
    really_open, really_chmod = os.open, os.fchmod

    def noted_open(path: object, flags: int, mode: int = 0o777, **more: int) -> int:
        fd = really_open(path, flags, mode, **more)  # type: ignore[call-overload]
        if flags & os.O_CREAT:
            seen.append(stat.S_IMODE(os.fstat(fd).st_mode))
        return int(fd)

    def noted_chmod(fd: int, mode: int) -> None:
        assert os.fstat(fd).st_size == 0
        really_chmod(fd, mode)

    monkeypatch.setattr(os, "open", noted_open)
    monkeypatch.setattr(os, "fchmod", noted_chmod)
    with umask(0):
        write_pair(folder / "ann.key", PAIR)
    assert seen == [0o600]


def test_a_folder_that_others_can_enter_is_not_taken_over(tmp_path: Path) -> None:
    """It was made by somebody: its mode is told, and not changed behind his back."""
    folder = tmp_path / "keys"
    folder.mkdir(mode=0o755)
    folder.chmod(0o755)
    with pytest.raises(UserError, match=rf"chmod 700 {folder}"):
        make_folder(folder)
    assert mode(folder) == 0o755


def test_a_folder_in_whose_place_is_a_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "keys").touch()
    for place in (tmp_path / "keys", tmp_path / "keys" / "deeper"):
        with pytest.raises(UserError, match="cannot make the folder of keys"):
            make_folder(place)


def test_a_key_is_never_written_over(folder: Path) -> None:
    """A second `keys new` would take the node's identity away from it."""
    path = folder / "ann.key"
    write_pair(path, PAIR)
    before = path.read_bytes()
    with pytest.raises(UserError, match=r"is left as it is; .* interlock keys rotate ann"):
        write_pair(path, new_pair("ann"))
    assert path.read_bytes() == before


def test_a_file_is_replaced_in_one_step_and_durably(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Renamed before it is synced: a power cut leaves an empty list, and everybody is shut out."""
    path = folder / "allowed.toml"
    write_private(path, "old", mode=0o644)
    steps: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def noted_fsync(fd: int) -> None:
        found = Path(f"/proc/self/fd/{fd}").readlink()
        steps.append("sync folder" if found == folder else f"sync {found.read_text('utf-8')!r}")
        fsync(fd)

    def noted_replace(self: Path, target: Path) -> Path:
        steps.append(f"rename to {target.name}")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(Path, "replace", noted_replace)
    with path.open() as reader:
        write_private(path, "new", mode=0o644)
        assert reader.read() == "old", "who has it open reads all of the old one"
    assert steps == ["sync 'new'", "rename to allowed.toml", "sync folder"]
    assert path.read_text("utf-8") == "new"
    assert [each.name for each in folder.iterdir()] == ["allowed.toml"]


def test_a_write_that_fails_changes_nothing_and_leaves_no_secret_behind(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = folder / "ann.key"
    write_private(path, "old", mode=0o600)

    def fail(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(UserError, match=r"cannot write .*ann\.key: No space left on device"):
        write_private(path, SECRET, mode=0o600)
    assert path.read_text("utf-8") == "old"
    assert [each.name for each in folder.iterdir()] == ["ann.key"]


# Reading --------------------------------------------------------------------------------------


@pytest.mark.parametrize("extra", [0o040, 0o020, 0o010, 0o004, 0o002, 0o001, 0o044])
def test_a_key_that_others_can_use_is_refused(folder: Path, extra: int) -> None:
    path = folder / "ann.key"
    write_pair(path, PAIR)
    path.chmod(0o600 | extra)
    text = refusal(path)
    assert f"(mode {0o600 | extra:03o})" in text
    assert f"chmod 600 {path}" in text
    path.chmod(0o400)  # tighter is as good
    assert read_pair(path) == PAIR


@pytest.mark.parametrize("extra", [0o050, 0o020, 0o005, 0o002, 0o001])
def test_a_key_in_a_folder_that_others_can_enter_is_refused(folder: Path, extra: int) -> None:
    """Who can write there puts a key of his own in its place, whatever the file's mode."""
    path = folder / "ann.key"
    write_pair(path, PAIR)
    folder.chmod(0o700 | extra)
    assert f"chmod 700 {folder}" in refusal(path)


@pytest.mark.parametrize("what", ["file", "folder"])
def test_a_key_of_another_user_is_refused(
    folder: Path, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = folder / "ann.key"
    write_pair(path, PAIR)
    give_away(path if what == "file" else folder, monkeypatch)
    assert "belongs to another user (uid " in refusal(path)


def test_a_missing_key_says_how_to_make_it(folder: Path) -> None:
    text = refusal(folder / "bob.key")
    assert "interlock keys new bob" in text
    assert "--key" in text


def test_a_key_in_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    text = refusal(tmp_path / "none" / "a.key")
    assert f"there is no folder of keys {tmp_path / 'none'}" in text
    assert "interlock keys init" in text


def text_of(**changes: str | int) -> str:
    fields: dict[str, str | int] = {"name": "ann", "public": PUBLIC, "secret": SECRET, **changes}
    return "".join(
        f'{name} = "{value}"\n' if isinstance(value, str) else f"{name} = {value}\n"
        for name, value in fields.items()
    )


@pytest.mark.parametrize(
    ("content", "told"),
    [
        pytest.param(b"", "is no key", id="empty"),
        pytest.param(text_of().encode()[:-3], "is no key", id="cut"),
        pytest.param(text_of().encode() + b"\xff", "is no key", id="no-text"),
        pytest.param(f'name = "ann"\npublic = "{PUBLIC}"\n'.encode(), "is no key", id="no-secret"),
        pytest.param(text_of(more=SECRET).encode(), "is no key", id="unknown-field"),
        pytest.param(text_of(public=7).encode(), "is no key", id="wrong-type"),
        pytest.param(f'secret = {{ "{SECRET}" = 1'.encode(), "is no key", id="no-toml"),
        pytest.param(b"name = " + b"1" * 5_000, "is no key", id="a-number-too-long"),
        pytest.param(b"name = " + b"[" * 5_000, "is no key", id="too-deep"),
        pytest.param(text_of(name="a/b").encode(), "'a/b' is no name", id="bad-name"),
        pytest.param(text_of(public=PUBLIC[:-1]).encode(), "40 characters of Z85", id="short"),
        pytest.param(text_of(secret=SECRET + "0").encode(), "40 characters of Z85", id="long"),
        pytest.param(text_of(secret="~" * 40).encode(), "40 characters of Z85", id="no-z85"),
        pytest.param(text_of(secret="#" * 40).encode(), "40 characters of Z85", id="too-much-z85"),
        pytest.param(
            text_of(public=new_pair("x").public).encode(),
            "the public key is not that of the secret one",
            id="another-public",
        ),
    ],
)
def test_a_damaged_key_is_refused_by_its_path_and_not_quoted(
    folder: Path, content: bytes, told: str
) -> None:
    path = folder / "ann.key"
    path.write_bytes(content)
    path.chmod(0o600)
    text = refusal(path)
    assert told in text
    assert str(path) in text or told.startswith("'a/b'")


def test_a_key_file_that_cannot_be_read_is_told(folder: Path) -> None:
    (folder / "ann.key").mkdir(mode=0o700)
    assert "cannot read the key" in refusal(folder / "ann.key")


# What is allowed to be changed by nobody else ------------------------------------------------


@pytest.mark.parametrize("extra", [0o020, 0o002, 0o022])
def test_a_list_that_others_can_change_is_refused_and_one_they_can_read_is_not(
    folder: Path, extra: int
) -> None:
    path = folder / "allowed.toml"
    write_private(path, "", mode=0o644)
    check_unchangeable(path)
    path.chmod(0o644 | extra)
    with pytest.raises(UserError, match=rf"chmod 644 {path}"):
        check_unchangeable(path)


def test_a_list_of_another_user_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = folder / "allowed.toml"
    write_private(path, "", mode=0o644)
    give_away(path, monkeypatch)
    with pytest.raises(UserError, match="belongs to another user"):
        check_unchangeable(path)


def test_what_is_not_there_is_told(folder: Path) -> None:
    for check in (check_private, check_unchangeable):
        with pytest.raises(UserError, match=r"cannot look at .*: No such file"):
            check(folder / "none")


# Names, keys, fingerprints --------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a", "A9", "new-york", "fix.gw_2", "0", "x" * 32])
def test_a_name_of_a_key(name: str) -> None:
    check_key_name(name)


@pytest.mark.parametrize(
    "name",
    [
        *("", ".", "..", ".hidden", "-c", "_x", "a/b", "../a", "a b", "a\n", "a\0", "ä", "a*"),
        *('a"]', "a\\", "$HOME", "\N{ARABIC-INDIC DIGIT THREE}", "x" * 33),
    ],
)
def test_a_name_that_would_be_another_file_or_an_option_is_refused(name: str) -> None:
    with pytest.raises(UserError, match="is no name for a key") as caught:
        check_key_name(name)
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError):
        new_pair(name)


def test_the_text_of_a_pair_leaves_the_secret_out() -> None:
    """It gets into logs, tracebacks and f-strings by itself."""
    for text in (repr(PAIR), str(PAIR), f"{PAIR}", f"{[PAIR]}", f"{(PAIR, None)!r:>5}"):
        assert SECRET not in text
        assert "KeyPair(ann, SHA256:" in text


def test_a_fingerprint_is_of_the_public_key() -> None:
    """It is in logs and on paper: the same for all versions, and told apart from others."""
    assert fingerprint(PUBLIC) == "SHA256:9dfd9fe13af9d0ce"
    assert fingerprint(new_pair("ann").public) != fingerprint(PUBLIC)


@given(st.binary(min_size=32, max_size=32))
def test_the_z85_of_32_bytes_is_a_public_key(raw: bytes) -> None:
    text = z85.encode(raw).decode("ascii")
    assert is_public_key(text)
    assert not is_public_key(text[:-1])
    assert not is_public_key(text + "0")
    assert not is_public_key(text[:-1] + "~")


@given(st.text(max_size=50) | st.text(st.characters(max_codepoint=127), min_size=40, max_size=40))
def test_any_text_is_a_public_key_or_is_not(text: str) -> None:
    """Never an error: it is asked about what stands in a file."""
    if is_public_key(text):
        assert z85.encode(z85.decode(text)) == text.encode("ascii")


def test_the_module_keeps_no_secret_of_its_own() -> None:
    """The pair of these tests is really one, or its tests of damage would prove nothing."""
    assert zmq.curve_public(SECRET.encode()).decode() == PUBLIC
    assert not [name for name in vars(keys) if name.lower().startswith("secret")]
