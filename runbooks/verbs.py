"""The verbs of a runbook: the only things that a step can say. Shapes alone.

The language is closed: an unknown verb, field or value is an error with file and line. There is no
shell in it; what a drill may break is in `FaultKind`, what it may do is in `Do`.
"""

from __future__ import annotations

from enum import Enum
from typing import Annotated

import msgspec

Seconds = Annotated[float, msgspec.Meta(gt=0, le=3_600)]
Line = Annotated[str, msgspec.Meta(min_length=1, max_length=500)]


class Mode(Enum):
    """How a runbook is executed."""

    GUIDED = "guided"  # on the live pair: stops at each action, and a person confirms
    DRILL = "drill"  # on a pair that is there for it: faults are made, confirmations answered
    REHEARSE = "rehearse"  # on the live pair: every probe and preflight, no action


class Who(Enum):
    """Which node a step is about. `old` led when the run began, or led last; `new` is the other.
    `leader` is whoever leads now, `standby` the other one."""

    OLD = "old"
    NEW = "new"
    LEADER = "leader"
    STANDBY = "standby"


class Do(Enum):
    """What an action does: an operation of the control socket, or a thing that a person does by
    hand and a drill by itself (`BY_HAND`)."""

    SWITCHOVER = "switchover"
    PROMOTE = "promote"
    DEMOTE = "demote"
    SOLO = "solo"
    GATE = "gate"
    REINSTATE = "reinstate"
    PAUSE = "pause"
    RESUME = "resume"
    SHUTDOWN = "shutdown"
    EXPORT = "export"  # the newest quarantine entry
    RESUBMIT = "resubmit"  # marks it as submitted again
    DISCARD = "discard"
    START = "start"
    STOP = "stop"
    REPAIR = "repair"
    ROTATE_KEY = "rotate-key"  # the node's next key is made, and allowed beside the present one
    ACTIVATE_KEY = "activate-key"  # the node uses it
    FINISH_KEY = "finish-key"  # the old one is allowed no more
    REVOKE_KEY = "revoke-key"  # the stolen one
    RELOAD_KEYS = "reload-keys"  # both nodes read their lists now


OF_KEYS = frozenset({Do.ROTATE_KEY, Do.ACTIVATE_KEY, Do.FINISH_KEY, Do.REVOKE_KEY, Do.RELOAD_KEYS})
BY_HAND = frozenset({Do.START, Do.STOP, Do.REPAIR, Do.EXPORT}) | OF_KEYS


class FaultKind(Enum):
    """What a drill breaks. Each is undone at its end, whatever happened."""

    KILL = "kill"  # SIGKILL
    FREEZE = "freeze"  # SIGSTOP
    THAW = "thaw"
    CUT_LINK = "cut-link"  # nothing passes between the nodes any more; control does
    MEND_LINK = "mend-link"
    WIPE = "wipe"  # the data directory of a killed node is gone
    DAMAGE = "damage"  # bytes in the middle of a killed node's journal are flipped
    FILL_DISK = "fill-disk"
    FREE_DISK = "free-disk"
    HOLD_CONSUMER = "hold-consumer"  # a consumer that reads no more
    FLOOD = "flood"  # producers that submit as fast as they can
    CALM = "calm"  # and stop
    STEP_CLOCK = "step-clock"  # one node's wall clock jumps
    STEAL_KEY = "steal-key"  # somebody reads and submits with a key that is not theirs


class ProbeMode(Enum):
    """When a predicate counts as holding."""

    EDGE = "edge"  # once, within the time
    STEADY = "steady"  # within the time, and from then on for `hold` seconds
    CONTINUOUS = "continuous"  # at every look for `within` seconds


class Probe(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A predicate: all conditions of `expect`. `steady`: it belongs to the steady state, which is
    probed before anything is done and again at the end. One that is not `fatal` does not end the
    run: a person is told, and a drill is a FAIL at its end."""

    expect: Annotated[list[Line], msgspec.Meta(min_length=1)]
    within: Seconds
    mode: ProbeMode = ProbeMode.EDGE
    hold: Seconds | None = None
    fatal: bool = True
    steady: bool = False
    drill_only: bool = False
    branch: str = ""
    text: str = ""


class Rollback(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What puts an action right again at the end, if the conditions of `when` hold then."""

    do: Do
    node: Who
    when: Annotated[list[Line], msgspec.Meta(min_length=1)]


class Action(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Something that is done. `expect`: `done`, or `refused` where the runbook shows that a node
    does not do it, `guard` then being the guard that fails. `drill_only`: it makes the situation
    that a live pair is in already."""

    do: Do
    node: Who
    within: Seconds
    destructive: bool = False
    confirm: Who | None = None
    on_unknown: str = ""
    options: dict[str, bool | int] = {}
    expect: str = "done"
    guard: str = ""
    rollback: Rollback | None = None
    drill_only: bool = False
    branch: str = ""
    text: str = ""


class Fault(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Something that a drill breaks. `by_ms`: how far a clock steps."""

    fault: FaultKind
    node: Who | None = None
    by_ms: int = 0
    branch: str = ""
    text: str = ""


class Decide(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A question. Steps that name a branch are taken only if it was chosen; a drill takes
    `drill`."""

    question: Line
    branches: Annotated[dict[str, Line], msgspec.Meta(min_length=2)]
    drill: str


class Note(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Something to know at this point; it goes into the timeline."""

    text: Line
    branch: str = ""


Verb = Probe | Action | Fault | Decide | Note
VERBS: dict[str, type[Verb]] = {
    "probe": Probe,
    "action": Action,
    "fault": Fault,
    "decide": Decide,
    "note": Note,
}
