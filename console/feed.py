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
from typing import Final

import zmq

from ..client.channel import Channel
from ..client.dealer import Dealer
from ..client.errors import DeniedError
from ..shared.commands import ControlReply, GetStatus, Status
from ..shared.config import Config
from ..shared.credentials import Credentials, credentials
from ..shared.errors import RemoteError, UserError
from ..shared.messages import PROTOCOL_VERSION, Codec, Head, Refused, encode
from .clock import Clock
from .inputs import FeedShut, HeadSeen, Heard, Input, Silent

LOOK_EVERY_S: Final = 0.1
ASK_EVERY_S: Final = 1.0
ANSWER_S: Final = 1.0
MAX_WAITING: Final = 1_000  # inputs that nobody has taken; the oldest give way

# The bytes with which a head begins: others of the feed's frames, the records, are not sent to us.
_HEAD: Final = encode(Head("", "", 0, 0))[:6]
_replies: Final[Codec[ControlReply]] = Codec(ControlReply)
_heads: Final[Codec[Head]] = Codec(Head)


class Subscription:
    """A published socket of a node, heard as long as this console's key has a role for it. `why` it
    is not heard: empty, if it is or will be as soon as the node is there."""

    def __init__(self, domain: str, endpoint: str, newest_of: bytes, who: Credentials) -> None:
        self.why = ""
        self._domain, self._endpoint, self._newest_of = domain, endpoint, newest_of
        self._who = who
        self._channel: Channel | None = None

    def tend(self) -> None:
        """Opens it, or closes it once the key has no role for it any more: knocking on and on at a
        door that stays shut would only fill the node's counts of refusals."""
        if not self._who.may_connect(self._domain):
            self.close()
            self.why = f"key {self._who.name} has no role for {self._domain}"
        elif self._channel is None:
            self.why = ""
            try:
                self._channel = Channel(
                    zmq.SUB, [self._endpoint], self._who, newest_of=self._newest_of
                )
            except UserError as error:
                self.why = str(error)

    def receive(self) -> bytes | None:
        """The newest frame, if one has come."""
        if self._channel is None:
            return None
        frame = self._channel.receive()
        if frame is not None:
            self._channel.denied = ""
        self.why = self._channel.denied
        return frame

    def close(self) -> None:
        if self._channel is not None:
            self._channel.close()
            self._channel = None


class Line:
    """The sockets to one node. Used by the feed's thread only."""

    def __init__(self, config: Config, name: str, who: Credentials) -> None:
        self.name = name
        node = config.node(name)
        self._control_endpoint = node.control
        self._who = who
        self.telemetry = Subscription("telemetry", node.telemetry, b"", who)
        self.heads = Subscription("feed", node.feed, _HEAD, who)
        self.shut = ""  # what was told of the feed last
        self.control: Dealer | None = None
        self.asked_at = 0.0

    def ask(self) -> None:
        """Asks for the status on control, with a new socket. Raises UserError without a key that
        the node could prove itself with."""
        self.asked_at = time.monotonic()
        self.telemetry.tend()
        self.heads.tend()
        self.control = Dealer(self._control_endpoint, self._who)
        self.control.send(encode(GetStatus(PROTOCOL_VERSION)))

    def hang_up(self) -> None:
        if self.control is not None:
            self.control.close()
            self.control = None

    def close(self) -> None:
        self.hang_up()
        self.telemetry.close()
        self.heads.close()


class Feed:
    """Runs from `start` to `stop`. `take` from another thread whatever has come."""

    def __init__(self, config: Config, clock: Clock) -> None:
        """Raises UserError if the pair uses keys and the operator's cannot be used."""
        self._config = config
        self._who = credentials(config, operator=True)
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
        lines = [Line(self._config, name, self._who) for name in self._config.nodes]
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
            for dealer in asked:
                poller.register(dealer.socket, zmq.POLLIN)
                poller.register(dealer.watch.events, zmq.POLLIN)
            if poller.poll(int(left_s * 1_000) + 1):
                for line in asked.values():
                    self._answered(line)

    def _answered(self, line: Line) -> None:
        assert line.control is not None
        took_ms = (time.monotonic() - line.asked_at) * 1e3
        at = self._clock.now()
        try:
            frame = line.control.receive(0)
        except DeniedError as error:
            line.hang_up()
            self._waiting.append(Silent(at, line.name, str(error), denied=True))
            return
        if frame is None:
            return
        line.hang_up()
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
        if (frame := line.telemetry.receive()) is not None:
            self._telemetry(line.name, frame, at)
        if (frame := line.heads.receive()) is not None:
            self._head(line.name, frame, at)
        if line.heads.why != line.shut:
            line.shut = line.heads.why
            if line.shut:
                self._waiting.append(FeedShut(at, line.name, line.shut))
        if line.control is not None and now - line.asked_at > ANSWER_S:
            line.hang_up()
            self._waiting.append(Silent(at, line.name, f"no answer within {ANSWER_S:g} s"))
        if line.control is None and now - line.asked_at > ASK_EVERY_S:
            try:
                line.ask()
            except UserError as error:
                self._waiting.append(Silent(at, line.name, str(error)))

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
