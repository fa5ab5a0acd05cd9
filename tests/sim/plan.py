"""What a seed decides before the world starts: the level, the load, the faults and the operators.

Each seed enables only some kinds of faults, and some of them often ("swarm"): a world in which
everything happens all the time never gets far into any one story. A seed may follow a theme: some
states last long enough to go on from them only where nodes seldom die.
"""

from __future__ import annotations

from random import Random

import msgspec

from interlock.shared.config import AckLevel

FAULTS = (
    "kill",
    "power cut",
    "freeze",
    "kill at an effect",
    "power cut at an effect",
    "freeze at an effect",
    "link cut",
    "link cut one way",
    "control cut",
    "partition",
    "connection breaks",
    "slow disk",
    "disk full",
    "sync fails",
    "clock step",
    "producer dies",
    "client connection breaks",
    "disk lost",
    "bit rot",
    "one after the other",
    "control slow",
    "node stopped in order",
)


QUIET = ("connection breaks", "producer dies", "slow disk", "clock step")  # with stories

# What happens, what hasty operators like to do; the rest of a plan is drawn as ever.
THEMES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "the link is bad": (
        ("link cut", "link cut one way", "connection breaks", "freeze"),
        ("solo", "gate", "switchover", "promote"),
    ),
    "cut off from each other": (
        ("partition", "link cut", "control cut", "kill"),
        ("solo", "gate", "promote", "reinstate"),
    ),
    "one node at a time": (
        ("kill at an effect", "power cut at an effect", "one after the other"),
        ("promote", "solo", "reinstate"),
    ),
    "handing over": (
        ("kill at an effect", "connection breaks", "link cut one way", "one after the other"),
        ("switchover", "demote", "solo", "promote"),
    ),
    "late answers": (
        ("link cut", "control slow", "connection breaks", "disk full"),
        ("solo", "promote", "gate"),
    ),
}


class Plan(msgspec.Struct, frozen=True):
    """One run's settings; times in virtual ms."""

    level: AckLevel
    limits: dict[str, int]
    drain_timeout_ms: int
    poll_ms: int
    sync_us: int
    submit_ms: int
    delay_us: int
    reconnect_ms: int
    fault_ms: int
    fault_every_ms: int
    restart_ms: int
    faults: list[str]
    submitters: int
    raws: int
    readers: int
    messages: int
    careful: bool
    hasty: int  # how many hasty operators
    likes: list[str]  # what they do; empty: each has a taste of its own
    operate_every_ms: int
    gambits: bool  # stories are played, and not much else happens

    @staticmethod
    def draw(rng: Random) -> Plan:
        limits: dict[str, int] = {}
        if rng.random() < 0.3:
            limits["pending_messages"] = rng.choice((3, 10, 30))
        faults = rng.sample(FAULTS, rng.randint(2, 9))
        likes: tuple[str, ...] = ()
        gambits = rng.random() < 0.3
        if gambits:
            faults, likes = rng.sample(QUIET, 1), ()
        elif rng.random() < 0.5:
            themed, likes = THEMES[rng.choice(list(THEMES))]
            faults = list(themed)
        elif rng.random() < 0.7:
            faults.append("kill at an effect")
        return Plan(
            rng.choice(list(AckLevel)),
            limits,
            rng.choice((500, 2_000, 5_000)),
            rng.choice((25, 50)),
            rng.choice((300, 1_000, 20_000, 150_000)),
            rng.choice((100, 300, 600)),
            rng.choice((50, 200, 2_000, 30_000)),
            rng.choice((2, 50, 500)),
            rng.choice((8_000, 15_000, 25_000)) + (15_000 if gambits else 0),
            5_000 if gambits else rng.choice((150, 400, 1_000)),
            100 if gambits else rng.choice((100, 600, 2_500, 8_000)),
            faults,
            rng.randint(1, 2),
            rng.randint(0, 1),
            rng.randint(1, 2),
            rng.choice((10, 30, 60)),
            not gambits and rng.random() < 0.8,
            0 if gambits else rng.choice((0, 1, 1, 2)),
            list(likes),
            rng.choice((150, 400, 1_500)),
            gambits,
        )
