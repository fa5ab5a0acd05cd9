"""Draws the states of a node, from their table, into docs/architecture.md. Run by `make diagram`.

The page has two markers; what is between them is ours. A test fails when it is not up to date.
"""

from __future__ import annotations

from pathlib import Path

from interlock.shared.roles import TRANSITIONS, NodeState

PAGE = Path(__file__).with_name("architecture.md")
BEGIN, END = "<!-- states: made by make diagram -->", "<!-- end of states -->"


def mermaid() -> str:
    """The table as a mermaid state diagram, without the arrows to FAILED: every state has one."""
    lines = ["```mermaid", "stateDiagram-v2", "    [*] --> STARTING"]
    for state in NodeState:
        after = sorted(each.value for each in TRANSITIONS[state] if each is not NodeState.FAILED)
        lines += [f"    {state.value} --> {each}" for each in after]
    return "\n".join([*lines, "```"])


def drawn(page: str) -> str:
    """The page with the present diagram."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{mermaid()}\n\n{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(drawn(PAGE.read_text("utf-8")), "utf-8")
