"""`interlock consume`: released messages as JSON lines, gap-free and in order."""

from __future__ import annotations

import sys
from typing import Annotated

import msgspec
import typer

from ..shared.config import load_config
from ..shared.textform import body_fields
from .common import DEFAULT_CONFIG, ConfigPath
from .log_text import kind_name


def consume(
    config: ConfigPath = DEFAULT_CONFIG,
    from_seq: Annotated[
        int, typer.Option("--from", min=0, help="First seq; 0: only what is released from now on.")
    ] = 1,
    count: Annotated[int, typer.Option(min=0, help="Stop after this many messages; 0: never.")] = 0,
    until_idle: Annotated[
        float, typer.Option(min=0, help="Stop after this many seconds without one; 0: never.")
    ] = 0,
    control: Annotated[
        bool, typer.Option("--control", help="Control records too: epochs, ticks, operations.")
    ] = False,
) -> None:
    """Print released messages from SEQ on, one JSON object per line, until stopped.

    Keys: seq, epoch, time_ns, producer, producer_seq, and body (text) or body_base64.
    """
    from ..client import Consumer, TimeoutExpired

    encoder = msgspec.json.Encoder()
    out = sys.stdout.buffer
    printed = 0
    with Consumer(load_config(config), from_seq=from_seq or None, control=control) as consumer:
        while not count or printed < count:
            try:
                message = consumer.next(until_idle or None)
            except TimeoutExpired:
                break
            line = {
                "seq": message.seq,
                "epoch": message.epoch,
                "time_ns": message.time_ns,
                "producer": message.producer,
                "producer_seq": message.producer_seq,
                **({"kind": kind_name(message.kind)} if control else {}),
                **body_fields(message.body),
            }
            out.write(encoder.encode(line) + b"\n")
            printed += 1
            if message.seq >= consumer.head:  # nothing more is waiting: let the reader have it
                out.flush()
    out.flush()
