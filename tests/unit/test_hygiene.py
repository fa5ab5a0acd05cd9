"""What opens a door stays out: code that runs data, a shell, dependencies that nobody named.

Read from the source, pyproject.toml and constraints.txt, never from a registry; whether a locked
version has a known hole is what `make audit` asks.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
PROJECT = PYPROJECT["project"]
EXTRAS = PROJECT["optional-dependencies"]


def product_files() -> list[str]:
    folders = [
        ROOT.joinpath(*package.split(".")[1:])
        for package in PYPROJECT["tool"]["setuptools"]["packages"]
    ]
    paths = (path for folder in folders for path in folder.glob("*.py"))
    return sorted(path.relative_to(ROOT).as_posix() for path in paths)


FILES = product_files()


def parse(file: str) -> ast.Module:
    return ast.parse((ROOT / file).read_text("utf-8"), file)


# What runs data -------------------------------------------------------------------------------

FORBIDDEN_MODULES = frozenset(
    {"cloudpickle", "code", "dbm", "dill", "jsonpickle", "marshal", "pickle", "shelve"}
)
FORBIDDEN_NAMES = frozenset(
    {
        "asyncio.create_subprocess_shell",
        "builtins.eval",
        "builtins.exec",
        "os.popen",
        "os.system",
        "subprocess.getoutput",
        "subprocess.getstatusoutput",
        *(
            f"yaml.{name}"
            for name in (
                *("load", "load_all", "full_load", "full_load_all", "unsafe_load"),
                *("unsafe_load_all", "Loader", "FullLoader", "UnsafeLoader"),
            )
        ),
    }
)


def imported(tree: ast.AST) -> Iterator[tuple[ast.stmt, str, str]]:
    """Statement, the name that it gives here, and the dotted name of what is imported; nothing of
    the product's own, which is imported relatively."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                first = alias.name.partition(".")[0]
                yield node, alias.asname or first, alias.name if alias.asname else first
                yield node, "", alias.name
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            for alias in node.names:
                yield node, alias.asname or alias.name, f"{node.module}.{alias.name}"


def dotted(node: ast.AST, names: dict[str, str]) -> str:
    """What `a.b.c` is in full, or nothing if it does not start with an import or a builtin."""
    match node:
        case ast.Name(id="eval" | "exec" as name):
            return names.get(name, f"builtins.{name}")
        case ast.Name(id=name):
            return names.get(name, "")
        case ast.Attribute(value=value, attr=attr):
            base = dotted(value, names)
            return f"{base}.{attr}" if base else ""
    return ""


def doors(tree: ast.AST) -> list[str]:
    """Each place that runs data as code, unpickles, or asks a shell."""
    found = {
        f"line {node.lineno} imports {name}"
        for node, _, name in imported(tree)
        if name.partition(".")[0] in FORBIDDEN_MODULES or name in FORBIDDEN_NAMES
    }
    names = {here: name for _, here, name in imported(tree) if here}
    for node in ast.walk(tree):
        name = dotted(node, names)
        if name in FORBIDDEN_NAMES:
            found.add(f"line {getattr(node, 'lineno', 0)} uses {name}")
        match node:
            case ast.keyword(arg="shell", value=value):
                if not (isinstance(value, ast.Constant) and value.value is False):
                    found.add(f"line {value.lineno} asks a shell")
    return sorted(found)


@pytest.mark.parametrize("file", FILES)
def test_no_data_is_run(file: str) -> None:
    assert doors(parse(file)) == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "import marshal as m",
        "from shelve import open",
        "def f():\n    from pickle import loads",
        "eval('1')",
        "run = exec",
        "import builtins\nbuiltins.eval('1')",
        "import os\nos.system('ls')",
        "import os as o\no.popen('ls')",
        "from os import system",
        "import subprocess\nsubprocess.run('ls', shell=True)",
        "from subprocess import run\nrun('ls', shell=flag)",
        "import subprocess as s\ns.getoutput('ls')",
        "import asyncio\nasyncio.create_subprocess_shell('ls')",
        "import yaml\nyaml.load(text)",
        "from yaml import unsafe_load",
        "import yaml as y\ny.load(text, Loader=SafeLoader)",
    ],
)
def test_a_door_is_found(source: str) -> None:
    assert len(doors(ast.parse(source))) == 1


