"""Where the nodes are, from a configuration or from what the caller names.

Decides the order in which nodes are tried first. Later the nodes' own answers decide.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from ..shared.config import Config, load_config
from ..shared.credentials import PLAIN, Credentials, credentials
from ..shared.errors import UserError


class Endpoints(msgspec.Struct, frozen=True):
    """Endpoints of the pair's nodes, the best first guess first, and who we are to them."""

    cluster: str
    intakes: list[str] = []
    feeds: list[str] = []
    replays: list[str] = []
    credentials: Credentials = PLAIN


def _from_config(config: Config | str | Path, key: str) -> Endpoints:
    if not isinstance(config, Config):
        config = load_config(config)
    primary = config.node(config.pair.primary)
    secondary = config.node(config.secondary())
    return Endpoints(
        config.cluster,
        intakes=[primary.intake, secondary.intake],
        feeds=[primary.feed, secondary.feed],
        replays=[secondary.replay, primary.replay],
        credentials=credentials(config, key=key),
    )


def producer_endpoints(
    config: Config | str | Path | None, endpoints: Sequence[str] | None, key: str = ""
) -> Endpoints:
    """`key` as in `shared.credentials`. Raises UserError unless exactly one of a configuration and
    endpoints is given, or for a key without a configuration or that cannot be used."""
    if (config is None) == (endpoints is None):
        raise UserError("a producer takes either a configuration or endpoints=[...], one of them")
    if config is not None:
        return _from_config(config, key)
    _check_no_key(key)
    if not endpoints or isinstance(endpoints, str):
        raise UserError("endpoints is a list of one or more intake endpoints")
    return Endpoints("", intakes=list(endpoints))


def consumer_endpoints(
    config: Config | str | Path | None,
    feeds: Sequence[str] | None,
    replays: Sequence[str] | None,
    cluster: str,
    key: str = "",
) -> Endpoints:
    """`key` as in `shared.credentials`. Raises UserError unless there is a configuration, or both
    feeds and replays; or for a key that cannot be used."""
    if config is not None and feeds is None and replays is None:
        found = _from_config(config, key)
        if cluster and cluster != found.cluster:
            raise UserError(f"the configuration is of cluster {found.cluster}, not {cluster}")
        return found
    if config is not None or not feeds or not replays:
        raise UserError("a consumer takes either a configuration, or feeds=[...] and replays=[...]")
    _check_no_key(key)
    if isinstance(feeds, str) or isinstance(replays, str):
        raise UserError("feeds and replays are lists of endpoints")
    return Endpoints(cluster, feeds=list(feeds), replays=list(replays))


def _check_no_key(key: str) -> None:
    if key:
        raise UserError(
            "a key needs a configuration, which says how the nodes prove who they are; pass the "
            "pair's interlock.toml instead of endpoints"
        )
