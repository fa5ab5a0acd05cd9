"""The list of allowed keys: what is one, what is wrong with another, and what two differ in.

It is written by hand and by commands, and it decides who may command the pair: an entry that is
read otherwise than it was meant lets somebody in.
"""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from zmq.utils import z85

from interlock.shared import keyring
from interlock.shared.errors import UserError
from interlock.shared.keyring import (
    ANYBODY,
    Entry,
    KeyRing,
    KeyRole,
    Principal,
    changes,
    check_producer_pattern,
    parse_ring,
    read_ring,
    render,
    write_ring,
)
from interlock.shared.keys import fingerprint

WHERE = "/etc/il/allowed.toml"


def key(number: int) -> str:
    """A public key: any 32 bytes are one here."""
    return z85.encode(number.to_bytes(32, "big")).decode("ascii")


K1, K2, K3, K4 = (key(number) for number in range(1, 5))

LIST = f"""
[keys.a]
roles = ["peer"]
public = ["{K1}", "{K2}"]

[keys.feeds]
roles = ["producer", "consumer"]
public = ["{K3}"]
producers = ["feed-1", "mm-*"]

[keys."ann"]
roles = ["operator"]
public = ["{K4}"]
"""


def refusal(text: str) -> str:
    with pytest.raises(UserError) as caught:
        parse_ring(text, WHERE)
    told = str(caught.value)
    assert WHERE in told, told
    assert "\n" not in told
    return told


def entry(**changes: object) -> str:
    """One entry, as text, with some of its lines changed (None: left out)."""
    fields: dict[str, object] = {"roles": ["operator"], "public": [K1], **changes}
    lines = [f"{name} = {value!r}" for name, value in fields.items() if value is not None]
    return "[keys.ann]\n" + "\n".join(lines) + "\n"


# What is a list -------------------------------------------------------------------------------


def test_a_list_tells_whose_a_key_is() -> None:
    ring = parse_ring(LIST, WHERE)
    assert ring.by_key[K1] == Principal("a", K1, frozenset({KeyRole.PEER}))
    assert ring.by_key[K2] == Principal("a", K2, frozenset({KeyRole.PEER}))
    assert ring.by_key[K3] == Principal(
        "feeds", K3, frozenset({KeyRole.PRODUCER, KeyRole.CONSUMER}), ("feed-1", "mm-*")
    )
    assert ring.by_key[K4].name == "ann"
    assert len(ring.by_key) == 4


def test_a_node_proves_itself_with_its_own_keys_the_newest_last() -> None:
    """Anybody else's, or those of an application with a node's name, would let it pose as one."""
    ring = parse_ring(LIST, WHERE)
    assert ring.server_keys("a") == [K1, K2]
    assert ring.server_keys("b") == []
    assert ring.server_keys("ann") == []
    assert ring.server_keys("feeds") == []


def test_an_empty_list_allows_nobody() -> None:
    for text in ("", "[keys]\n", "# nobody\n"):
        assert parse_ring(text, WHERE).by_key == {}


