"""Reads a runbook: front matter, prose, and its steps in their order.

Decides what a step is: a fenced block whose info string is a verb. Any other fence (```console for
the commands on paper) is prose. Errors carry file and line.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, TypeVar

import msgspec
from markdown_it import MarkdownIt
from markdown_it.token import Token
from mdit_py_plugins.front_matter import front_matter_plugin

from ..shared.errors import UserError
from .verbs import VERBS, Mode, Verb

T = TypeVar("T")
PROSE_FENCES = frozenset({"console", "text", ""})


class RunbookError(UserError):
    """A runbook that cannot be read, by file and line."""


class Front(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The front matter. `alarms`: which ones it answers, by name. `abort_after`: seconds."""

    id: str
    title: str
    alarms: list[str]
    owner: str
    risk: Annotated[str, msgspec.Meta(pattern="^(none|pause|data-loss)$")]
    modes: Annotated[list[Mode], msgspec.Meta(min_length=1)]
    abort_after: Annotated[float, msgspec.Meta(gt=0, le=86_400)]


class Step(msgspec.Struct, frozen=True):
    """A verb, where it stands, and the heading above it."""

    line: int
    verb: str
    what: Verb
    heading: str


class Runbook(msgspec.Struct, frozen=True):
    """A runbook, read. `text` is the Markdown without its front matter."""

    path: Path
    sha256: str
    front: Front
    text: str
    steps: list[Step]
    headings: list[str]
    links: list[tuple[int, str]]

    @property
    def id(self) -> str:
        return self.front.id

    @property
    def makes_faults(self) -> bool:
        """Whether a drill breaks something: then the runbook is for an incident."""
        return any(step.verb == "fault" for step in self.steps)


def read(path: Path) -> Runbook:
    """Reads the file. Raises RunbookError."""
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RunbookError(f"cannot read the runbook {path}: {error}") from None
    return parse(text, path)


def parse(text: str, path: Path) -> Runbook:
    """Reads the text of a runbook. Raises RunbookError."""
    tokens = MarkdownIt("commonmark").use(front_matter_plugin).parse(text)
    if not tokens or tokens[0].type != "front_matter":
        raise RunbookError(f"{path}:1: a runbook begins with front matter between two lines of ---")
    front = _decode(tokens[0].content, Front, path, 2)
    steps: list[Step] = []
    headings: list[str] = []
    links: list[tuple[int, str]] = []
    for index, token in enumerate(tokens):
        line = token.map[0] + 1 if token.map else 0
        if token.type == "heading_open":
            headings.append(tokens[index + 1].content)
        elif token.type == "fence":
            step = _step(token, path, line, headings[-1] if headings else "")
            if step is not None:
                steps.append(step)
        elif token.type == "inline":
            links += [(line, href) for href in _hrefs(token)]
    end = tokens[0].map[1] if tokens[0].map else 0
    body = "\n".join(text.splitlines()[end:]).strip() + "\n"
    digest = hashlib.sha256(text.encode()).hexdigest()
    return Runbook(path, digest, front, body, steps, headings, links)


def _step(token: Token, path: Path, line: int, heading: str) -> Step | None:
    verb = token.info.strip()
    if verb in PROSE_FENCES:
        return None
    if verb not in VERBS:
        known = ", ".join(VERBS)
        raise RunbookError(
            f"{path}:{line}: unknown verb {verb!r}; the verbs are {known}, and commands to read "
            "stand in a block of `console`"
        )
    return Step(line, verb, _decode(token.content, VERBS[verb], path, line + 1), heading)


def _decode(content: str, kind: type[T], path: Path, line: int) -> T:
    try:
        return msgspec.yaml.decode(content, type=kind)
    except msgspec.ValidationError as error:
        what, _, where = str(error).partition(" - at ")
        key = where.strip("`").removeprefix("$.") or kind.__name__.lower()
        raise RunbookError(f"{path}:{_line_of(content, key, line)}: {key}: {what}") from None
    except msgspec.DecodeError as error:
        raise RunbookError(f"{path}:{line}: not YAML: {' '.join(str(error).split())}") from None


def _line_of(content: str, key: str, line: int) -> int:
    """The line of the block's field, as well as that can be told."""
    name = key.partition(".")[0].partition("[")[0]
    for index, text in enumerate(content.splitlines()):
        if text.startswith(f"{name}:"):
            return line + index
    return line


def _hrefs(token: Token) -> list[str]:
    return [
        str(child.attrs["href"])
        for child in token.children or []
        if child.type == "link_open" and "href" in child.attrs
    ]
