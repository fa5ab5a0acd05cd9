"""The rules that keep the structure: who imports whom, what a core must not touch, where
`released_seq` moves, and how long a file gets. Read from the source, never by running it.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# Each folder of the product, and the ones that it may import besides itself.
MAY_IMPORT: dict[str, frozenset[str]] = {
    "shared": frozenset(),
    "primary": frozenset({"shared"}),
    "secondary": frozenset({"shared"}),
    "client": frozenset({"shared"}),
    "apps": frozenset({"client"}),
    "console": frozenset({"shared", "client", "runbooks"}),
    "runbooks": frozenset({"shared", "client"}),
    "bench": frozenset({"shared", "primary", "secondary", "client"}),
    "cli": frozenset(
        {"shared", "primary", "secondary", "client", "console", "runbooks", "bench", "apps", ""}
    ),
}
MAY_IMPORT_TOO: dict[str, frozenset[str]] = {
    "__init__.py": frozenset({"client"}),
    "__main__.py": frozenset({"cli"}),
}

# Cores: no sockets, files, clocks, sleeps, threads or randomness of their own.
SHELLS = frozenset({"primary/shell.py", "secondary/shell.py"})
PURE_SHARED = frozenset(
    f"shared/{name}.py"
    for name in (
        "boot",
        "commands",
        "desk",
        "effects",
        "epochs",
        "errors",
        "events",
        "failed",
        "handed",
        "keyaudit",
        "limits",
        "log",
        "messages",
        "misconduct",
        "operations",
        "peertalk",
        "policy",
        "post",
        "producers",
        "rejoin",
        "roles",
        "story",
        "telemetry",
        "wire",
        "wording",
    )
)
# Where a node stores into `released_seq`: the gate alone moves it. The others are its start, and
# copies: what a secondary was told, and what one core hands to the next (lower after a cut).
RELEASED_SEQ_STORES = [
    ("primary/gate.py", "__init__"),
    ("primary/gate.py", "advance"),
    ("secondary/core.py", "__init__"),
    ("secondary/stream.py", "_note_released"),
    ("cli/noderun.py", "serve"),
]
IMPURE_MODULES = frozenset(
    {
        "asyncio",
        "concurrent",
        "datetime",
        "fcntl",
        "io",
        "mmap",
        "multiprocessing",
        "os",
        "pathlib",
        "queue",
        "random",
        "secrets",
        "select",
        "selectors",
        "shutil",
        "signal",
        "socket",
        "ssl",
        "subprocess",
        "tempfile",
        "threading",
        "time",
        "uuid",
        "zmq",
    }
)
# Product modules that a core may name no more than the system's own. Types of `state` and of
# `keyring` it may.
IMPURE_SHARED = (
    "answering",
    "clock",
    "credentials",
    "descriptors",
    "door",
    "doorkeeper",
    "idling",
    "journal",
    "keys",
    "nodeio",
    "panel",
    "peerline",
    "replay",
    "sockets",
    "waiter",
)
IMPURE_NAMES = frozenset({"DataDir", "load_config", "read_ring", "write_ring"})
IMPURE_CALLS = frozenset({"open", "input", "print", "exec", "eval", "__import__"})

MAX_LINES = 400
LONGER_FILES: frozenset[str] = frozenset()


def product_files() -> list[str]:
    """Every Python file of the product, as a path from the root."""
    folders = [ROOT / name for name in MAY_IMPORT]
    paths = [*ROOT.glob("*.py"), *(path for folder in folders for path in folder.rglob("*.py"))]
    return sorted(path.relative_to(ROOT).as_posix() for path in paths)


FILES = product_files()


def is_core(file: str) -> bool:
    folder, _, name = file.rpartition("/")
    return (
        (folder in ("primary", "secondary") and file not in SHELLS)
        or file in PURE_SHARED
        or (folder == "client" and "core" in name)
        or (folder in MAY_IMPORT and name == "core.py")
        or file == "console/model.py"
    )


def parse(file: str) -> ast.Module:
    return ast.parse((ROOT / file).read_text("utf-8"), file)


def imports(file: str, tree: ast.Module) -> Iterator[tuple[int, tuple[str, ...]]]:
    """Line and dotted path of each thing imported; one of the product starts with interlock."""
    here = ("interlock", *Path(file).parts[:-1])
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, tuple(alias.name.split("."))
        elif isinstance(node, ast.ImportFrom):
            base = here[: len(here) - node.level + 1] if node.level else ()
            module = tuple(node.module.split(".")) if node.module else ()
            for alias in node.names:
                yield node.lineno, (*base, *module, alias.name)


def layering_faults(file: str, tree: ast.Module) -> list[str]:
    own = file.partition("/")[0] if "/" in file else ""
    allowed = {own} | MAY_IMPORT.get(own, frozenset()) | MAY_IMPORT_TOO.get(file, frozenset())
    faults = []
    for line, path in imports(file, tree):
        if path[0] != "interlock":
            continue
        folder = path[1] if len(path) > 1 and path[1] in MAY_IMPORT else ""
        if folder not in allowed:
            faults.append(f"{file}:{line} imports {folder or 'the package root'}")
    return faults


def absolute_import_faults(file: str, tree: ast.Module) -> list[str]:
    """`import interlock.x` breaks in a renamed package; `import shared` loads a second copy."""
    own_names = {"interlock", *MAY_IMPORT}
    faults = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names = [node.module or ""]
        else:
            continue
        faults += [
            f"{file}:{node.lineno} imports {name} absolutely"
            for name in names
            if name.partition(".")[0] in own_names
        ]
    return faults


def purity_faults(file: str, tree: ast.Module) -> list[str]:
    faults = []
    for line, path in imports(file, tree):
        impure_shared = path[:2] == ("interlock", "shared") and path[2] in IMPURE_SHARED
        if path[0] in IMPURE_MODULES or impure_shared or path[-1] in IMPURE_NAMES:
            faults.append(f"{file}:{line} imports {'.'.join(path)}")
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Name(id=name)) if name in IMPURE_CALLS:
                faults.append(f"{file}:{node.lineno} calls {name}()")
            case ast.Await() | ast.AsyncFunctionDef() | ast.AsyncFor() | ast.AsyncWith():
                faults.append(f"{file}:{node.lineno} waits")
            case ast.Global():
                faults.append(f"{file}:{node.lineno} changes a global")
    return faults


def released_seq_stores(tree: ast.Module) -> list[tuple[str, int]]:
    """Function and line of each place that stores into an attribute `released_seq`."""
    found: list[tuple[str, int]] = []

    def visit(node: ast.AST, function: str) -> None:
        if isinstance(node, ast.FunctionDef):
            function = node.name
        if (
            isinstance(node, ast.Attribute)
            and node.attr == "released_seq"
            and isinstance(node.ctx, ast.Store | ast.Del)
        ):
            found.append((function, node.lineno))
        for child in ast.iter_child_nodes(node):
            visit(child, function)

    visit(tree, "")
    return found


@pytest.mark.parametrize("file", FILES)
def test_imports_follow_the_layers(file: str) -> None:
    assert layering_faults(file, parse(file)) == []


@pytest.mark.parametrize("file", FILES)
def test_imports_inside_the_product_are_relative(file: str) -> None:
    assert absolute_import_faults(file, parse(file)) == []


@pytest.mark.parametrize("file", [file for file in FILES if is_core(file)])
def test_cores_are_pure(file: str) -> None:
    assert purity_faults(file, parse(file)) == []


def test_released_seq_moves_in_one_place() -> None:
    """A second place is a second gate, and the promises hold only at one. Its start is no move; a
    secondary keeps a copy of what it was told, and hands it on when it changes its role."""
    stores = [
        (file, function)
        for file in FILES
        if file.startswith(("primary/", "secondary/", "shared/", "cli/"))
        for function, _ in released_seq_stores(parse(file))
    ]
    assert sorted(stores) == sorted(RELEASED_SEQ_STORES)


@pytest.mark.parametrize("file", FILES)
def test_a_file_holds_one_idea(file: str) -> None:
    lines = len((ROOT / file).read_text("utf-8").splitlines())
    assert lines <= MAX_LINES or file in LONGER_FILES


def test_exceptions_are_still_needed() -> None:
    named = LONGER_FILES | SHELLS | PURE_SHARED | set(MAY_IMPORT_TOO)
    assert named - set(FILES) == set()


# The checks themselves find what they look for ------------------------------------------------


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("shared/x.py", "from ..primary.gate import Gate"),
        ("shared/journal/x.py", "from ...client import Producer"),
        ("primary/x.py", "from .. import secondary"),
        ("primary/x.py", "def f():\n    from ..cli import main"),
        ("primary/x.py", "if TYPE_CHECKING:\n    from ..client.errors import ClientError"),
        ("secondary/core.py", "from ..primary.core import Core"),
        ("secondary/promotion.py", "from ..primary.core import Core"),
        ("client/x.py", "from ..primary import core"),
        ("client/x.py", "from .. import Producer"),
        ("apps/risk/x.py", "from ...shared.wire import Record"),
        ("console/x.py", "from ..primary import core"),
        ("bench/x.py", "from ..cli import main"),
        ("__init__.py", "from .primary import core"),
    ],
)
def test_a_wrong_import_is_found(file: str, source: str) -> None:
    assert len(layering_faults(file, ast.parse(source))) == 1


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("primary/x.py", "from .gate import Gate\nfrom ..shared.wire import Record"),
        ("shared/journal/x.py", "from ..wire import Record\nfrom .disk import Disk"),
        ("apps/risk/x.py", "from ...client import Producer"),
        ("cli/x.py", "from .. import __version__\nfrom ..primary.shell import run"),
    ],
)
def test_a_right_import_passes(file: str, source: str) -> None:
    assert layering_faults(file, ast.parse(source)) == []


@pytest.mark.parametrize(
    "source",
    [
        "import interlock.shared",
        "from interlock import Producer",
        "from shared.wire import Record",
        "import os, cli.main",
    ],
)
def test_an_absolute_import_is_found(source: str) -> None:
    assert len(absolute_import_faults("cli/x.py", ast.parse(source))) == 1


@pytest.mark.parametrize(
    "source",
    [
        "import time",
        "import os.path",
        "from time import monotonic_ns",
        "from random import Random",
        "import zmq.asyncio",
        "from ..shared.clock import now_ns",
        "from ..shared import clock",
        "from ..shared.journal.writer import Journal",
        "from ..shared.state import DataDir",
        "from ..shared.nodeio import NodeIO",
        "from ..shared.peerline import PeerLine",
        "from ..shared.answering import Answering",
        "from ..shared.keys import KeyPair",
        "from ..shared.keyring import read_ring",
        "from ..shared.credentials import Credentials",
        "from ..shared.door import Door",
        "from ..shared.doorkeeper import Doorkeeper",
        "def f():\n    import threading",
        "with open('x') as file: pass",
        "async def f(): pass",
        "def f():\n    global x",
    ],
)
def test_an_impurity_is_found(source: str) -> None:
    assert len(purity_faults("primary/x.py", ast.parse(source))) == 1


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("class G:\n  def __init__(self): self.released_seq = 0", ["__init__"]),
        ("def advance(self): self.released_seq += 1", ["advance"]),
        ("def f(g): g.gate.released_seq = 1", ["f"]),
        ("def f(g): g.x, g.released_seq = 1, 2", ["f"]),
        ("def f(g): return g.released_seq == 1", []),
    ],
)
def test_a_second_gate_is_found(source: str, found: list[str]) -> None:
    assert [function for function, _ in released_seq_stores(ast.parse(source))] == found
