"""Step 1, intake: who may submit, and what of a submission is new.

Decides sessions (one per producer name, the newer takes over), validity, exactly-once per producer
and whether there is room. Does not give seqs (sequence) nor confirm (feed).

Why the session is checked before the number: a producer that was cut off, replaced by a newer
session and then came back would otherwise interleave its old numbers with the new ones.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from ..shared.config import Limits
from ..shared.errors import Reason, RemoteError
from ..shared.limits import MAX_PAYLOAD_BYTES, MAX_PRODUCER_RECORDS, MAX_PRODUCERS
from ..shared.messages import PROTOCOL_VERSION, ProducerHello, Submit
from ..shared.producers import ProducerEntry, ProducerTable, Run
from ..shared.wire import decode_messages, encode_messages, pack_name


class Session:
    """A producer that said hello, and where to answer it. The counts are of this session: messages
    that it sent again and that were in the log already, and refusals."""

    __slots__ = (
        "duplicates",
        "key",
        "name",
        "packed_name",
        "refused",
        "seen_ns",
        "sender",
        "session",
    )

    def __init__(self, sender: bytes, name: str, session: int, key: str = "") -> None:
        self.key = key  # that said hello; empty: no keys are used
        self.sender = sender
        self.name = name
        self.packed_name = pack_name(name)
        self.session = session
        self.duplicates = self.refused = self.seen_ns = 0


class Fresh(msgspec.Struct, frozen=True, gc=False):
    """A submission, or the part of it, that is not in the log yet and may be sequenced."""

    session: Session
    producer_seq: int
    count: int
    payload: bytes | msgspec.Raw


class Known(msgspec.Struct, frozen=True, gc=False):
    """Of a submission: the numbers first..last that the log already holds, and where.

    What is older than the table remembers comes as a run at seq 0: released long ago, seq
    forgotten.
    """

    session: Session
    first: int
    last: int
    runs: list[Run]


class Refusal(RemoteError):
    """A refusal with the number to go on from."""

    def __init__(self, reason: Reason, text: str, expected: int = 0) -> None:
        super().__init__(reason, text)
        self.expected = expected


class Intake:
    """The sessions of one primary, over the producer table of its log."""

    def __init__(self, cluster: str, limits: Limits, table: ProducerTable) -> None:
        self._cluster = cluster
        self._limits = limits
        self._table = table
        self._by_sender: dict[bytes, Session] = {}
        self._by_name: dict[str, Session] = {}
        # By producer: numbers first..last that were submitted again while already in the log and
        # not released. Their records may be of an earlier run of this node, not pending in memory,
        # so that no release would mention them: they are confirmed when the gate has passed them.
        self.awaiting: dict[str, tuple[int, int]] = {}

    def hello(
        self, sender: bytes, hello: ProducerHello, key: str = ""
    ) -> tuple[Session, Session | None]:
        """The session that stands from now on, and the one that it took over from, if any.

        Raises RemoteError if the producer may not have one.
        """
        if hello.version != PROTOCOL_VERSION:
            raise RemoteError(
                Reason.WRONG_VERSION,
                f"protocol version {hello.version}; this node speaks {PROTOCOL_VERSION}",
            )
        if hello.cluster and hello.cluster != self._cluster:
            raise RemoteError(
                Reason.WRONG_CLUSTER, f"this is cluster {self._cluster}, not {hello.cluster}"
            )
        older = self._by_name.get(hello.producer)
        if older is None:
            pack_name(hello.producer)
            known = len(self._table) + sum(name not in self._table for name in self._by_name)
            if hello.producer not in self._table and known >= MAX_PRODUCERS:
                raise RemoteError(
                    Reason.TOO_MANY, f"{MAX_PRODUCERS} producers are known; no more are taken"
                )
        elif older.session == hello.session:
            older.key = key  # another of the same owner, who alone knows the session's number
            self._seat(older, sender)
            return older, None
        elif hello.resume:
            raise RemoteError(
                Reason.TAKEN_OVER, f"a newer session submits as producer {hello.producer}"
            )
        if older is not None:
            self.bye(older)
        session = Session(sender, hello.producer, hello.session, key)
        self._seat(session, sender)
        return session, older

    def _seat(self, session: Session, sender: bytes) -> None:
        """A connection has one session: the one that was there ends, and `session` leaves the
        connection that it had before."""
        previous = self._by_sender.get(sender)
        if previous is not None:
            self.bye(previous)
        self._by_sender.pop(session.sender, None)
        session.sender = sender
        self._by_sender[sender] = session
        self._by_name[session.name] = session

    def find(self, sender: bytes, session: int, key: str = "") -> Session:
        """The session of a sender, who has to have the key that said hello: routing ids are the
        other end's to choose. Raises RemoteError(NO_SESSION) if it has to say hello first."""
        found = self._by_sender.get(sender)
        if found is None or found.session != session or found.key != key:
            raise RemoteError(Reason.NO_SESSION, "this node does not know the session: say hello")
        return found

    def note_refused(self, sender: bytes) -> None:
        """Counts a refusal for the session of `sender`, if it has one."""
        session = self._by_sender.get(sender)
        if session is not None:
            session.refused += 1

    def bye(self, session: Session) -> None:
        self._by_sender.pop(session.sender, None)
        self._by_name.pop(session.name, None)

    def end_unwelcome(self, may: Callable[[str, str], bool]) -> list[Session]:
        """Ends the sessions whose key may not use their name, as `may(key, name)` says."""
        ended = [each for each in self._by_name.values() if not may(each.key, each.name)]
        for session in ended:
            self.bye(session)
        return ended

    def of(self, name: str) -> Session | None:
        """The session that submits as `name` now."""
        return self._by_name.get(name)

    def sessions(self) -> list[Session]:
        return list(self._by_name.values())

    def submit(
        self,
        session: Session,
        submit: Submit,
        released_seq: int,
        refuse: Callable[[str, int], Refusal | None],
    ) -> tuple[Known | None, Fresh | None]:
        """What of a submission is known and what is new; either may be None.

        `refuse(producer, bytes)` says why that many more payload bytes cannot be taken now. It is
        asked only about new messages: what is in the log is answered even when nothing more is
        taken. Raises Refusal or RemoteError; then nothing of the submission was taken.
        """
        messages = self._validate(submit)
        entry = self._table.get(session.name)
        accepted = entry.last_producer_seq if entry else 0
        first, last = submit.producer_seq, submit.producer_seq + submit.count - 1
        if first > accepted + 1:
            raise Refusal(
                Reason.GAP,
                f"producer_seq {first} where {accepted + 1} was expected",
                expected=accepted + 1,
            )
        known = None
        if first <= accepted and entry is not None:
            known = self._known(session, entry, first, min(last, accepted))
        if last <= accepted:
            return known, None
        refusal = refuse(session.name, len(submit.messages))
        if refusal is None and entry is not None and entry.is_full(released_seq):
            refusal = Refusal(
                Reason.BUSY, f"{MAX_PRODUCER_RECORDS} records of this producer are unconfirmed"
            )
        if refusal is not None:
            refusal.expected = accepted + 1
            raise refusal
        if known is None:
            return None, Fresh(session, first, submit.count, submit.messages)
        skip = accepted + 1 - first
        rest = messages[skip:]
        return known, Fresh(session, accepted + 1, len(rest), encode_messages(rest))

    def await_release(self, session: Session, runs: list[Run]) -> None:
        """Remembers that these runs, known and not released, are to be confirmed later."""
        first, last = runs[0].producer_seq, runs[-1].producer_seq + runs[-1].count - 1
        if session.name in self.awaiting:
            before = self.awaiting[session.name]
            first, last = min(first, before[0]), max(last, before[1])
        self.awaiting[session.name] = (first, last)

    def known_awaiting(self) -> list[Known]:
        """What is awaiting release, for the sessions that stand now."""
        found = []
        for name, (first, last) in self.awaiting.items():
            session, entry = self._by_name.get(name), self._table.get(name)
            if session is not None and entry is not None:
                found.append(self._known(session, entry, first, last))
        return found

    def _known(self, session: Session, entry: ProducerEntry, first: int, last: int) -> Known:
        runs = entry.find(first, last)
        remembered = runs[0].producer_seq if runs else last + 1
        if remembered > first:
            runs.insert(0, Run(first, 0, remembered - first))
        return Known(session, first, last, runs)

    def _validate(self, submit: Submit) -> list[bytes]:
        size = len(submit.messages)
        if size > MAX_PAYLOAD_BYTES:
            raise RemoteError(
                Reason.OVERSIZED, f"{size} bytes in one record; {MAX_PAYLOAD_BYTES} are allowed"
            )
        messages = decode_messages(submit.messages)
        if len(messages) != submit.count:
            raise RemoteError(
                Reason.BAD_COUNT,
                f"the submission counts {submit.count} messages and holds {len(messages)}",
            )
        limit = self._limits.max_message_bytes
        if size > limit and (longest := max(map(len, messages))) > limit:
            raise RemoteError(
                Reason.OVERSIZED,
                f"a message of {longest} bytes; limits.max_message_bytes is {limit}",
            )
        return messages


def split_runs(runs: list[Run], released_seq: int) -> tuple[list[Run], list[Run]]:
    """The parts of `runs` at or below `released_seq`, and those above it."""
    below: list[Run] = []
    above: list[Run] = []
    for run in runs:
        inside = min(run.count, max(0, released_seq - run.seq + 1)) if run.seq else run.count
        if inside:
            below.append(Run(run.producer_seq, run.seq, inside))
        if inside < run.count:
            above.append(Run(run.producer_seq + inside, run.seq + inside, run.count - inside))
    return below, above
