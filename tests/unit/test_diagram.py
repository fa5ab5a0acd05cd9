"""The state diagram of docs/architecture.md is that of the table."""

from __future__ import annotations

import importlib.util
from pathlib import Path

DOCS = Path(__file__).resolve().parents[2] / "docs"


def test_the_diagram_is_up_to_date() -> None:
    spec = importlib.util.spec_from_file_location("diagram", DOCS / "diagram.py")
    assert spec is not None
    assert spec.loader is not None
    diagram = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(diagram)
    page = (DOCS / "architecture.md").read_text("utf-8")
    assert diagram.BEGIN in page
    assert diagram.drawn(page) == page, "run: make diagram"