@pytest.mark.parametrize(
    "source",
    [
        "import yaml\nyaml.safe_load(text)",
        "import json\njson.load(file)",
        "import subprocess\nsubprocess.run(['ls'], shell=False)",
        "import os\nos.execv(path, words)",
        "self.exec(words)",
        "from ..shared import code",
    ],
)
def test_what_is_no_door_passes(source: str) -> None:
    assert doors(ast.parse(source)) == []


# Asserts, which `-O` takes away ---------------------------------------------------------------


def narrows(test: ast.expr) -> bool:
    """Whether an assert of it does no more than tell mypy a type."""
    match test:
        case ast.BoolOp(op=ast.And(), values=values):
            return all(map(narrows, values))
        case ast.Call(func=ast.Name(id="isinstance" | "callable")):
            return True
        case ast.Compare(ops=[ast.IsNot()], comparators=[ast.Constant(value=None)]):
            return True
    return False


def guarding_asserts(tree: ast.AST) -> list[int]:
    return [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.Assert) and not narrows(node.test)
    ]


@pytest.mark.parametrize("file", FILES)
def test_no_assert_guards_anything(file: str) -> None:
    """It would be gone under `python -O`; what must hold raises an error."""
    assert guarding_asserts(parse(file)) == []


@pytest.mark.parametrize(
    "source", ["assert x", "assert x > 1", "assert x is y", "assert x is not None or y"]
)
def test_a_guarding_assert_is_found(source: str) -> None:
    assert guarding_asserts(ast.parse(source)) == [1]


# Dependencies ---------------------------------------------------------------------------------

# Packages that are imported by another name than they are installed by.
INSTALLED_AS = {
    "hdrh": "hdrhistogram",
    "markdown_it": "markdown-it-py",
    "msgspec.yaml": "pyyaml",  # msgspec imports it for us
    "zmq": "pyzmq",
}
OPTIONAL = ("parquet", "web")  # the extras that the product itself uses


def names_of(listed: list[str]) -> set[str]:
    return {canonicalize_name(Requirement(text).name) for text in listed}


def packages_used(tree: ast.AST) -> set[str]:
    """The packages, by the names that they are installed by, that a module needs."""
    names = {here: name for _, here, name in imported(tree) if here}
    paths = {name for _, _, name in imported(tree)} | {dotted(n, names) for n in ast.walk(tree)}
    used = {package for name, package in INSTALLED_AS.items() if name in paths}
    for path in paths - {""}:
        first = path.partition(".")[0]
        if first not in sys.stdlib_module_names:
            used.add(canonicalize_name(INSTALLED_AS.get(first, first)))
    return used


def test_what_is_imported_is_declared_and_nothing_else_is() -> None:
    used = set().union(*(packages_used(parse(file)) for file in FILES))
    declared = names_of([*PROJECT["dependencies"], *(e for name in OPTIONAL for e in EXTRAS[name])])
    assert used == declared


def test_what_is_optional_is_imported_where_it_is_used() -> None:
    """At the top of a module it would be needed by everybody."""
    optional = names_of([entry for name in OPTIONAL for entry in EXTRAS[name]])
    faults = []
    for file in FILES:
        top = [n for n in parse(file).body if isinstance(n, ast.Import | ast.ImportFrom)]
        if packages_used(ast.Module(list(top), [])) & optional:
            faults.append(file)
    assert faults == []


@pytest.mark.parametrize(
    ("source", "used"),
    [
        ("import zmq.asyncio", {"pyzmq"}),
        ("from hdrh.histogram import HdrHistogram", {"hdrhistogram"}),
        ("import msgspec\nmsgspec.yaml.decode(x)", {"msgspec", "pyyaml"}),
        ("def f():\n    from textual_serve.server import Server", {"textual-serve"}),
        ("import os.path\nfrom ..shared.wire import Record", set()),
    ],
)
def test_a_package_is_found(source: str, used: set[str]) -> None:
    assert packages_used(ast.parse(source)) == used


