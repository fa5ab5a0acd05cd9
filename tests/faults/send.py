"""A producer's process: sends until SIGTERM, and writes down what is confirmed, as it is.

Run as `send.py CONFIG NAME RATE WINDOW OUT`; at most WINDOW messages are unconfirmed. Lines of OUT:
`NUMBER SEQ`, and `end COUNT` when it was told to end and everything has been confirmed. Any failure
of the client ends it with a traceback.
"""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections import deque
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from faults.checker import content
from interlock import Producer
from interlock.client.producer import Ticket
from interlock.shared.config import load_config

PATIENCE_S = 60.0
STEP_S = 0.01


def main(config: str, name: str, rate: str, window: str, out: str) -> None:
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    tickets: deque[Ticket] = deque()
    begin, sent = time.monotonic(), 0
    with Producer(name, load_config(config)) as producer, Path(out).open("w", 1) as file:

        def write_confirmed(*, everything: bool = False) -> None:
            while tickets and (everything or tickets[0].done()):
                ticket = tickets.popleft()
                seq = ticket.result(PATIENCE_S)
                file.write(f"{ticket.producer_seq} {seq}\n")

        while not stop.wait(STEP_S):
            due = int((time.monotonic() - begin) * float(rate))
            while sent < due and len(tickets) < int(window):
                sent += 1
                tickets.append(producer.send(content(name, sent).encode(), PATIENCE_S))
            sent_late = due - sent
            begin += sent_late / float(rate)  # what could not be sent in time is not made up for
            write_confirmed()
        producer.flush(PATIENCE_S)
        write_confirmed(everything=True)
        file.write(f"end {sent}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
