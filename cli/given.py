"""What an operator gives with an operation: as options, or typed on a terminal when asked.

Decides what is asked for and when a typed text counts. The node checks all of it once more.

There is no option that answers every question: a confirmation that a script can give without
knowing the node, or an attestation that nobody has read, would confirm and attest nothing.
"""

from __future__ import annotations

import getpass
import os
import re
import shlex
import sys
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from ..shared.errors import UserError
from ..shared.operations import Preflight
from .output import complain

if TYPE_CHECKING:
    from ..shared.config import Config

MAX_OPERATOR_CHARS = 64
MAX_REASON_CHARS = 500
TRIES = 3

_UNITS_MS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_DURATION = re.compile(r"(?:\d+(?:ms|s|m|h|d))+")
MAX_DURATION_MS = 7 * 86_400_000

WhyGiven = Annotated[
    str, typer.Option("--reason", help="Why; it goes into the log. Asked for on a terminal.")
]
OperatorGiven = Annotated[
    str,
    typer.Option(
        "--operator",
        help="Who, where no keys are used; default: $INTERLOCK_OPERATOR, else the login name.",
    ),
]
ConfirmGiven = Annotated[
    str,
    typer.Option(
        "--confirm", metavar="NODE", help="Confirms by naming the node. Asked for on a terminal."
    ),
]
AttestGiven = Annotated[
    str,
    typer.Option(
        "--attest",
        metavar="SENTENCE",
        help="The sentence that the preflight asks you to attest. Asked for on a terminal.",
    ),
]
TimeoutGiven = Annotated[
    float, typer.Option("--timeout", min=0.1, help="Seconds to wait for the operation's end.")
]


class Given(msgspec.Struct):
    """The common options of an operation; empty: not given. `interactive`: there is a person at a
    terminal who can be asked."""

    reason: str = ""
    operator: str = ""
    confirm: str = ""
    attest: str = ""
    timeout: float = 30.0
    as_json: bool = False

    @property
    def interactive(self) -> bool:
        return not self.as_json and is_terminal()


def is_terminal() -> bool:
    """Whether a person can be asked."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def operator_name(given: str, config: Config | None = None) -> str:
    """Who acts on the pair of `config`: the owner of the key where keys are used, and a name that
    was given besides is told to count for nothing. Raises UserError if that cannot be told or is
    too long."""
    name = given or os.environ.get("INTERLOCK_OPERATOR", "")
    if config is not None and (key := _key_name(config)):
        if name not in ("", key):
            complain(
                f"the log will say {key}, whose key this is, and not {name}; to act with another "
                "key: interlock --key NAME ..."
            )
        return key
    if not name:
        try:
            name = getpass.getuser()
        except (OSError, KeyError):
            raise UserError(
                "this login has no name; say who acts: --operator NAME, or set INTERLOCK_OPERATOR"
            ) from None
    if len(name) > MAX_OPERATOR_CHARS or not name.isprintable():
        raise UserError(
            f"the operator's name is {name[:80]!r}; expected 1 to {MAX_OPERATOR_CHARS} printable "
            "characters: --operator NAME"
        )
    return name


def _key_name(config: Config) -> str:
    """The name of the operator's key; empty: no keys are used."""
    from ..shared.credentials import credentials  # late: the help of the commands needs no sockets

    return credentials(config, operator=True).name


def parse_duration_ms(text: str) -> int:
    """Milliseconds of a duration like 90s, 10m, 2h or 1h30m; empty: 0. Raises UserError."""
    if not text:
        return 0
    if not _DURATION.fullmatch(text):
        raise UserError(f"{text!r} is no duration; expected for instance 90s, 10m, 2h or 1h30m")
    parts = re.findall(r"(\d+)(ms|s|m|h|d)", text)
    total = sum(int(number) * _UNITS_MS[unit] for number, unit in parts)
    if not 0 < total <= MAX_DURATION_MS:
        raise UserError(f"a duration of {text}; expected more than none and at most 7 days")
    return total


def missing_flags(preflight: Preflight, given: Given) -> list[str]:
    """The options that are needed and were not given, as they have to be typed."""
    flags = []
    if not given.reason:
        flags.append("--reason TEXT")
    if not given.confirm:
        flags.append(f"--confirm {shlex.quote(preflight.confirm)}")
    if preflight.attestation and not given.attest:
        flags.append(f"--attest {shlex.quote(preflight.attestation)}")
    return flags


def complete(preflight: Preflight, given: Given) -> Given:
    """`given` with all that `preflight` needs; what is missing is asked for on a terminal.

    Raises UserError, naming the flags, if something is missing and nobody can be asked, or if what
    was given is not what is needed.
    """
    missing = missing_flags(preflight, given)
    if missing and not given.interactive:
        raise UserError(
            "nobody can be asked here (no terminal), so give what is missing, if it is true: "
            + " ".join(missing)
        )
    reason = given.reason or _ask("reason (it goes into the log)")
    if len(reason) > MAX_REASON_CHARS:
        raise UserError(
            f"the reason has {len(reason)} characters; {MAX_REASON_CHARS} are allowed: --reason"
        )
    attest = given.attest
    if preflight.attestation:
        attest = attest or _ask_attestation(preflight.attestation)
        if not same_words(attest, preflight.attestation):
            raise UserError(
                f"--attest is {attest!r}; what has to be attested, if it is true, is: --attest "
                + shlex.quote(preflight.attestation)
            )
    elif attest:
        raise UserError("--attest was given, and this preflight asks for no attestation: leave it")
    confirm = given.confirm or _ask(f"type the node's name to confirm ({preflight.confirm})")
    if confirm != preflight.confirm:
        raise UserError(
            f"the confirmation is {confirm!r}; it has to be the node that acts: "
            f"--confirm {shlex.quote(preflight.confirm)}; nothing was done"
        )
    return msgspec.structs.replace(given, reason=reason, attest=attest, confirm=confirm)


def same_words(one: str, two: str) -> bool:
    """Whether two sentences say the same: case and spacing do not count."""
    return one.casefold().split() == two.casefold().split()


def _ask_attestation(sentence: str) -> str:
    typer.echo(
        "The other node cannot be asked, so you vouch for it. If it is true, and only then, type "
        f"this sentence:\n\n    {sentence}\n",
        err=True,
    )
    for _ in range(TRIES - 1):
        typed = _ask("attest")
        if same_words(typed, sentence):
            return typed
        typer.echo("that is another sentence; type it as it stands above", err=True)
    return _ask("attest")


def _ask(what: str) -> str:
    answer: str = typer.prompt(what, err=True)
    return answer.strip()
