"""What the nodes say of their keys, in words. Pure.

Decides when two nodes' lists of allowed keys differ: who is let in by one is then turned away by
the other, also after a change of roles.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ..shared.telemetry import NodeStatus, SecurityStatus

NO_KEYS: Final = "no keys (this machine only)"


def keys_text(security: SecurityStatus | None) -> str:
    """`SHA256:0123456789abcdef, 4 allowed, list fedcba9876543210`"""
    if security is None:
        return NO_KEYS
    return f"{security.fingerprint}, {security.keys} allowed, list {security.ring}"


def lists_differ(nodes: Mapping[str, NodeStatus | None]) -> str:
    """Which list each node has, if they are not the same; empty: they are, or it is not known."""
    known = {name: status.security for name, status in nodes.items() if status is not None}
    lists = {security.ring if security else "" for security in known.values()}
    if len(lists) < 2:
        return ""
    return ", ".join(
        f"{name} has list {one.ring} with {one.keys} keys" if one else f"{name} uses no keys"
        for name, one in known.items()
    )
