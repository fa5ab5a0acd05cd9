"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

ConfigPath = Annotated[
    Path, typer.Option("--config", "-c", help="The pair's interlock.toml, or its directory.")
]
DEFAULT_CONFIG = Path("interlock.toml")
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