# What is none: each error names the file, and the entry ---------------------------------------


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("keys = 3", "expected only tables [keys.NAME]"),
        ("[keys]\n[more]\n", "expected only tables [keys.NAME]"),
        ("[key.ann]\n", "expected only tables [keys.NAME]"),
        ("[keys]\nann = 3\n", "keys.ann: Expected `object`, got `int`"),
        ("[[keys.ann]]\n", "keys.ann: Expected `object`, got `array`"),
        ('[keys."a b"]\n', "'a b' is no name for a key"),
        ('[keys."../a"]\n', "'../a' is no name for a key"),
        (entry(roles=None), "keys.ann: Object missing required field `roles`"),
        (entry(roles=[]), "keys.ann: Expected `array` of length >= 1 - at `$.roles`"),
        (entry(roles=["king"]), "keys.ann: Invalid enum value 'king' - at `$.roles[0]`"),
        (entry(roles="operator"), "keys.ann: Expected `array`, got `str` - at `$.roles`"),
        (entry(public=None), "keys.ann: Object missing required field `public`"),
        (entry(public=[]), "keys.ann: Expected `array` of length >= 1"),
        (entry(public=[K1, K2, K3]), "keys.ann: Expected `array` of length <= 2"),
        (entry(public=[K1[:-1]]), "keys.ann.public: expected keys of 40 characters (Z85)"),
        (entry(public=["~" * 40]), "keys.ann.public: expected keys of 40 characters (Z85)"),
        (entry(secret=K1), "keys.ann: Object contains unknown field `secret`"),
        (entry(roles=["peer", "operator"]), "keys.ann: a node has the role peer and no other"),
        (entry(roles=["producer"]), "keys.ann: a producer needs `producers`"),
        (entry(roles=["producer"], producers=[]), "keys.ann: a producer needs `producers`"),
        (entry(producers=["p"]), "keys.ann: a producer needs `producers`"),
        (entry(roles=["producer"], producers=["a b"]), "keys.ann.producers: 'a b'"),
        (entry(roles=["producer"], producers=[""]), "keys.ann.producers: ''"),
        (
            entry(roles=["producer"], producers=["x" * 17]),
            "keys.ann.producers: 'xxxxxxxx",
        ),
        (entry(public=[K1, K1]), "keys.ann: the key is that of ann too"),
        (LIST + entry(public=[K3]).replace("ann", "eve"), "keys.eve: the key is that of feeds too"),
        (LIST + entry(), "is not valid TOML: "),  # ann twice
        ("[keys.ann", "is not valid TOML: "),
        ("x = " + "1" * 5_000, "is not valid TOML: "),
        ("x = " + "[" * 5_000, "is not valid TOML: "),
    ],
)
def test_what_is_no_list_is_told_by_file_and_entry(text: str, told: str) -> None:
    assert told in refusal(text)


def test_a_list_of_too_many_keys_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keyring, "MAX_KEYS", 3)
    assert len(parse_ring(LIST, WHERE).entries) == 3
    more = LIST + entry(public=[key(9)]).replace("ann", "eve")
    assert "4 keys; 3 are allowed" in refusal(more)


# The file -------------------------------------------------------------------------------------


@pytest.fixture
def path(tmp_path: Path) -> Path:
    folder = tmp_path / "keys"
    folder.mkdir(mode=0o700)
    return folder / "allowed.toml"


def test_a_list_that_others_can_change_is_not_read(path: Path) -> None:
    """Who can write into it, or put another file in its place, lets in whom he likes."""
    write_ring(path, {})
    path.chmod(0o664)
    with pytest.raises(UserError, match=rf"chmod 644 {path}"):
        read_ring(path)
    path.chmod(0o644)
    path.parent.chmod(0o770)
    with pytest.raises(UserError, match=r"can be changed by others"):
        read_ring(path)
    path.parent.chmod(0o755)  # reading it is no harm: it holds public keys
    assert read_ring(path).entries == {}


def test_a_missing_list_says_how_it_comes_to_be(path: Path) -> None:
    with pytest.raises(UserError, match=r"no list of allowed keys .*allowed\.toml.*keys new"):
        read_ring(path)


def test_a_list_that_cannot_be_read_is_told(path: Path) -> None:
    path.mkdir()
    with pytest.raises(UserError, match=r"cannot read .*allowed\.toml: Is a directory"):
        read_ring(path)


def test_a_list_that_is_no_text_is_told(path: Path) -> None:
    write_ring(path, {})
    path.write_bytes(b"\xff")
    with pytest.raises(UserError, match=r"allowed\.toml is not valid TOML"):
        read_ring(path)


def test_a_file_without_end_is_not_read_to_its_end(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keyring, "MAX_FILE_BYTES", len(LIST))
    path.write_text(LIST, "utf-8")
    path.chmod(0o600)
    assert len(read_ring(path).entries) == 3
    path.write_text(LIST + "\n", "utf-8")
    with pytest.raises(UserError, match=rf"is above {len(LIST)} bytes"):
        read_ring(path)


def test_a_list_that_would_not_be_read_is_not_written(path: Path) -> None:
    """The old one stays: a command with a mistake in it must not shut everybody out."""
    entries = {"ann": Entry([KeyRole.OPERATOR], [K1])}
    write_ring(path, entries)
    with pytest.raises(UserError, match=r"keys\.bob: the key is that of ann too"):
        write_ring(path, {**entries, "bob": Entry([KeyRole.OBSERVER], [K1])})
    assert read_ring(path).entries == entries
    assert [each.name for each in path.parent.iterdir()] == [path.name]


