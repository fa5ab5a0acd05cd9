"""The commands on paper exist: each `interlock ...` line of a runbook is one that it would take."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

import pytest
import typer.main

from interlock.cli.main import app
from interlock.runbooks import ids, load

FENCE = re.compile(r"^```console\n(.*?)^```", re.MULTILINE | re.DOTALL)


def commands(name: str) -> Iterator[str]:
    """The lines of the runbook's console blocks that call interlock."""
    for block in FENCE.findall(load(name).text):
        for line in block.splitlines():
            if line.startswith("interlock "):
                yield line


def parse(line: str) -> None:
    """Reads the line as the command would. Raises what a mistyped one raises."""
    words = [re.sub("^SEQ$", "1", word) for word in shlex.split(line, comments=True)[1:]]
    command = typer.main.get_command(app)
    name, parent = "interlock", None
    while True:
        context = command.make_context(name, words, parent=parent)
        if not hasattr(command, "resolve_command"):
            return
        words = [*context._protected_args, *context.args]
        found, command, words = command.resolve_command(context, words)
        name, parent = str(found), context


@pytest.mark.parametrize("name", ids())
def test_every_command_of_a_runbook_can_be_typed(name: str) -> None:
    lines = list(commands(name))
    assert lines, "a runbook can be followed on paper"
    for line in lines:
        parse(line)


@pytest.mark.parametrize(
    "line",
    ["interlock promot b", "interlock consume --from-seq 1", "interlock quarantine export a"],
)
def test_one_that_does_not_exist_would_be_found(line: str) -> None:
    with pytest.raises(Exception, match=r"(?i)no such|missing"):
        parse(line)
