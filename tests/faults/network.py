"""A network of this run's own: each node and the clients in a namespace of the kernel, on a bridge.

Decides how a network fails: packets are dropped or answered with a reset where they arrive, so the
senders are told nothing. All traffic stays in the namespaces, which go when the test is over.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest

HOSTS = {"a": "10.77.0.1", "b": "10.77.0.2", "clients": "10.77.0.3"}
HUB = "hub"
DROP = ("drop",)
RESET = ("meta", "l4proto", "tcp", "reject", "with", "tcp", "reset")
LOSE_30_PERCENT = ("numgen", "random", "mod", "100", "<", "30", "drop")


class Network:
    """A whole one. Its rules say what becomes of the packets of one host at another."""

    def at(self, host: str) -> list[str]:
        """The words that make a command run at this host."""
        return ["ip", "netns", "exec", _space(host)]

    @property
    def around(self) -> dict[str, Sequence[str]]:
        """Where the processes of a `Stage` run."""
        return {"a": self.at("a"), "b": self.at("b"), "": self.at("clients")}

    def rule(self, source: str, target: str, verdict: Sequence[str]) -> None:
        """From now on this becomes of what goes from `source` to `target`."""
        words = ["add", "rule", "inet", "faults", "arriving", "ip", "saddr", HOSTS[source]]
        _run(*self.at(target), "nft", *words, *verdict)

    def both(self, one: str, other: str, verdict: Sequence[str] = DROP) -> None:
        self.rule(one, other, verdict)
        self.rule(other, one, verdict)

    def isolate(self, host: str) -> None:
        """Nothing reaches this host, and nothing comes from it."""
        for other in HOSTS.keys() - {host}:
            self.both(host, other)

    def heal(self) -> None:
        for host in HOSTS:
            _run(*self.at(host), "nft", "flush", "chain", "inet", "faults", "arriving")


@contextmanager
def network() -> Iterator[Network]:
    """Skips the test where this cannot be had."""
    _skip_without("ip", "nft")
    made = Network()
    try:
        try:
            _lay()
        except AssertionError as error:
            pytest.skip(f"no network namespaces can be made here: {error}")
        yield made
    finally:
        for host in (*HOSTS, HUB):
            subprocess.run(["ip", "netns", "del", _space(host)], capture_output=True, check=False)


def _lay() -> None:
    for host in (HUB, *HOSTS):
        _run("ip", "netns", "add", _space(host))
        _run("ip", "-n", _space(host), "link", "set", "lo", "up")
    _run("ip", "-n", _space(HUB), "link", "add", "bridge", "type", "bridge")
    _run("ip", "-n", _space(HUB), "link", "set", "bridge", "up")
    for host, address in HOSTS.items():
        ends = ["name", "wire", "type", "veth", "peer", "name", host, "netns", _space(HUB)]
        _run("ip", "-n", _space(host), "link", "add", *ends)
        _run("ip", "-n", _space(HUB), "link", "set", "dev", host, "master", "bridge", "up")
        _run("ip", "-n", _space(host), "address", "add", f"{address}/24", "dev", "wire")
        _run("ip", "-n", _space(host), "link", "set", "wire", "up")
        hook = "{ type filter hook input priority 0 ; }"
        inside = ["ip", "netns", "exec", _space(host), "nft", "add"]
        _run(*inside, "table", "inet", "faults")
        _run(*inside, "chain", "inet", "faults", "arriving", hook)


def _space(host: str) -> str:
    return f"interlock-{os.getpid()}-{host}"


def _run(*line: str) -> None:
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(line)}: {done.stderr.strip()}"


def _skip_without(*tools: str) -> None:
    if os.geteuid() != 0:
        pytest.skip("network namespaces need root")
    for tool in tools:
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")
