"""Where the runbooks are, and which."""

from __future__ import annotations

from pathlib import Path

from ..shared.errors import UserError
from .parse import Runbook, read


def folder() -> Path:
    """The folder of the runbooks that come with Interlock."""
    return Path(__file__).parent


def ids() -> list[str]:
    """The ids of all of them."""
    return sorted(path.stem for path in folder().glob("*.md") if path.stem != "README")


def load(name: str) -> Runbook:
    """The runbook of this id, or in this file. Raises UserError."""
    path = Path(name) if name.endswith(".md") else folder() / f"{name}.md"
    if not path.is_file():
        raise UserError(f"there is no runbook {name!r}; there are: {', '.join(ids())}")
    return read(path)
