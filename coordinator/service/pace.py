"""How full a federation's queue is, and what follows for its agents: pure functions of the plan and of counts.

More deltas in the queue than are merged soon help nobody: each waits, grows stale, and is rejected in the end when its
base version is forgotten before its turn. So agents are asked to pause long before the queue is full.
"""

from __future__ import annotations

import dataclasses

from alignfed.plan import FederationPlan
from coordinator.domain import Head

SHORTEST_SECONDS = 2.0
LONGEST_SECONDS = 300.0
"""Bounds of every hint: a fleet that was asked to wait notices within minutes that merging goes on."""
UNKNOWN_SECONDS = 15.0
"""The hint while nobody knows how fast deltas are merged: nothing was merged lately."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """Deltas that wait to be merged, and how many per second were merged lately; None for unknown."""

    queued: int = 0
    merged_per_second: float | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """How many deltas may be in the store unmerged.

    Attributes:
        places: Of all agents together.
        most_of_one: Of one agent, however empty the queue is.
    """

    places: int
    most_of_one: int

    @classmethod
    def of(
        cls, plan: FederationPlan, *, payload_bytes: int, agent_deltas: int, agent_bytes: int, all_bytes: int
    ) -> Quota:
        """Return the quota of a federation whose deltas have `payload_bytes`; never fewer than one merge takes."""
        least = plan.buffer.size
        return cls(
            places=max(least, min(plan.limits.max_queue_deltas, all_bytes // payload_bytes)),
            most_of_one=max(least, min(agent_deltas, agent_bytes // payload_bytes)),
        )

    def share(self, held_by_all: int, *, least: int) -> int:
        """Return how many deltas one agent may have while all agents have `held_by_all`.

        As many as are free, so that one greedy agent stops at half of the queue, two at a third each, and whoever has
        none finds room; and always `least`, the deltas of one merge, so that a lone agent can fill one.

        Source: dynamic thresholds for shared buffers, Choudhury and Hahne 1998, with a factor of one.
        """
        return min(self.most_of_one, max(least, self.places - held_by_all))


def comfortable(plan: FederationPlan, quota: Quota) -> int:
    """Return how many deltas may wait before agents are asked to pause.

    What waits longer than a quarter of the retained versions is stale; a queue above its half is about to refuse.
    """
    soon = plan.buffer.size * max(2, plan.retention.versions // 4)
    return min(soon, quota.places // 2)


def come_back_seconds(level: Level, plan: FederationPlan, quota: Quota) -> float:
    """Return how long an agent should not begin another delta; 0 for not at all."""
    excess = level.queued - comfortable(plan, quota)
    return 0.0 if excess <= 0 else _seconds_to_merge(excess, level)


def refused_seconds(level: Level, plan: FederationPlan) -> float:
    """Return after how long one that found no room should ask again: when some merges have made room."""
    return _seconds_to_merge(max(2 * plan.buffer.size, level.queued // 10), level)


def oldest_wanted(head: Head, level: Level, plan: FederationPlan) -> int:
    """Return the smallest base version number of a delta that is still retained when its turn comes.

    It waits behind `level.queued` others, and every merge of them forgets one version.
    """
    head_then = head.id.number + level.queued // plan.buffer.size
    return min(head.id.number, max(head.oldest_retained, head_then - plan.retention.versions + 1))


def _seconds_to_merge(deltas: int, level: Level) -> float:
    if not level.merged_per_second:
        return UNKNOWN_SECONDS
    return min(max(deltas / level.merged_per_second, SHORTEST_SECONDS), LONGEST_SECONDS)
