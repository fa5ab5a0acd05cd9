"""Where clients look for the nodes."""

from __future__ import annotations

from pathlib import Path

import pytest

from interlock.client.endpoints import consumer_endpoints, producer_endpoints
from interlock.shared.config import load_config
from interlock.shared.errors import UserError

NODE = "\n".join(
    f'{socket} = "tcp://127.0.0.1:%d{index}"'
    for index, socket in enumerate(("intake", "link", "feed", "replay", "control", "telemetry"))
)
CONFIG = f"""
[pair]
cluster = "7d0e4d2c-0000-4000-8000-000000000001"
primary = "b"
[nodes.a]
data = "a"
{NODE.replace("%d", "710")}
[nodes.b]
data = "b"
{NODE.replace("%d", "720")}
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "interlock.toml").write_text(CONFIG)
    return tmp_path


def test_producers_try_the_primary_first_and_readers_replay_from_the_secondary(
    config: Path,
) -> None:
    for given in (config, str(config / "interlock.toml"), load_config(config)):
        found = producer_endpoints(given, None)
        assert found.intakes == ["tcp://127.0.0.1:7200", "tcp://127.0.0.1:7100"]
        assert found.cluster == "7d0e4d2c-0000-4000-8000-000000000001"
        found = consumer_endpoints(given, None, None, "")
        assert found.replays == ["tcp://127.0.0.1:7103", "tcp://127.0.0.1:7203"]
        assert set(found.feeds) == {"tcp://127.0.0.1:7102", "tcp://127.0.0.1:7202"}


def test_endpoints_do_without_a_configuration() -> None:
    assert producer_endpoints(None, ["tcp://x:1"]).intakes == ["tcp://x:1"]
    found = consumer_endpoints(None, ["tcp://x:1"], ["tcp://x:2"], "mine")
    assert (found.feeds, found.replays, found.cluster) == (["tcp://x:1"], ["tcp://x:2"], "mine")


def test_contradictions_are_told(config: Path) -> None:
    with pytest.raises(UserError, match="one of them"):
        producer_endpoints(config, ["tcp://x:1"])
    with pytest.raises(UserError, match="list of one or more"):
        producer_endpoints(None, [])
    with pytest.raises(UserError, match="list of one or more"):
        producer_endpoints(None, "tcp://x:1")
    with pytest.raises(UserError, match="either a configuration, or feeds"):
        consumer_endpoints(config, ["tcp://x:1"], None, "")
    with pytest.raises(UserError, match="either a configuration, or feeds"):
        consumer_endpoints(None, ["tcp://x:1"], None, "")
    with pytest.raises(UserError, match="are lists"):
        consumer_endpoints(None, ["tcp://x:1"], "tcp://x:2", "")
    with pytest.raises(UserError, match="is of cluster 7d0e4d2c"):
        consumer_endpoints(config, None, None, "another")
    with pytest.raises(UserError, match="there is no configuration"):
        producer_endpoints(config / "nowhere.toml", None)
