"""What is in the repository, and what importing it loads."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
NOT_PRODUCT = frozenset({".venv", "build", "tests"})


def loaded_by(statement: str) -> set[str]:
    """The modules that a fresh interpreter has after `statement`."""
    command = [sys.executable, "-P", "-c", f"{statement}; import sys; print(*sys.modules)"]
    return set(subprocess.run(command, capture_output=True, check=True, text=True).stdout.split())


def test_the_package_itself_loads_nothing() -> None:
    assert {name for name in loaded_by("import interlock") if "interlock." in name} == set()


def test_the_command_starts_without_what_only_some_commands_need() -> None:
    heavy = {"asyncio", "interlock.client", "pyarrow", "rich.console", "textual", "zmq"}
    assert loaded_by("import interlock.cli.main") & heavy == set()


def test_the_public_api_is_that_of_the_client() -> None:
    import interlock
    from interlock import client

    assert set(interlock.__all__) - {"__version__"} == set(client.__all__)
    assert set(interlock.__all__) <= set(dir(interlock))
    for name in client.__all__:
        assert getattr(interlock, name) is getattr(client, name)
    with pytest.raises(AttributeError, match="no attribute 'Producers'"):
        interlock.Producers  # noqa: B018


# What is in the repository --------------------------------------------------------------------


def repository_files() -> list[Path]:
    """Every file that is, or would be, in the repository."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True, text=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout")
    return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


# Spelt so that this file does not find itself.
UNFINISHED = re.compile("|".join(("TO" + "DO", "FIX" + "ME", "X" * 3 + r"\b")))
MACHINE_PATH = re.compile(r"(?<![\w.}/-])/(home|root|Users|work)/")


def test_nothing_is_left_unfinished_or_bound_to_one_machine() -> None:
    faults = []
    for path in repository_files():
        try:
            lines = path.read_text("utf-8").splitlines()
        except UnicodeDecodeError:
            continue  # golden bytes
        for number, line in enumerate(lines, 1):
            if UNFINISHED.search(line) or MACHINE_PATH.search(line):
                faults.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()}")
    assert faults == []


@pytest.mark.parametrize(
    "line",
    ["see /ho" + "me/someone/x", 'open("/wo' + 'rk/main")', "cd /ro" + "ot/", "/Us" + "ers/x"],
)
def test_a_machine_path_is_found(line: str) -> None:
    assert MACHINE_PATH.search(line)


@pytest.mark.parametrize(
    "line", ["docs/wo" + "rk/x", "${X}/ho" + "me/", "the /root", "a/ro" + "ot/b"]
)
def test_another_path_is_none(line: str) -> None:
    assert not MACHINE_PATH.search(line)


def product_modules() -> Iterator[tuple[str, ModuleType]]:
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if file and (path := Path(file).resolve()).is_relative_to(ROOT):
            first = path.relative_to(ROOT).parts[0]
            if first not in NOT_PRODUCT:
                yield name, module


def test_nothing_of_the_product_is_imported_under_a_second_name() -> None:
    """Two copies have two of each exception type; `except` catches one (see conftest)."""
    import interlock

    names = [name for name, _ in product_modules()]
    assert "interlock" in names
    assert [name for name in names if name.partition(".")[0] != interlock.__name__] == []
