"""A pair of real node processes on loopback, made for one run and gone after it.

Decides where it lives and what its configuration says. Used by the demo, by drills and by tests.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from uuid import uuid4

from ..client.local import LocalPair, free_ports
from ..shared.config import AckLevel, load_config
from .init import FILE, render
from .keys import keys_of


class EmbeddedPair(LocalPair):
    """Two nodes, "a" and "b", from a configuration of their own. A context manager."""

    def __init__(
        self,
        directory: Path | None = None,
        ack_level: AckLevel = AckLevel.WRITTEN,
        *,
        secure: bool = False,
    ) -> None:
        """Writes the configuration; `directory` None: a temporary one, removed at the end.
        `secure`: with keys.

        A given directory that holds a configuration already is used as it is.
        """
        made = directory or Path(tempfile.mkdtemp(prefix="interlock-"))
        path = made / FILE
        if not path.exists():
            made.mkdir(parents=True, exist_ok=True)
            ports = free_ports()
            text = render(str(uuid4()), ("a", "b"), "127.0.0.1", ports, ack_level, secure=secure)
            path.write_text(text, "utf-8")
        super().__init__(load_config(path), made, temporary=directory is None)
        if self.config.security is not None:
            keys_of(self.config)
