"""What docs/operations.md and the units in docs/systemd say is what the code does."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from interlock.shared.config import SOCKETS, Limits
from interlock.shared.keyring import MAX_KEYS, KeyRole
from interlock.shared.limits import (
    BAD_SECONDS,
    BAN_SECONDS,
    FEED_HWM_FRAMES,
    FEW_DESCRIPTORS,
    KIB,
    MAX_BAD_FRAMES,
    MAX_BAN_SECONDS,
    MAX_CONNECTIONS,
    MAX_PRODUCERS,
    MIB,
    RESERVED_DESCRIPTORS,
)
from interlock.shared.policy import DOORS
from interlock.shared.sockets import HANDSHAKE_MS
from interlock.shared.telemetry import NodeStatus, SecurityStatus

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "operations.md").read_text("utf-8")
UNITS = ROOT / "docs" / "systemd"
BIN = Path(sys.executable).parent


def section(title: str) -> str:
    return PAGE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def rows(text: str) -> list[list[str]]:
    """The tables' rows, without their heads."""
    found = [
        [cell.strip() for cell in line.strip("|").split(" | ")]
        for line in text.splitlines()
        if line.startswith("| ")
    ]
    return [row for row in found if row[0].startswith("`") or row[0][0].isdigit()]


def test_the_table_of_roles_is_the_policy() -> None:
    told = {row[0].strip("`"): row[2].split(", ") for row in rows(section("Roles"))}
    assert told == {
        role.value: [socket for socket in SOCKETS if role in DOORS[socket]] for role in KeyRole
    }


def test_the_table_of_ports_is_that_of_init() -> None:
    assert [row[:2] for row in rows(section("Firewall"))] == [
        [f"{7101 + at}, {7107 + at}", socket] for at, socket in enumerate(SOCKETS)
    ]


def test_what_to_watch_is_there() -> None:
    source = "".join(
        path.read_text("utf-8")
        for folder in ("shared", "primary", "secondary")
        for path in (ROOT / folder).rglob("*.py")
    )
    for row in rows(section("What to watch")):
        for name in re.findall("`([^`]+)`", row[0]):
            group, _, field = name.partition(".")
            assert group in NodeStatus.__struct_fields__, name
            if group == "security":
                assert field in SecurityStatus.__struct_fields__, name
            elif group == "counters":
                assert f'.count("{field}"' in source, name


def test_every_limit_of_the_configuration_that_is_named_exists() -> None:
    named = re.findall(r"`((?:max|pending|producer|retain)_[a-z_]+)`", section("Limits"))
    assert set(named) <= set(Limits.__struct_fields__)
    assert len(set(named)) == 6


def test_the_bounds_are_those_of_the_code() -> None:
    text = section("Limits")
    for told in (
        f"| {MAX_CONNECTIONS:,}, or what",
        f"| {HANDSHAKE_MS // 1000} s | the connection is dropped",
        f"| {MAX_BAD_FRAMES} in {BAD_SECONDS} s | nothing is taken from it for {BAN_SECONDS} s",
        f"| {FEED_HWM_FRAMES:,} | dropped",
        f"| {MAX_KEYS:,} each |",
        f"`producer_pending_bytes`, {Limits().producer_pending_bytes // MIB} MiB",
        f"`max_memory_bytes`, {Limits().max_memory_bytes // (1024 * MIB)} GiB",
        f"`max_message_bytes`, {Limits().max_message_bytes // KIB} KiB",
        f"keeps {RESERVED_DESCRIPTORS:,} for itself",
        f"Below {FEW_DESCRIPTORS:,} nothing bounds",
    ):
        assert told in text, told
    assert MAX_BAN_SECONDS == 3_600
    assert "up to an hour" in text
    assert MAX_PRODUCERS == MAX_KEYS


def unit(name: str) -> str:
    return (UNITS / f"interlock-{name}.service").read_text("utf-8")


def test_the_units_differ_in_the_node_and_its_first_role() -> None:
    one, two = unit("a").splitlines(), unit("b").splitlines()
    assert len(one) == len(two)
    assert [line for line, other in zip(one, two, strict=True) if line != other] == [
        one[0],
        one[1],
        "Description=Interlock node a",
        "ExecStart=/opt/interlock/bin/interlock primary --node a --config /etc/interlock",
    ]


def test_the_units_leave_room_for_what_a_node_helps_itself_with() -> None:
    settings = dict(line.split("=", 1) for line in unit("a").splitlines() if "=" in line)
    assert int(settings["MemoryMax"].removesuffix("G")) * 2**30 > Limits().max_memory_bytes
    wanted = len(SOCKETS) * MAX_CONNECTIONS + RESERVED_DESCRIPTORS
    assert int(settings["LimitNOFILE"]) >= wanted


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="no systemd here")
def test_the_units_are_valid_and_hardened(tmp_path: Path) -> None:
    for name in "ab":
        path = tmp_path / f"interlock-{name}.service"
        path.write_text(unit(name).replace("/opt/interlock/bin", str(BIN)), "utf-8")
        for check in (
            ["verify", str(path)],
            ["security", "--offline=yes", "--threshold=20", "--no-pager", str(path)],
        ):
            done = subprocess.run(
                ["systemd-analyze", *check], capture_output=True, text=True, timeout=60, check=False
            )
            assert done.returncode == 0, done.stdout + done.stderr
            if check[0] == "verify":
                assert done.stderr == ""
    told = re.search(r"exposure level of the units is ([\d.]+) ", PAGE)
    assert told
    assert f"{told[1]} OK" in done.stdout


@pytest.mark.skipif(not shutil.which("nft") or os.geteuid() != 0, reason="needs nftables and root")
def test_the_firewall_is_valid(tmp_path: Path) -> None:
    """Loaded in a network of its own."""
    path = tmp_path / "interlock.nft"
    (text,) = re.findall(r"^```nft\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    path.write_text(text, "utf-8")
    done = subprocess.run(
        ["unshare", "-n", "sh", "-c", f"nft -f {path} && nft list ruleset"],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "chain pair" in done.stdout