# Written and read again -----------------------------------------------------------------------

NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,31}", fullmatch=True)
# Every byte that a producer's name may have: quotes, brackets and backslashes are among them.
PATTERNS = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=16)
OTHERS = st.sampled_from([role for role in KeyRole if role is not KeyRole.PEER])


@st.composite
def lists(draw: st.DrawFn) -> dict[str, Entry]:
    names = draw(st.lists(NAMES, unique=True, max_size=6))
    found = {}
    for number, name in enumerate(names):
        roles = draw(
            st.just([KeyRole.PEER]) | st.lists(OTHERS, min_size=1, max_size=4, unique=True)
        )
        public = [key(2 * number), key(2 * number + 1)][: draw(st.integers(1, 2))]
        produces = KeyRole.PRODUCER in roles
        patterns = draw(st.lists(PATTERNS, min_size=1, max_size=3)) if produces else []
        found[name] = Entry(roles, public, patterns)
    return found


def ordered(entries: dict[str, Entry]) -> dict[str, tuple[list[str], list[str], list[str]]]:
    """The order of roles and of producers says nothing; that of keys tells the newest."""
    return {
        name: (sorted(role.value for role in each.roles), each.public, sorted(each.producers))
        for name, each in entries.items()
    }


@settings(deadline=None, max_examples=60)
@given(lists())
def test_what_is_written_is_read_again(entries: dict[str, Entry]) -> None:
    text = render(entries)
    ring = parse_ring(text, WHERE)
    assert ordered(ring.entries) == ordered(entries)
    assert render(ring.entries) == text
    assert ring.digest == KeyRing(entries).digest


@pytest.mark.parametrize(
    "pattern",
    ['x"]', 'x"\nroles=', "x\\", "\\u0041", "'''", "#x", "x]\n[keys.eve]", "x\r", "\0", "a\tb"],
)
def test_a_pattern_cannot_write_an_entry_of_its_own(pattern: str) -> None:
    """`keys new --producer` takes it from whoever runs it, perhaps from a form on a web page."""
    entries = {"ann": Entry([KeyRole.PRODUCER], [K1], [pattern])}
    try:
        check_producer_pattern(pattern, "--producer")
    except UserError:
        with pytest.raises(UserError, match=r"keys\.ann\.producers: "):
            parse_ring(render(entries), WHERE)
    else:
        assert parse_ring(render(entries), WHERE).entries == entries
    # Whatever it is: it stays a string, in the entry that it was given for.
    assert tomllib.loads(render(entries))["keys"] == {
        "ann": {"roles": ["producer"], "public": [K1], "producers": [pattern]}
    }


@pytest.mark.parametrize("pattern", ["p", "*", "mm-*", "**", "a*b", "x" * 16, "x" * 16 + "*"])
def test_a_pattern_is_a_name_or_the_beginning_of_names(pattern: str) -> None:
    check_producer_pattern(pattern, "--producer")


@pytest.mark.parametrize("pattern", ["", "a b", "ä", "x" * 17, "x" * 17 + "*", "a\n*", " *"])
def test_what_is_no_pattern_is_refused(pattern: str) -> None:
    with pytest.raises(UserError, match="--producer: "):
        check_producer_pattern(pattern, "--producer")


# What two lists differ in ---------------------------------------------------------------------


def ring(**entries: Entry) -> KeyRing:
    return KeyRing(entries)


def test_a_digest_is_of_what_the_list_allows_and_not_of_how_it_is_written() -> None:
    """Two nodes' lists are compared by it: a comment is no difference, a role is one."""
    same = [
        LIST,
        "# by hand\n" + LIST,
        LIST.replace('["producer", "consumer"]', '["consumer", "producer"]'),
        LIST.replace('["feed-1", "mm-*"]', '["mm-*","feed-1"]'),
        LIST.replace('."ann"', ".ann"),
    ]
    other = [
        LIST.replace("operator", "approver"),
        LIST.replace('"producer", ', '"observer", "producer", '),
        LIST.replace("mm-*", "mm*"),
        LIST.replace("feed-1", "feed-2"),
        LIST.replace("ann", "bob"),
        LIST.replace(K4, key(9)),
        LIST.replace(f'"{K1}", "{K2}"', f'"{K2}", "{K1}"'),
        LIST.replace(f'"{K1}", "{K2}"', f'"{K1}"'),
    ]
    digests = [parse_ring(text, WHERE).digest for text in (*same, *other)]
    assert len(set(digests[: len(same)])) == 1
    assert len(set(digests)) == 1 + len(other)
    assert all(len(digest) == 16 for digest in digests)


