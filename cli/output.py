"""What the commands print: results on stdout, for people or as JSON; complaints on stderr."""

from __future__ import annotations

import sys

import msgspec


def print_json(value: object) -> None:
    """One JSON object on stdout, indented: what `--json` of a command that answers once prints."""
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(value)).decode() + "\n")


def complain(text: str) -> None:
    """One sentence on stderr, with the name of the program before it."""
    sys.stdout.flush()  # keeps the order of both where they end up in one place
    sys.stderr.write(f"interlock: {text}\n")
