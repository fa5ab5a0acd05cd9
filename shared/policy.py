"""What each role may do: which socket it may connect to, and what it may send there.

Decides by the proven key alone. Both are asked: the socket's door when somebody connects, and the
message when it is there, because a role may have been taken away since.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from .commands import (
    Approve,
    Execute,
    GetOperation,
    GetPreflight,
    GetQuarantine,
    GetStatus,
    PeerCompare,
    PeerFetch,
    PeerYield,
    ReadQuarantine,
    ReloadKeys,
)
from .errors import Reason, RemoteError
from .keyring import KeyRing, KeyRole, Principal
from .messages import ProducerHello

Roles = frozenset[KeyRole]

_PEER: Final = frozenset({KeyRole.PEER})
_OPERATOR: Final = frozenset({KeyRole.OPERATOR})
_OPERATORS: Final = frozenset({KeyRole.OPERATOR, KeyRole.APPROVER})
_WATCHERS: Final = frozenset({KeyRole.OBSERVER, KeyRole.OPERATOR, KeyRole.APPROVER})
_READERS: Final = frozenset({KeyRole.CONSUMER, KeyRole.OPERATOR})

# By socket (its ZAP domain). An operator is let in at the intake to submit a quarantined tail
# again, and reads the log to tell its history.
DOORS: Final[Mapping[str, Roles]] = {
    "intake": frozenset({KeyRole.PRODUCER, KeyRole.OPERATOR}),
    "link": _PEER,
    "feed": _READERS,
    "replay": _READERS,
    "control": _WATCHERS | _PEER,
    "telemetry": _WATCHERS,
}

# By message of the control socket.
CONTROL: Final[Mapping[type[Any], Roles]] = {
    GetStatus: _WATCHERS | _PEER,
    GetPreflight: _OPERATOR,
    Execute: _OPERATOR,
    Approve: _OPERATORS,
    GetOperation: _OPERATORS,
    GetQuarantine: _OPERATOR,
    ReadQuarantine: _OPERATOR,
    ReloadKeys: _OPERATOR,
    PeerCompare: _PEER,
    PeerYield: _PEER,
    PeerFetch: _PEER,
}


def may_connect(domain: str, who: Principal) -> bool:
    """Whether a key may come in at the door of this socket."""
    return not DOORS[domain].isdisjoint(who.roles)


def doors_to_reopen(old: KeyRing, new: KeyRing) -> frozenset[str]:
    """The sockets that go on telling somebody what is not for him any more, unless all their
    connections are dropped. The others look at the key of each message, and answer nobody else."""
    found = set()
    for public, before in old.by_key.items():
        now = new.by_key.get(public)
        for domain in ("feed", "telemetry", "link"):
            if may_connect(domain, before) and not (now and may_connect(domain, now)):
                found.add(domain)
    return frozenset(found)


def check_control(who: Principal, message: object) -> None:
    """Raises RemoteError(NOT_ALLOWED) unless this key may send this to the control socket."""
    needed = CONTROL[type(message)]
    if needed.isdisjoint(who.roles):
        raise denied(who, type(message).__name__, needed)
    if isinstance(message, PeerCompare | PeerYield | PeerFetch) and who.name not in (
        "",
        message.node,
    ):
        raise RemoteError(Reason.NOT_ALLOWED, f"{who} speaks for node {message.node}")


def check_peer(who: Principal, peer: str) -> None:
    """Raises RemoteError(NOT_ALLOWED) unless this key is that of the node's peer."""
    if who.name not in ("", peer):
        raise RemoteError(Reason.NOT_ALLOWED, f"{who} speaks on the link of node {peer}")


def check_hello(who: Principal, hello: ProducerHello) -> None:
    """Raises RemoteError(NOT_ALLOWED) unless this key may submit under the hello's name.

    An operator may resume any name, which never takes it from a producer that lives.
    """
    if who.may_produce(hello.producer) or (hello.resume and KeyRole.OPERATOR in who.roles):
        return
    allowed = ", ".join(who.producers) or "none"
    raise RemoteError(
        Reason.NOT_ALLOWED,
        f"{who} may not submit as producer {hello.producer[:32]}; its producer names: {allowed}",
    )


def denied(who: Principal, what: str, needed: Roles) -> RemoteError:
    """The refusal of something that this key has no role for."""
    have = " and ".join(sorted(role.value for role in who.roles))
    want = " or ".join(sorted(role.value for role in needed))
    return RemoteError(
        Reason.NOT_ALLOWED, f"{who} has the role {have}; {what} needs the role {want}"
    )
