"""A network between two nodes that a test can cut: TCP proxies for the link, all else direct.

How a cut looks is decided by the product's own `cli.proxy`, which drills use as well.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from interlock.cli.embedded import EmbeddedPair
from interlock.cli.init import FILE
from interlock.cli.proxy import Proxy
from support.pair import ask, start_as, wait_for, write_config


class Link:
    """Both directions in which the nodes of a pair can dial each other's link."""

    def __init__(self, proxies: list[Proxy]) -> None:
        self._proxies = proxies

    def cut(self) -> None:
        for proxy in self._proxies:
            proxy.cut()

    def heal(self) -> None:
        for proxy in self._proxies:
            proxy.heal()


@contextlib.contextmanager
def pair_with_a_link(directory: Path) -> Iterator[tuple[EmbeddedPair, Link]]:
    """A running pair whose nodes reach each other's link by a network that can be cut. Control, and
    all that clients use, goes direct."""
    write_config(directory / FILE)
    with EmbeddedPair(directory) as pair, contextlib.ExitStack() as stack:
        proxies = []
        text = (directory / FILE).read_text("utf-8")
        for name, role in (("a", "primary"), ("b", "secondary")):
            peer = pair.config.node(pair.config.peer_of(name)).link
            proxy = stack.enter_context(Proxy(peer))
            proxies.append(proxy)
            own = directory / f"as-{name}-sees-it.toml"
            own.write_text(text.replace(f'"{peer}"', f'"{proxy.endpoint}"'), "utf-8")
            start_as(pair, role, name, own)
        for name in "ab":
            wait_for(f"node {name} to answer", partial(ask, pair, name))
        pair.wait_until_gated()
        yield pair, Link(proxies)
