"""The wheel: all of the product, and nothing else.

The repository root is the package, so one wrong line in pyproject.toml would put a top-level
`shared` or `console` into the site-packages of whoever installs Interlock.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import zipfile
from configparser import ConfigParser
from email.parser import Parser
from pathlib import Path

import pytest

from interlock import __version__

ROOT = Path(__file__).resolve().parents[2]
NOT_PRODUCT = ("tests", "docs", "build", "dist")
LEFT_OUT = shutil.ignore_patterns(*(".*", "__pycache__", "*.egg-info", "build", "dist"))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, as setuptools leaves `build` and `*.egg-info` where it builds."""
    folder = tmp_path_factory.mktemp("wheel")
    shutil.copytree(ROOT, folder / "a clone", ignore=LEFT_OUT)
    command = [sys.executable, "-P", "-m", "pip", "wheel", str(folder / "a clone"), "--no-deps"]
    # setuptools is one of our test tools: without isolation no registry is asked.
    command += ["--no-build-isolation", "--disable-pip-version-check", "--wheel-dir", str(folder)]
    built = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert built.returncode == 0, built.stdout + built.stderr
    (found,) = folder.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def read(wheel: Path, suffix: str) -> str:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(suffix))
        return archive.read(name).decode("utf-8")


def test_nothing_is_put_beside_the_package(names: set[str]) -> None:
    info = f"interlock-{__version__}.dist-info"
    assert {name.partition("/")[0] for name in names} == {"interlock", info}


def test_every_module_is_in_it_and_no_test(names: set[str]) -> None:
    """A new folder that is missing from the list in pyproject.toml works here and nowhere else."""
    source = {
        f"interlock/{path.relative_to(ROOT).as_posix()}"
        for path in ROOT.rglob("*.py")
        if not path.relative_to(ROOT).parts[0].startswith((".", *NOT_PRODUCT))
    }
    assert {name for name in names if name.endswith(".py")} == source


def test_what_is_no_code_is_wanted(names: set[str]) -> None:
    others = {name for name in names if not name.endswith(".py") and ".dist-info/" not in name}
    runbooks = {f"interlock/runbooks/{path.name}" for path in (ROOT / "runbooks").glob("*.md")}
    assert others == {"interlock/py.typed", *runbooks}


def test_the_command_is_installed(wheel: Path) -> None:
    scripts = ConfigParser()
    scripts.read_string(read(wheel, ".dist-info/entry_points.txt"))
    assert dict(scripts["console_scripts"]) == {"interlock": "interlock.cli.main:main"}


def test_the_metadata_says_what_it_is(wheel: Path, names: set[str]) -> None:
    metadata = Parser().parsestr(read(wheel, ".dist-info/METADATA"))
    assert (metadata["Name"], metadata["Version"]) == ("interlock", __version__)
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Requires-Python"] == ">=3.11"
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)


def test_what_is_optional_is_not_required(wheel: Path) -> None:
    metadata = Parser().parsestr(read(wheel, ".dist-info/METADATA"))
    required = {
        re.split("[<>=! ]", requirement)[0]
        for requirement in metadata.get_all("Requires-Dist", [])
        if "extra ==" not in requirement
    }
    runbooks = {"markdown-it-py", "mdit-py-plugins", "pyyaml"}
    data_path = {"hdrhistogram", "msgspec", "pyzmq", "xxhash"}
    assert required == {*data_path, *runbooks, "rich", "textual", "typer"}
