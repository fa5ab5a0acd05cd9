"""`interlock status --watch`: the console's picture as a stream of lines or of JSON objects."""

from __future__ import annotations

import sys
import time
from typing import Final

import msgspec

from ..shared.config import Config
from .plain import changes, summary_line
from .source import LiveSource
from .view import View

LOOK_EVERY_S: Final = 0.25
FIRST_LOOK_S: Final = 1.5


def watch(config: Config, every_s: float, *, as_json: bool) -> None:
    """Until it is interrupted: a summary each `every_s`, and at once what changes; as JSON the
    whole picture each `every_s`, one object per line."""
    source = LiveSource(config)
    source.start()
    try:
        _first_look(source)
        shown: View | None = None
        due = 0.0
        while True:
            view = source.tick()
            if not as_json and shown is not None:
                _print(changes(shown, view))
            shown = view
            if time.monotonic() >= due:
                due = time.monotonic() + every_s
                _print([json_line(view) if as_json else summary_line(view)])
            time.sleep(min(LOOK_EVERY_S, every_s))
    finally:
        source.stop()


def json_line(view: View) -> str:
    """One picture as one line of JSON."""
    return msgspec.json.encode(view).decode()


def _first_look(source: LiveSource) -> None:
    """Waits a moment, so that the first line does not say that nothing is known."""
    end = time.monotonic() + FIRST_LOOK_S
    while time.monotonic() < end:
        if all(node.status for node in source.tick().nodes):
            return
        time.sleep(0.05)


def _print(lines: list[str]) -> None:
    for text in lines:
        sys.stdout.write(text + "\n")
    sys.stdout.flush()
