"""Where throughput stops growing: the offered rate doubles until it does, or until answers are too slow."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from bench.fleet.stretch import Stretch

LEAST_GROWTH = 1.1
"""A step that raises throughput by less than a tenth has not raised it: figures of a busy machine move by that much."""
FULL = 0.9
"""A process that runs, or waits for a processor, this much of the time can do no more: it is one thread but for its
libraries."""
NO_ROOM = ("QUEUE_FULL", "AGENT_OVER_QUOTA", "UPLOADS_BUSY", "STORE_FULL")
"""Refusals that say that too much waits; others say that a delta was not wanted."""
MOST_STEPS = 10


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class KneeRule:
    """How the knee is looked for.

    Attributes:
        limit_seconds: p99 of polls and uploads above which a step is too slow.
        settle_seconds: Time after each change before figures are taken.
        step_seconds: Time over which they are.
        steps: At most so many.
    """

    limit_seconds: float = 1.0
    settle_seconds: float = 5.0
    step_seconds: float = 15.0
    steps: int = MOST_STEPS


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Knee:
    """Where it is: index of the last step that paid, why the next one did not, and what was full then."""

    index: int
    why: str
    limit: str


def too_slow(step: Stretch, rule: KneeRule) -> str:
    """Return which p99 of a step is above the limit, in words; empty for none."""
    for what in ("polls", "uploads"):
        p99 = step.quantile(what, 0.99)
        if p99 is not None and p99 > rule.limit_seconds:
            return f"p99 of {what} is {p99:.2f} s, above {rule.limit_seconds:g} s"
    return ""


def ends_at(steps: Sequence[Stretch], rule: KneeRule) -> Knee | None:
    """Return the knee once the last step shows it; None to go on."""
    slow = too_slow(steps[-1], rule)
    best = max((step.per_second("acknowledged") for step in steps[:-1]), default=0.0)
    last = steps[-1].per_second("acknowledged")
    if slow:
        why = slow
    elif last < LEAST_GROWTH * best:
        why = f"{last:.1f} deltas/s where {best:.1f} were reached before"
    else:
        return None
    return Knee(index=max(len(steps) - 2, 0), why=why, limit=limit_of(steps[-1]))


def limit_of(step: Stretch) -> str:
    """Return what was full during a step, in words."""
    full = []
    for name in step.after.usages:
        fullness, load = step.fullness(name), step.load(name)
        if fullness is not None and fullness >= FULL:
            full.append(f"the {name}'s processor (it had {load:.2f} of one and wanted {fullness:.2f})")
    if step.generator_load >= FULL:
        full.append(f"the busiest process that drives agents ({step.generator_load:.2f}): start more with --processes")
    refused = sum(step.figures.refusals[reason] for reason in NO_ROOM)
    if step.figures.counts["paced_waits"] or refused:
        full.append(
            f"the queue ({step.after.queued} deltas wait; {step.figures.counts['paced_waits']} times the coordinator "
            f"asked agents to wait, {refused} times it refused)"
        )
    loads = [step.load(name) or 0.0 for name in step.after.usages]
    return "; ".join(full) or f"no single process (loads {', '.join(f'{load:.2f}' for load in loads)}): the machine"
