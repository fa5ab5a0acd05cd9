"""The flight recorder: what the console was told and what was done in it, as lines of JSON.

Decides the format, nothing of what it means: a recording is played through the same model.

A line is one input. Of a node's status only what has changed since its last line is written, since
most of it does not change; each `KEY_EVERY_S` the whole is, so that a part of a recording can be
read alone. The first line names the pair. A recording holds who did what and why: it is made for
its owner's eyes (mode 0600), and never overwrites another one.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Final

import msgspec

from ..shared.errors import UserError
from ..shared.telemetry import NodeStatus
from .inputs import Acted, FeedShut, HeadSeen, Heard, Input, Silent
from .model import Setting

FORMAT: Final = 1
KEY_EVERY_S: Final = 30.0


class Begins(msgspec.Struct, frozen=True, tag="begins"):
    """The first line: of which pair, and how often it tells."""

    at: float
    format: int
    nodes: tuple[str, str]
    cluster: str
    telemetry_s: float


class Change(msgspec.Struct, frozen=True, tag="change"):
    """A status: `set` are the fields that differ from that node's last line; `whole`: all."""

    at: float
    node: str
    set: dict[str, Any]
    whole: bool = False
    took_ms: float | None = None


Line = Begins | Change | Silent | HeadSeen | FeedShut | Acted


class Recorder:
    """Writes a recording. `write` never raises: a full disk must not take the console away."""

    def __init__(self, path: Path, setting: Setting, at: float) -> None:
        """Raises UserError if the file exists or cannot be made."""
        try:
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except FileExistsError:
            raise UserError(
                f"{path} exists, and a recording is not written over: name another one"
            ) from None
        except OSError as error:
            raise UserError(f"cannot record to {path}: {error.strerror}") from None
        self.trouble = ""
        self._file: IO[bytes] = os.fdopen(fd, "wb")
        self._encoder = msgspec.json.Encoder()
        self._last: dict[str, dict[str, Any]] = {}
        self._whole_at: dict[str, float] = {}
        self._line(Begins(at, FORMAT, setting.nodes, setting.cluster, setting.telemetry_s))

    def write(self, told: Input) -> None:
        """Keeps one input."""
        self._line(self._change(told) if isinstance(told, Heard) else told)

    def _change(self, heard: Heard) -> Change:
        fields = msgspec.to_builtins(heard.status)
        last = self._last.get(heard.node)
        self._last[heard.node] = fields
        if last is None or heard.at - self._whole_at[heard.node] >= KEY_EVERY_S:
            self._whole_at[heard.node] = heard.at
            return Change(heard.at, heard.node, fields, whole=True, took_ms=heard.took_ms)
        changed = {name: value for name, value in fields.items() if last.get(name) != value}
        return Change(heard.at, heard.node, changed, took_ms=heard.took_ms)

    def _line(self, line: Line) -> None:
        if self.trouble:
            return
        try:
            self._file.write(self._encoder.encode(line) + b"\n")
            self._file.flush()
        except OSError as error:
            self.trouble = f"the recording ended: {error.strerror}"

    def close(self) -> None:
        try:
            self._file.close()
        except OSError as error:
            self.trouble = f"the recording ended: {error.strerror}"


class Recording(msgspec.Struct, frozen=True):
    """A recording that was read whole."""

    setting: Setting
    inputs: list[Input]

    @property
    def begins(self) -> float:
        return self.inputs[0].at

    @property
    def ends(self) -> float:
        return self.inputs[-1].at


def read_recording(path: Path) -> Recording:
    """Reads a recording. A last line that was cut off by a crash is left out.

    Raises UserError naming the line that cannot be read.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read the recording {path}: {error.strerror}") from None
    lines = data.split(b"\n")
    complete = lines[:-1] if lines and lines[-1] else [line for line in lines if line]
    setting: Setting | None = None
    inputs: list[Input] = []
    for told in _inputs(path, complete):
        if isinstance(told, Begins):
            setting = Setting(told.nodes, told.cluster, told.telemetry_s)
        else:
            inputs.append(told)
    if setting is None or not inputs:
        raise UserError(f"{path} is no recording of a console, or an empty one")
    return Recording(setting, inputs)


def _inputs(path: Path, lines: list[bytes]) -> Iterator[Begins | Input]:
    decoder = msgspec.json.Decoder(Line)
    last: dict[str, dict[str, Any]] = {}
    for number, line in enumerate(lines, 1):
        try:
            found = decoder.decode(line)
            if isinstance(found, Change):
                fields = found.set if found.whole else {**last[found.node], **found.set}
                last[found.node] = fields
                status = msgspec.convert(fields, NodeStatus)
                yield Heard(found.at, found.node, status, found.took_ms)
                continue
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, KeyError) as error:
            raise UserError(f"{path}: line {number} is no line of a recording: {error}") from None
        if number == 1 and (not isinstance(found, Begins) or found.format != FORMAT):
            raise UserError(f"{path} does not begin as a recording of format {FORMAT} does")
        yield found
