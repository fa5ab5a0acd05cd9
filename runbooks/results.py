"""The last result of each runbook, for badges: `last drilled: when, result, RTO`.

Kept per user, in `$XDG_STATE_HOME/interlock/drills` (`~/.local/state` without that variable): a
drill on an embedded pair has no folder of its own that outlives it. A file that cannot be read
counts as none.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from ..shared.errors import UserError
from .record import Report, Verdict


class Result(msgspec.Struct, frozen=True):
    """How the last drill of a runbook ended. `sha256` tells whether it was this text."""

    id: str
    sha256: str
    started_ns: int
    verdict: Verdict
    reason: str
    rto_ms: float | None


def results_folder() -> Path:
    """Where they are kept."""
    base = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(base) / "interlock" / "drills"


def keep(report: Report, folder: Path | None = None) -> None:
    """Keeps the report's result as the last one. Raises UserError if it cannot be stored."""
    folder = folder or results_folder()
    rto_ms = report.measures.rto_ms if report.measures else None
    result = Result(
        report.id, report.sha256, report.started_ns, report.verdict, report.reason, rto_ms
    )
    path = folder / f"{report.id}.json"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        fresh = path.with_suffix(".new")
        fresh.write_bytes(msgspec.json.encode(result))
        fresh.replace(path)
    except OSError as error:
        raise UserError(f"cannot keep the drill's result in {path}: {error.strerror}") from None


def last_result(name: str, folder: Path | None = None) -> Result | None:
    """The last result of the runbook with this id; None: never drilled here."""
    try:
        path = (folder or results_folder()) / f"{name}.json"
        return msgspec.json.decode(path.read_bytes(), type=Result)
    except (OSError, msgspec.DecodeError):
        return None
