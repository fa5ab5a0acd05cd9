"""What `interlock bench` measures, step by step, within a given time.

Decides the steps and their order; how long each takes is its `Pace`. A step that fails is noted and
the others go on: a report with a hole is better than none.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime

import msgspec

from ..shared.config import AckLevel
from ..shared.errors import InterlockError
from ..shared.idling import Idle
from . import growth, past, switchover
from .collect import Span
from .contenders import CFloor, Interlock, PyFloor, one_in_flight
from .contest import Contender, hold
from .machine import this_machine
from .pair import Nodes
from .peer_nats import Nats
from .peer_postgres import Postgres
from .peer_redis import Redis
from .report import Report
from .result import RunResult
from .run import Watch, run
from .scenario import Client, Load, Scenario, Setup
from .targets import ALONE, BATCHES, CALM, IDLE, OPEN, PAIR, SDK, SINGLE, judge

SIZE = 128
BATCH = 256

Tell = Callable[[str], None]


class Pace(msgspec.Struct, frozen=True):
    """How long the steps take. `open_s`: of the open loop; `lengths`: of the log."""

    rounds: int = 3
    seconds: float = 2.0
    open_s: float = 60.0
    lengths: tuple[int, ...] = (100_000, 1_000_000, 10_000_000)
    producers: tuple[int, ...] = ()
    sizes: tuple[int, ...] = ()
    switchovers: int = 5
    promotions: int = 3


ESSENTIAL = Pace()  # about six minutes
THOROUGH = Pace(
    rounds=7,
    seconds=5.0,
    producers=(1, 10, 100, 1_000),
    sizes=(64, 256, 1_024, 4_096),
    switchovers=100,
    promotions=100,
)


class Suite:
    """One run of everything. `tell` hears what is measured next."""

    def __init__(self, pace: Pace, tell: Tell, level: AckLevel = AckLevel.WRITTEN) -> None:
        self._pace, self._tell, self._level = pace, tell, level
        self.report = Report(this_machine(), datetime.now(UTC).isoformat(timespec="seconds"))

    def essential(self) -> Report:
        """All that the targets are about."""
        return self._all(
            {
                ALONE: self._alone,
                BATCHES: self._batches,
                SDK: self._sdk,
                SINGLE: self._single,
                OPEN: self._open,
                "long log": self._long_log,
                "growth": self._growth,
                "failover": self._failover,
                IDLE: self._idle,
            }
        )

    def peers(self) -> Report:
        """The pair beside all that Debian has."""
        report = self._all({ALONE: self._alone_of_all, BATCHES: self._batches_of_all})
        report.targets = [target for target in report.targets if target.met is not None]
        return report

    def _all(self, steps: dict[str, Callable[[], None]]) -> Report:
        begin = time.monotonic()
        for name, step in steps.items():
            try:
                step()
            except InterlockError as error:
                self.report.failed[name] = str(error)
                self._tell(f"{name}: {error}")
        self.report.seconds = round(time.monotonic() - begin, 1)
        self.report.targets = judge(self.report)
        return self.report

    # Side by side ----------------------------------------------------------------------------

    def _contest(self, title: str, contenders: list[Contender]) -> None:
        pace = self._pace
        found = hold(title, contenders, pace.rounds, pace.seconds, self._tell)
        self.report.contests[title] = found

    def _pair_alone(self) -> Interlock:
        return Interlock(PAIR, self._at_level(one_in_flight(SIZE)))

    def _with_keys(self) -> Interlock:
        """The same, with CURVE on all sockets: what it costs, beside the floor that has none."""
        scenario = msgspec.structs.replace(one_in_flight(SIZE), keys=True)
        return Interlock(f"{PAIR}, keys", self._at_level(scenario))

    def _pair_batches(self) -> Interlock:
        scenario = growth.saturated(SIZE, self._pace.seconds)
        return Interlock(PAIR, self._at_level(msgspec.structs.replace(scenario, drains=0)))

    def _at_level(self, scenario: Scenario) -> Scenario:
        return msgspec.structs.replace(scenario, ack_level=self._level)

    def _alone(self) -> None:
        redis = Redis(self._level, SIZE)
        floors: list[Contender] = [CFloor(SIZE), PyFloor(SIZE)]
        self._contest(ALONE, [self._pair_alone(), *floors, redis, self._with_keys()])

    def _batches(self) -> None:
        self._contest(BATCHES, [self._pair_batches(), Redis(self._level, SIZE, BATCH)])

    def _alone_of_all(self) -> None:
        level = self._level
        peers: list[Contender] = [Redis(level, SIZE), Nats(level, SIZE), Postgres(level, SIZE)]
        if level is not AckLevel.SYNCED:
            peers.append(Postgres(AckLevel.SYNCED, SIZE))
        floors: list[Contender] = [CFloor(SIZE), PyFloor(SIZE)]
        self._contest(ALONE, [self._pair_alone(), *floors, *peers, self._with_keys()])

    def _batches_of_all(self) -> None:
        level = self._level
        peers: list[Contender] = [Redis(level, SIZE, BATCH), Nats(level, SIZE, BATCH)]
        peers.append(Postgres(level, SIZE, BATCH))
        if level is not AckLevel.SYNCED:
            peers.append(Postgres(AckLevel.SYNCED, SIZE, BATCH))
        self._contest(BATCHES, [self._pair_batches(), *peers])

    # The pair by itself ----------------------------------------------------------------------

    def _median(self, name: str, scenario: Scenario) -> RunResult:
        """The run of the median rate, of as many as a contest has rounds."""
        runs = []
        for number in range(1, self._pace.rounds + 1):
            self._tell(f"{name}, run {number} of {self._pace.rounds}")
            runs.append(run(self._at_level(scenario)))
        wanted = statistics.median_low(one.per_s for one in runs)
        found = next(one for one in runs if one.per_s == wanted)
        self.report.runs[name] = found
        return found

    def _sdk(self) -> None:
        self._median(SDK, Scenario(size=SIZE, seconds=self._pace.seconds))

    def _single(self) -> None:
        scenario = Scenario(
            client=Client.RAW,
            size=SIZE,
            record=1,
            window=256,
            consumers=0,
            seconds=self._pace.seconds,
        )
        self._median(SINGLE, scenario)

    def _open(self) -> None:
        """At half of what the SDK was seen to do, end to end; and, for comparison, at a quarter."""
        if SDK not in self.report.runs:
            raise InterlockError("needs the rate of the SDK, which was not measured")
        full = self.report.runs[SDK]
        rate = round(min(full.per_s, *(one.per_s for one in full.deliveries)) / 2)
        for name, per_s, seconds in (
            (OPEN, rate, self._pace.open_s),
            (CALM, rate // 2, min(10.0, self._pace.open_s)),
        ):
            self._tell(f"open loop at {per_s:,}/s for {seconds:g} s")
            scenario = Scenario(load=Load.OPEN, size=SIZE, rate=per_s, seconds=seconds)
            self.report.runs[name] = run(self._at_level(scenario))

    def _long_log(self) -> None:
        """Grows one log, and looks at what its length costs on the way and afterwards."""
        pace, report = self._pace, self.report
        with Nodes(setup=Setup(self._level, keys=False)) as nodes:
            nodes.start_both()
            series = growth.by_log_length(nodes, pace.lengths, pace.seconds, SIZE, self._tell)
            report.series.append(series)
            for one in series.points[1:]:  # the first one still warms up
                report.memory[one.x] = {
                    "primary": one.primary_rss_mb,
                    "secondary": one.secondary_rss_mb,
                }
            self._tell("restart")
            report.restart = past.restart(nodes)
            self._tell("a late consumer")
            report.late_consumer = past.late_consumer(nodes, 2 * pace.seconds)
            self._tell("a standby that lost its disk")
            report.rejoining = past.rejoining_standby(nodes, 2 * pace.seconds, SIZE)

    def _growth(self) -> None:
        pace, series = self._pace, self.report.series
        series.append(growth.by_consumers((1, 64), pace.seconds, self._tell))
        series.append(growth.by_sleepers((0, 16), pace.seconds, self._tell, pace.rounds))
        if pace.producers:
            series.append(growth.by_producers(pace.producers, pace.seconds, self._tell))
        if pace.sizes:
            series.append(growth.by_size(pace.sizes, pace.seconds, self._tell))

    def _failover(self) -> None:
        pace = self._pace
        self._tell(f"{pace.switchovers} switchovers, {pace.promotions} promotions")
        found = switchover.measure(
            pace.switchovers, pace.promotions, growth.CALM_RATE, SIZE, self._level
        )
        self.report.failover = {
            kind: switchover.summarize(found[kind]) for kind in ("switchovers", "promotions")
        }

    def _idle(self) -> None:
        """Each strategy, of nodes and clients alike: what it gains, and what it costs at rest."""
        alone = self._at_level(one_in_flight(SIZE))
        contenders: list[Contender] = []
        for idle in (Idle.ADAPTIVE, Idle.BLOCK, Idle.SPIN):
            self._tell(f"an idle pair, strategy {idle.value}")
            setup = Setup(self._level, keys=False, idle=idle)
            self.report.idle_cpu[idle.value] = idle_cpu(setup, self._pace.seconds)
            scenario = msgspec.structs.replace(alone, idle=idle, client_idle=idle)
            contenders.append(Interlock(idle.value, scenario))
        # What spinning can gain at all while libzmq's own threads park.
        contenders += [PyFloor(SIZE), PyFloor(SIZE, spins=True)]
        self._contest(IDLE, contenders)


def idle_cpu(setup: Setup, seconds: float) -> float:
    """Cores that both nodes of a pair use that nobody uses."""
    with Nodes(setup=setup) as nodes:
        nodes.start_both()
        begin_ns = time.monotonic_ns() + int(seconds * 1e9 / 2)  # what a start leaves to do
        span = Span(begin_ns, begin_ns + int(seconds * 1e9))
        watch = Watch({name: one.pid for name, one in nodes.processes.items()}, span)
        watch.run()
        return round(sum(cost.cpu for cost in watch.costs(0, nodes).values()), 4)
