"""What both nodes tell, collected by one thread: telemetry, heads of the feed, answers on control.

Decides how often the nodes are listened to and asked. Each socket keeps the newest frame only (a
conflating queue inside ZeroMQ), and is looked at ten times a second: however much a node sends, the
console does the same little work. What comes out are inputs for the model, in order.

Control is asked besides: a node whose telemetry cannot be reached may still answer, and one that
answers neither is lost. Each question has a socket of its own, so a late answer is never taken for
that of the next question.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import Any, Final

import zmq

from ..client.channel import own_context
from ..shared.commands import ControlReply, GetStatus, Status
from ..shared.config import Config
from ..shared.errors import RemoteError
from ..shared.messages import PROTOCOL_VERSION, Codec, Head, Refused, encode
from ..shared.sockets import Socket, make_socket
from .clock import Clock
from .inputs import HeadSeen, Heard, Input, Silent

LOOK_EVERY_S: Final = 0.1
ASK_EVERY_S: Final = 1.0
ANSWER_S: Final = 1.0
MAX_WAITING: Final = 1_000  # inputs that nobody has taken; the oldest give way

# The bytes with which a head begins: others of the feed's frames, the records, are not sent to us.
_HEAD: Final = encode(Head("", "", 0, 0))[:6]
_replies: Final[Codec[ControlReply]] = Codec(ControlReply)
_heads: Final[Codec[Head]] = Codec(Head)


class Line:
    """The sockets to one node. Used by the feed's thread only."""

    def __init__(self, config: Config, name: str) -> None:
        self.name = name
        node = config.node(name)
        self._control_endpoint = node.control
        self.telemetry = _newest_of(node.telemetry, b"")
        self.heads = _newest_of(node.feed, _HEAD)
        self.control: Socket | None = None
        self.asked_at = 0.0

    def ask(self) -> None:
        """Asks for the status on control, with a new socket."""
        self.control = make_socket(own_context(), zmq.DEALER)
        self.control.connect(self._control_endpoint)
        self.control.send(encode(GetStatus(PROTOCOL_VERSION)))
        self.asked_at = time.monotonic()

    def hang_up(self) -> None:
        if self.control is not None:
            self.control.close()
            self.control = None

    def close(self) -> None:
        self.hang_up()
        self.telemetry.close()
        self.heads.close()


def _newest_of(endpoint: str, prefix: bytes) -> Socket:
    made = make_socket(own_context(), zmq.SUB)
    made.setsockopt(zmq.CONFLATE, 1)
    made.setsockopt(zmq.SUBSCRIBE, prefix)
    made.connect(endpoint)
    return made


class Feed:
    """Runs from `start` to `stop`. `take` from another thread whatever has come."""

    def __init__(self, config: Config, clock: Clock) -> None:
        self._config = config
        self._clock = clock
        self._waiting: deque[Input] = deque(maxlen=MAX_WAITING)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="console-feed", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join(2.0)

    def take(self) -> list[Input]:
        """Everything since the last call, oldest first."""
        taken = []
        while self._waiting:
            taken.append(self._waiting.popleft())
        return taken

    def tell(self, told: Input) -> None:
        """Puts an input in that does not come from a node."""
        self._waiting.append(told)

    def _run(self) -> None:
        lines = [Line(self._config, name) for name in self._config.nodes]
        try:
            while not self._stopping.is_set():
                self._wait_for_answers(lines)
                for line in lines:
                    self._look(line)
        finally:
            for line in lines:
                line.close()

    def _wait_for_answers(self, lines: list[Line]) -> None:
        """Until the next look. Answers on control are taken as they come: they are timed."""
        end = time.monotonic() + LOOK_EVERY_S
        while (left_s := end - time.monotonic()) > 0:
            asked = {line.control: line for line in lines if line.control is not None}
            if not asked:
                self._stopping.wait(left_s)
                return
            poller = zmq.Poller()
            for socket in asked:
                poller.register(socket, zmq.POLLIN)
            for ready, _ in poller.poll(int(left_s * 1_000) + 1):
                self._answered(asked[ready])

    def _answered(self, line: Line) -> None:
        assert line.control is not None
        took_ms = (time.monotonic() - line.asked_at) * 1e3
        frame = line.control.recv()
        line.hang_up()
        at = self._clock.now()
        try:
            reply = _replies.decode(frame)
        except RemoteError as error:
            self._waiting.append(Silent(at, line.name, f"its answer is not understood: {error}"))
            return
        if isinstance(reply, Status):
            self._heard(line.name, Heard(at, line.name, reply.status, took_ms))
        else:
            text = reply.text if isinstance(reply, Refused) else "answers what was not asked"
            self._waiting.append(Silent(at, line.name, text))

    def _look(self, line: Line) -> None:
        now, at = time.monotonic(), self._clock.now()
        if (frame := _newest(line.telemetry)) is not None:
            self._telemetry(line.name, frame, at)
        if (frame := _newest(line.heads)) is not None:
            self._head(line.name, frame, at)
        if line.control is not None and now - line.asked_at > ANSWER_S:
            line.hang_up()
            self._waiting.append(Silent(at, line.name, f"no answer within {ANSWER_S:g} s"))
        if line.control is None and now - line.asked_at > ASK_EVERY_S:
            line.ask()

    def _telemetry(self, name: str, frame: bytes, at: float) -> None:
        try:
            reply = _replies.decode(frame)
        except RemoteError as error:
            self._waiting.append(Silent(at, name, f"its telemetry is not understood: {error}"))
            return
        if isinstance(reply, Status):
            self._heard(name, Heard(at, name, reply.status))

    def _heard(self, name: str, heard: Heard) -> None:
        """An endpoint where another node answers is not that node."""
        if heard.status.node == name:
            self._waiting.append(heard)
        else:
            why = f"node {heard.status.node} answers at its endpoint"
            self._waiting.append(Silent(heard.at, name, why))

    def _head(self, name: str, frame: bytes, at: float) -> None:
        try:
            head = _heads.decode(frame)
        except RemoteError:
            return  # what else is published is not for the console
        self._waiting.append(HeadSeen(at, name, head.epoch, head.released_seq))


def _newest(socket: Any) -> bytes | None:
    try:
        frame: bytes = socket.recv(zmq.NOBLOCK)
    except zmq.Again:
        return None
    return frame
