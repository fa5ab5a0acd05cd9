"""What a primary tells of the time that each step takes."""

from __future__ import annotations

from interlock.primary.stages import EVERY_NS, LATELY_NS, REPORT_EVERY_NS, Stages
from interlock.shared.telemetry import StageStatus

US = 1_000


def timed(stages: Stages, start: int, steps: tuple[int, int, int, int]) -> int:
    """Times one record whose steps take so many microseconds; when it was released."""
    intake, write, ack, release = (step * US for step in steps)
    stages.begin(7, start, start + intake)
    written = start + intake + write
    stages.performed(0, start, written)
    stages.performed(6, written + US, written + 2 * US)  # another turn, which releases too little
    acked = written + ack
    stages.performed(7, acked, acked + release)
    return acked + release


def test_each_step_is_told_with_its_percentiles() -> None:
    stages = Stages()
    now = 1_000_000
    for number in range(100):
        now = timed(stages, now, (10, 20, 300 if number < 99 else 5_000, 40)) + EVERY_NS
    assert stages.report(now) == [
        StageStatus("intake", 10, 10, 10),
        StageStatus("replicate+write", 20, 20, 20),
        StageStatus("ack", 300, 5_000, 5_000),
        StageStatus("release", 40, 40, 40),
        StageStatus("rtt", 370, 5_070, 5_070),
    ]


def test_one_record_at_a_time_and_not_too_often() -> None:
    stages = Stages()
    assert stages.is_due(0)
    stages.begin(7, 0, 10)
    assert not stages.is_due(EVERY_NS * 5)
    stages.performed(7, 0, 20)
    assert not stages.is_due(20 + EVERY_NS - 1)
    assert stages.is_due(20 + EVERY_NS)


def test_what_is_old_is_not_told() -> None:
    stages = Stages()
    end = timed(stages, 1_000_000, (10, 20, 300, 40))
    assert stages.report(end + LATELY_NS)
    soon = end + LATELY_NS + REPORT_EVERY_NS
    assert stages.report(soon - 1), "a report is kept for a second"
    assert stages.report(soon) == []
    assert stages.report(end) == [], "it is forgotten"


def test_a_release_in_the_turn_that_wrote_it_waited_for_nobody() -> None:
    stages = Stages()
    stages.begin(7, 0, 10 * US)
    stages.performed(7, 0, 30 * US)
    assert [(stage.name, stage.max_us) for stage in stages.report(0)] == [
        ("intake", 10),
        ("replicate+write", 20),
        ("ack", 0),
        ("release", 0),
        ("rtt", 30),
    ]
