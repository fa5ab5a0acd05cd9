"""docs/console.md and the help against the console: every key and option that they name exists."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from typer.core import TyperGroup

from interlock.cli.main import app
from interlock.console.app import ConsoleApp
from interlock.console.draw.help import KEYS
from interlock.console.modals.base import Dialog
from interlock.console.modals.record import RecordDialog

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "console.md").read_text("utf-8")
NAMES = {
    "question_mark": "?",
    "slash": "/",
    "comma": ",",
    "full_stop": ".",
    "less_than_sign": "<",
    "greater_than_sign": ">",
    "left_square_bracket": "[",
    "right_square_bracket": "]",
}
BY_TEXTUAL = {"enter", "ctrl+p"}  # of lists and of the application
NOT_OF_THE_CONSOLE = {"--solo"}


def bound() -> Iterator[str]:
    for owner in (ConsoleApp, Dialog, RecordDialog, *ConsoleApp.MODES.values()):
        for binding in vars(owner).get("BINDINGS", []):
            yield NAMES.get(binding.key, binding.key)


def test_every_key_of_the_page_exists_and_every_key_is_on_it() -> None:
    rows = re.findall(r"^\| (`.*?`) \|[^|]*\|", PAGE.partition("## The keys")[2], re.MULTILINE)
    told = {key for row in rows for key in re.findall(r"`([^`]+)`", row)}
    told |= {str(number) for number in range(1, len(ConsoleApp.MODES) + 1)}
    assert told == set(bound()) | BY_TEXTUAL


def test_every_key_of_the_help_exists() -> None:
    told = {key for keys, _ in KEYS for key in keys.split()}
    assert told <= set(bound()) | BY_TEXTUAL


@pytest.mark.parametrize("command", ["console", "status", "demo"])
def test_every_option_in_a_line_of_the_page_exists(command: str) -> None:
    group = typer.main.get_command(app)
    assert isinstance(group, TyperGroup)
    known = {option for param in group.commands[command].params for option in param.opts}
    for line in re.findall(rf"^interlock {command} (.*)$", PAGE, re.MULTILINE):
        assert set(re.findall(r"--[a-z-]+", line)) <= known


def test_every_option_of_the_console_is_on_the_page_and_no_other() -> None:
    group = typer.main.get_command(app)
    assert isinstance(group, TyperGroup)
    options = {
        option
        for name in ("console", "status")
        for param in group.commands[name].params
        if not getattr(param, "hidden", False)
        for option in param.opts
        if option.startswith("--")
    }
    told = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", PAGE)) - NOT_OF_THE_CONSOLE
    assert told <= options
    missing = options - told - {"--config", "--timeout", "--help"}
    assert not missing