def test_changes_tell_each_key_by_name_and_fingerprint() -> None:
    old = ring(
        ann=Entry([KeyRole.OPERATOR], [K1]),
        feed=Entry([KeyRole.PRODUCER], [K2], ["mm-*"]),
        gone=Entry([KeyRole.OBSERVER], [K3]),
    )
    new = ring(
        ann=Entry([KeyRole.OPERATOR, KeyRole.APPROVER], [K1]),
        feed=Entry([KeyRole.PRODUCER], [K2, K4], ["mm-1"]),
    )
    told = changes(old, new)
    assert told == [
        f"changed key ann ({fingerprint(K1)}): approver, operator, was operator",
        f"changed key feed ({fingerprint(K2)}): producer as mm-1, was producer as mm-*",
        f"removed key gone ({fingerprint(K3)})",
        f"allowed key feed ({fingerprint(K4)}): producer as mm-1",
    ]
    assert not any(public in text for text in told for public in (K1, K2, K3, K4))


def test_a_key_that_goes_to_another_name_is_a_change() -> None:
    """The log says ann; from here on the same key is bob's."""
    (told,) = changes(
        ring(ann=Entry([KeyRole.OPERATOR], [K1])), ring(bob=Entry([KeyRole.OPERATOR], [K1]))
    )
    assert told.startswith("changed key bob")


@settings(deadline=None, max_examples=30)
@given(lists(), lists())
def test_lists_without_changes_allow_the_same(one: dict[str, Entry], two: dict[str, Entry]) -> None:
    same = ordered(one) == ordered(two)
    before, after = parse_ring(render(one), WHERE), parse_ring(render(two), WHERE)
    assert changes(before, before) == []
    if same:
        assert changes(before, after) == []
    elif changes(before, after) == []:  # only the order of a name's two keys differs
        assert before.by_key == after.by_key


# Who may submit as whom -----------------------------------------------------------------------

FEED = frozenset({KeyRole.PRODUCER})


@pytest.mark.parametrize(
    ("patterns", "names", "others"),
    [
        (("mm",), ["mm"], ["mm-", "mm-1", "m", "MM", ""]),
        (("mm-*",), ["mm-", "mm-1", "mm-*"], ["mm", "m", "xmm-1", "MM-1", "-mm-"]),
        (("*",), ["mm", "x", "*"], []),
        (("a*b",), ["a*b"], ["ab", "axb", "a*"]),
        (("**",), ["*", "*x"], ["x", "x*"]),
        (("m.*",), ["m.", "m.1"], ["mm", "m"]),  # no regular expression
        (("[a]*",), ["[a]", "[a]1"], ["a", "a1"]),  # and no glob
        (("a", "b-*"), ["a", "b-1"], ["b", "a-1"]),
        ((), [], ["", "mm", "*"]),
    ],
)
def test_a_producer_may_use_its_names_and_no_others(
    patterns: tuple[str, ...], names: list[str], others: list[str]
) -> None:
    who = Principal("feed", K1, FEED, patterns)
    assert [name for name in names + others if who.may_produce(name)] == names


def test_names_without_the_role_are_worth_nothing() -> None:
    roles = frozenset(KeyRole) - FEED
    assert not Principal("ann", K1, roles, ("*",)).may_produce("mm")


def test_a_principal_is_told_without_its_key() -> None:
    who = Principal("ann", K1, FEED)
    assert str(who) == f"key ann ({fingerprint(K1)})"
    assert K1 not in str(who)


def test_where_no_keys_are_used_anybody_may_do_everything() -> None:
    assert ANYBODY.roles == frozenset(KeyRole)
    assert ANYBODY.may_produce("mm")
    assert not ANYBODY.name
