"""The blocking producer: `send()` returns a ticket at once, the ticket's `result()` is the seq.

Decides nothing of the protocol (`producer_core`) nor of threads (`line`): it is the public face.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import msgspec

from ..shared.clock import now_ns
from ..shared.config import Config
from ..shared.idling import idle_of
from .backlog import Batch
from .endpoints import producer_endpoints
from .errors import ConnectError, TimeoutExpired
from .line import Hook, Line
from .producer_core import ProducerCore, ProducerStats


class Ticket(msgspec.Struct, gc=False, eq=False):
    """One message that was sent. Keep it only if you want its result."""

    _producer: Producer
    _batch: Batch
    _index: int

    @property
    def producer_seq(self) -> int:
        """The message's number in its producer's own count.

        It moves only if a failover drops the unreleased messages of an earlier session of the
        same name before any message of this one is confirmed.
        """
        return self._batch.first + self._index

    def done(self) -> bool:
        """Whether the message is confirmed. Never blocks and does no I/O."""
        return self._batch.confirmed > self._index

    def result(self, timeout: float | None = None) -> int:
        """Waits for the confirmation and returns the message's seq in the log.

        Raises TimeoutExpired after `timeout` seconds: the message may still be confirmed later.
        Raises what ended the producer otherwise (TakenOverError, RefusedError, ClosedError, ...).
        0 means: it is in the log, but too long ago for the nodes to remember where.
        """
        if self._batch.confirmed <= self._index:
            self._producer._await(self, timeout)
        return self._batch.seq_at(self._index)


class Producer:
    """Submits messages under one name; each is in the log exactly once when it is confirmed.

    Use it as a context manager: leaving it waits until everything is confirmed. Any number of
    threads may share a producer; it does not survive a fork. Only one producer may use a name at a
    time: a newer one takes the name over, and this one then raises TakenOverError.
    """

    def __init__(
        self,
        name: str,
        config: Config | str | Path | None = None,
        *,
        endpoints: Sequence[str] | None = None,
        window: int = 65_536,
        record_messages: int = 256,
        record_bytes: int = 65_536,
        records_in_flight: int = 16,
        resume: bool = False,
        connect_timeout: float = 10.0,
        key: str = "",
        idle: str = "block",
    ) -> None:
        """Connects to the primary; `config` is an interlock.toml, its directory or a Config.

        `window`: messages that may be unconfirmed before send() blocks. `record_messages`,
        `record_bytes`: what travels together under load. `resume`: number on from what is
        confirmed in the log, and submit everything from `next_producer_seq` on once more: what the
        log holds already is recognised by its number and confirmed with the seq that it has.
        `key`: the name of the key to use, or its file, where the pair uses keys; without it that of
        $INTERLOCK_KEY, or the configuration's `security.app`. `idle`: how a thread waits that asks
        for a result: "block", "adaptive" (looks for a while first) or "spin" (see
        `shared.idling`).

        Raises UserError (configuration), RefusedError, or ConnectError after `connect_timeout`
        seconds without a primary.
        """
        found = producer_endpoints(config, endpoints, key)
        core = ProducerCore(
            name,
            found.cluster,
            secrets.randbits(63),
            found.intakes,
            now_ns(),
            window=window,
            record_messages=record_messages,
            record_bytes=record_bytes,
            records_in_flight=records_in_flight,
            resume=resume,
        )
        self._core = core
        self._line = Line(core, found.credentials, idle_of(idle))
        try:
            with self._line.lock:
                connected = self._line.wait(lambda: core.welcomed, connect_timeout)
            if not connected:
                raise ConnectError(
                    f"the producer {name} was not connected within {connect_timeout:g} s: "
                    f"{core.waiting_for()}"
                )
        except BaseException:
            self._line.close()
            raise

    def send(self, body: bytes, timeout: float | None = None) -> Ticket:
        """Takes one message and returns at once, unless the window is full.

        Then it waits for room, and raises TimeoutExpired after `timeout` seconds (None: never):
        the message got no number and will not be sent. Raises MessageTooLarge, TypeError for what
        is not bytes, or what ended the producer.
        """
        core, line = self._core, self._line
        with line.lock:
            now = now_ns()
            batch = core.submit(body, now)
            if batch is None:
                batch = self._submit_when_there_is_room(body, timeout)
            elif core.outbox or now >= line.look_ns:
                line.pump(now)
            return Ticket(self, batch, batch.count - 1)

    def flush(self, timeout: float | None = None) -> None:
        """Waits until all that was sent before is confirmed.

        Raises TimeoutExpired after `timeout` seconds (None: never), or what ended the producer.
        """
        core = self._core
        with self._line.lock:
            core.flush(now_ns())
            if not core.backlog.sealed:
                return
            last = core.backlog.sealed[-1]
            if not self._line.wait(lambda: last.confirmed == last.count, timeout):
                raise TimeoutExpired(
                    f"{core.backlog.unconfirmed} messages of {core.name} were not confirmed within "
                    f"{timeout:g} s; they may still be: {core.waiting_for()}"
                )

    def close(self) -> None:
        """Ends the session without waiting for confirmations. May be called twice."""
        self._line.close()

    @property
    def next_producer_seq(self) -> int:
        """The number that the next message gets."""
        return self._core.backlog.next

    @property
    def confirmed_producer_seq(self) -> int:
        """The last number that is confirmed, with all before it."""
        return self._core.backlog.confirmed

    @property
    def unconfirmed(self) -> int:
        """Messages that were sent and are not confirmed yet."""
        return self._core.backlog.unconfirmed

    @property
    def stats(self) -> ProducerStats:
        """A copy of the counts since this producer was made."""
        with self._line.lock:
            return msgspec.structs.replace(self._core.stats, refused=dict(self._core.stats.refused))

    @property
    def on_record_confirmed(self) -> Hook | None:
        """For measuring: called as hook(rtt_ns, count) when all of a record is confirmed.

        `rtt_ns` runs from the send() of the record's first message. The hook runs in whichever
        thread does the I/O, under the producer's lock: it must be quick and not use the producer.
        """
        return self._line.hook

    @on_record_confirmed.setter
    def on_record_confirmed(self, hook: Hook | None) -> None:
        self._line.hook = hook

    def __enter__(self) -> Producer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                self.flush()
        finally:
            self.close()

    def _submit_when_there_is_room(self, body: bytes, timeout: float | None) -> Batch:
        core = self._core
        taken: list[Batch] = []

        def has_room() -> bool:
            batch = core.submit(body, now_ns())
            if batch is not None:
                taken.append(batch)
            return batch is not None

        if not self._line.wait(has_room, timeout):
            raise TimeoutExpired(
                f"no room for a message within {timeout:g} s: {self.unconfirmed} messages of "
                f"{core.name} are unconfirmed; {core.waiting_for()}"
            )
        if core.outbox:
            self._line.pump(now_ns())
        return taken[0]

    def _await(self, ticket: Ticket, timeout: float | None) -> None:
        with self._line.lock:
            if not self._line.wait(ticket.done, timeout):
                raise TimeoutExpired(
                    f"producer_seq {ticket.producer_seq} of {self._core.name} was not confirmed "
                    f"within {timeout:g} s; it may still be: {self._core.waiting_for()}"
                )
