"""When to merge what: a pure function of the buffer and the time.

A delta whose merges fail again and again may be what kills the worker: after two failures it merges alone, where it can
harm no other, and after `MAX_ATTEMPTS` it becomes a dead letter.
"""

from __future__ import annotations

import dataclasses

from alignfed.plan import Buffer
from coordinator.domain import QueuedDelta

SUSPECT_ATTEMPTS = 2
"""Failed attempts after which a delta merges alone."""

MAX_ATTEMPTS = 5
"""Failed attempts after which a delta becomes a dead letter."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """A claimed delta and when this worker first saw it, in seconds on its monotonic clock."""

    queued: QueuedDelta
    since_seconds: float


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """Nothing to do before `seconds` have passed, unless a delta arrives; None: not before one arrives."""

    seconds: float | None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Merge:
    """Merge these now; `cause` is `full`, `timeout` or `suspect`."""

    deltas: tuple[QueuedDelta, ...]
    cause: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Bury:
    """Make this delta a dead letter."""

    queued: QueuedDelta


def decide(waiting: tuple[Waiting, ...], buffer: Buffer, *, now_seconds: float, paused: bool) -> Wait | Merge | Bury:
    """Decide what to do with the deltas at hand, oldest first.

    Args:
        waiting: Claimed deltas in queue order.
        buffer: The plan's buffer size K and timeout.
        now_seconds: The worker's monotonic clock.
        paused: Whether an operator has paused merging.

    Source:
        AlignFed, merge when the buffer reaches a count or a timeout; FedBuff, Nguyen et al. 2022, for the count alone.
    """
    for entry in waiting:
        if entry.queued.attempts >= MAX_ATTEMPTS:
            return Bury(queued=entry.queued)
    if paused or not waiting:
        return Wait(seconds=None)
    for entry in waiting:
        if entry.queued.attempts >= SUSPECT_ATTEMPTS:
            return Merge(deltas=(entry.queued,), cause="suspect")
    if len(waiting) >= buffer.size:
        return Merge(deltas=tuple(entry.queued for entry in waiting[: buffer.size]), cause="full")
    waited = now_seconds - min(entry.since_seconds for entry in waiting)
    if waited >= buffer.timeout_seconds:
        return Merge(deltas=tuple(entry.queued for entry in waiting), cause="timeout")
    return Wait(seconds=buffer.timeout_seconds - waited)
