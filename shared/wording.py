"""Operations in the words in which they are typed and told, wherever they are shown. Pure."""

from __future__ import annotations

from .operations import Operation, Request, Risk


def duration_text(ms: float) -> str:
    """A duration in the largest unit that it is a whole number of: `10m`, `90s`, `1500ms`."""
    for unit, size in (("h", 3_600_000), ("m", 60_000), ("s", 1_000)):
        if ms >= size and ms % size == 0:
            return f"{ms // size:.0f}{unit}"
    return f"{ms:.0f}ms"


def request_text(request: Request) -> str:
    """The operation as it is typed on a command line: `promote b --solo`."""
    words = [request.operation.value, request.node]
    if request.operation in (Operation.DISCARD, Operation.RESUBMIT):
        words = ["quarantine", *words, request.entry]
    flags = (
        ("--solo", request.solo),
        ("--accept-loss", request.accept_loss),
        ("--reseed", request.reseed),
    )
    words += [flag for flag, on in flags if on]
    if request.for_ms:
        words.append(f"--for {duration_text(request.for_ms)}")
    return " ".join(words)


def risk_text(risk: Risk) -> str:
    """`lost: seq 91 to 100, 10 messages (fills 3, orders 7)`."""
    by_name = ", ".join(f"{name} {number:,}" for name, number in sorted(risk.producers.items()))
    return (
        f"{risk.what}: seq {risk.first_seq:,} to {risk.last_seq:,}, {risk.messages:,} messages "
        f"({by_name or 'producers not known here'})"
    )
