"""What a console over `interlock demo` can see and do besides: the processes of its pair.

A seam: the demo itself belongs to the command line, which the console does not know.
"""

from __future__ import annotations

from typing import Protocol

import msgspec


class Process(msgspec.Struct, frozen=True):
    """A node's process on this machine."""

    node: str
    pid: int
    runs: bool
    frozen: bool


class Demo(Protocol):
    """A pair under load that was made to be broken. No call takes long."""

    @property
    def ended(self) -> bool:
        """Whether the run is over: then the console ends too."""

    def news(self) -> list[str]:
        """What the load and its checker have to say."""

    def processes(self) -> list[Process]: ...

    def kill(self, name: str) -> None:
        """As kill -9 does."""

    def freeze(self, name: str) -> None: ...

    def thaw(self, name: str) -> None: ...

    def start(self, name: str) -> None:
        """Starts a node that has ended."""
