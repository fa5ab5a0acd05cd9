"""A message of frames without end: libzmq collects it before a node sees any of it, and bounds the
size of a frame, not their number. The node's memory is bounded, and everybody else goes on.
"""

from __future__ import annotations

import socket
import struct
from pathlib import Path

import pytest

from interlock import Producer
from support.pair import endpoint, host_and_port, pair_of, status, wait_for

BOUND = 268_435_456
PART = bytes(200_000)
TOO_MANY = 4 * BOUND // len(PART)
GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x00NULL" + bytes(16) + b"\0" + bytes(31)
DEALER = b"\x05READY\x0bSocket-Type" + struct.pack(">I", 6) + b"DEALER"


def test_a_message_without_end_is_dropped_and_the_others_go_on(tmp_path: Path) -> None:
    with pair_of(tmp_path, max_memory_bytes=BOUND) as pair:
        with Producer("good", pair.config) as good:
            good.send(b"before").result(10)
            where = host_and_port(endpoint(pair.config, "a", "intake"))
            with socket.create_connection(where) as one:
                one.sendall(GREETING)
                one.sendall(b"\x04" + bytes([len(DEALER)]) + DEALER)
                with pytest.raises(OSError, match=r"reset|Broken pipe"):
                    send_without_end(one)
            assert good.send(b"after").result(30) > 0
        counters = "connections-dropped-for-memory"
        wait_for("the status to tell", lambda: status(pair, "a").counters.get(counters, 0) >= 1)
        assert status(pair, "a").state == "GATED"
        assert any("max_memory_bytes" in event for event in status(pair, "a").events)


def send_without_end(one: socket.socket) -> None:
    """Frames that each say that more of the message follows."""
    for _ in range(TOO_MANY):
        one.sendall(b"\x03" + struct.pack(">Q", len(PART)) + PART)