def declared() -> list[Requirement]:
    listed = [*PYPROJECT["build-system"]["requires"], *PROJECT["dependencies"]]
    listed += [entry for extra in EXTRAS.values() for entry in extra]
    found = [Requirement(text) for text in listed]
    return [requirement for requirement in found if requirement.name != PROJECT["name"]]


def is_bounded(requirement: Requirement) -> bool:
    operators = {specifier.operator for specifier in requirement.specifier}
    below, above = operators & {">=", ">"}, operators & {"<", "<="}
    return bool(operators & {"==", "~="} or (below and above))


def test_every_range_has_two_ends() -> None:
    assert [str(requirement) for requirement in declared() if not is_bounded(requirement)] == []


@pytest.mark.parametrize("text", ["x", "x>=1", "x<2", "x!=1", "x>=1,!=2"])
def test_an_open_range_is_found(text: str) -> None:
    assert not is_bounded(Requirement(text))


# The lock -------------------------------------------------------------------------------------


def locked(text: str) -> dict[str, str]:
    """Version by name. Each line is a comment, or one package at one version."""
    found = {}
    for line in text.splitlines():
        if not line.startswith("#"):
            match = re.fullmatch(r"([\w.-]+)==([\w.+!]+)", line)
            assert match, f"{line!r} is no package at one version"
            found[canonicalize_name(match[1])] = match[2]
    return found


LOCK = locked((ROOT / "constraints.txt").read_text("utf-8"))


def lock_faults(requirements: list[Requirement], lock: dict[str, str]) -> list[str]:
    return [
        f"{requirement} is locked at {lock.get(canonicalize_name(requirement.name))}"
        for requirement in requirements
        if (version := lock.get(canonicalize_name(requirement.name))) is None
        or not requirement.specifier.contains(version, prereleases=True)
    ]


def test_the_lock_fits_the_ranges() -> None:
    """If it does not: `make lock`."""
    assert lock_faults(declared(), LOCK) == []


def test_a_lock_that_does_not_fit_is_found() -> None:
    wanted = [Requirement("x-y>=1,<2"), Requirement("z>=1,<2")]
    assert lock_faults(wanted, {"x-y": "1.5", "z": "1.0"}) == []
    assert len(lock_faults(wanted, {"x-y": "2.0"})) == 2


def test_the_lock_names_what_they_need_in_turn() -> None:
    """A package that it does not name would come in any version, as its author pleases."""
    missing, seen, todo = [], set(), declared()
    while todo:
        requirement = todo.pop()
        name = canonicalize_name(requirement.name)
        key = (name, *sorted(requirement.extras))
        if key in seen:
            continue
        seen.add(key)
        if name not in LOCK:
            missing.append(name)
        try:
            needs = [Requirement(text) for text in requires(name) or ()]
        except PackageNotFoundError:
            continue  # an extra that is not installed here
        for need in needs:
            extras = requirement.extras or {""}
            if need.marker is None or any(need.marker.evaluate({"extra": e}) for e in extras):
                todo.append(need)
    assert missing == []


# Where packages come from ---------------------------------------------------------------------

# Spelt so that this file does not find itself.
INDEX = re.compile(
    "|".join(("py" + r"pi\.", "python" + "hosted", "index" + "-url", "find" + "-links"))
)


def test_no_file_says_where_packages_come_from() -> None:
    """That is the business of the machine that installs, and a place to slip another one in."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True, text=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout")
    paths = [ROOT / name for name in listed.stdout.split("\0") if name]
    faults = [
        path.relative_to(ROOT).as_posix()
        for path in paths
        if path.is_file() and INDEX.search(path.read_text("utf-8", errors="replace").lower())
    ]
    assert faults == []


@pytest.mark.parametrize("line", ["https://py" + "pi.org/simple", "--extra-index" + "-url x"])
def test_an_index_is_found(line: str) -> None:
    assert INDEX.search(line)
