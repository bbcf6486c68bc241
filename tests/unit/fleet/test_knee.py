"""The knee is where a doubled rate does not pay, or where answers become slow; and what was full is named."""

from __future__ import annotations

from collections import Counter

from bench.fleet.figures import Figures
from bench.fleet.knee import KneeRule, ends_at, limit_of
from bench.fleet.machine import Usage
from bench.fleet.stretch import Look, Stretch

RULE = KneeRule(limit_seconds=1.0)


def step(acknowledged: int, *, factor: float = 1.0, poll_seconds: float = 0.01, cpu_seconds: float = 1.0) -> Stretch:
    after = Figures(counts=Counter(acknowledged=acknowledged))
    after.took("polls", poll_seconds)
    return Stretch(factor=factor, before=look(0.0, Figures(), 0.0), after=look(10.0, after, cpu_seconds))


def look(at: float, figures: Figures, cpu_seconds: float) -> Look:
    usage = Usage(cpu_seconds=cpu_seconds, waited_seconds=0.0, resident_bytes=0)
    return Look(at=at, figures=figures, busiest_seconds=0.0, usages={"coordinator": usage}, queued=0)


def test_a_rate_that_grows_has_no_knee_yet() -> None:
    assert ends_at([step(100)], RULE) is None
    assert ends_at([step(100), step(190)], RULE) is None


def test_the_knee_is_the_last_step_that_paid() -> None:
    knee = ends_at([step(100), step(190), step(195, cpu_seconds=9.5)], RULE)
    assert knee is not None
    assert knee.index == 1
    assert "19.5 deltas/s" in knee.why
    assert "coordinator" in knee.limit


def test_slow_answers_end_the_search_too() -> None:
    knee = ends_at([step(100), step(190, poll_seconds=2.0)], RULE)
    assert knee is not None
    assert knee.index == 0
    assert "p99 of polls" in knee.why


def test_a_first_step_that_is_too_slow_is_the_knee_itself() -> None:
    knee = ends_at([step(100, poll_seconds=2.0)], RULE)
    assert knee is not None
    assert knee.index == 0


def test_what_no_process_explains_is_the_machine() -> None:
    assert limit_of(step(100)) == "no single process (loads 0.10): the machine"


def test_a_stretch_counts_versions_made_within_it() -> None:
    stretch = step(100)
    assert stretch.per_second("acknowledged") == 10.0
    assert stretch.load("coordinator") == 0.1
    assert stretch.load("worker") is None
    assert (
        stretch.merged_per_second(
            {("f", 1): 5.0, ("f", 2): 10.0, ("g", 1): -1.0}, {("f", 1): 40, ("f", 2): 40, ("g", 1): 40}
        )
        == 4.0
    )
