"""The planted bugs of `mutants`, read from `planted.txt`, and how one is applied to a copy.

Decides the form of that file: a block per bug, `name | rule | source | seed`, then its changes: an
`@ file` with the lines that go (-) and come (+), each. What goes must be in the file just once.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

PLANTED = Path(__file__).with_name("planted.txt")


class Change(msgspec.Struct, frozen=True):
    """In `file`, the text `old` becomes `new`."""

    file: str
    old: str
    new: str


class Mutant(msgspec.Struct, frozen=True):
    """One bug: the rule that it breaks, where the idea is from, and a seed that once caught it (0:
    not known)."""

    name: str
    rule: str
    source: str
    seed: int
    changes: list[Change]


def load() -> list[Mutant]:
    """All of them, in the order of the file."""
    text = "".join(line for line in PLANTED.read_text().splitlines(True) if line[:1] != "#")
    return [_parse(block) for block in text.strip().split("\n\n")]


def _parse(block: str) -> Mutant:
    title, *lines = block.splitlines()
    name, rule, source, seed = (part.strip() for part in title.split("|"))
    changes: list[Change] = []
    file, old, new = "", [], []  # type: ignore[var-annotated]
    for line in [*lines, "@ "]:
        if line.startswith("@ "):
            if file:
                changes.append(Change(file, "\n".join(old), "\n".join(new)))
            file, old, new = line[2:], [], []
        else:
            (old if line[0] == "-" else new).append(line[1:])
    return Mutant(name, rule, source, int(seed), changes)


def apply(mutant: Mutant, package: Path) -> None:
    """Changes the copy of the product in `package`."""
    for change in mutant.changes:
        path = package / change.file
        text = path.read_text()
        if text.count(change.old) != 1:
            raise ValueError(f"{mutant.name}: not just once in {change.file}: {change.old}")
        path.write_text(text.replace(change.old, change.new))
