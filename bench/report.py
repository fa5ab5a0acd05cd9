"""Everything that one run of the benchmark found, and how it is kept: one JSON file.

Decides nothing about what is measured (`suite`) or whether it is good (`targets`).
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from ..shared.errors import UserError
from .contest import Contest
from .growth import Series
from .machine import Machine
from .past import Late, Restart
from .result import RunResult


class Target(msgspec.Struct, frozen=True):
    """What is aimed at and what was measured. `met` None: not measured, or not to be judged."""

    number: str
    what: str
    wanted: str
    measured: str
    met: bool | None


class Report(msgspec.Struct):
    """`failed`: the steps that were not measured, and why. `memory`: RSS of each node in MiB, by
    the log's length. `idle_cpu`: cores that an idle pair uses, by idle strategy."""

    machine: Machine
    began: str
    seconds: float = 0.0
    contests: dict[str, Contest] = {}
    runs: dict[str, RunResult] = {}
    series: list[Series] = []
    restart: Restart | None = None
    late_consumer: Late | None = None
    rejoining: Late | None = None
    memory: dict[int, dict[str, float]] = {}
    idle_cpu: dict[str, float] = {}
    failover: dict[str, dict[str, dict[str, float]]] = {}
    targets: list[Target] = []
    failed: dict[str, str] = {}


def save(report: Report, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(report)))


def load(path: Path) -> Report:
    """Raises UserError for a file that is no report."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Report)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None
    except msgspec.MsgspecError as error:
        raise UserError(f"{path} is no report of interlock bench: {error}") from None
