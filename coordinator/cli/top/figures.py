"""The figures of `alignfed top`: arithmetic over what the coordinator answered."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence

from coordinator.cli.operator_views import AgentView, VersionView
from coordinator.domain import VersionKind
from coordinator.fairness import gini, jain_index
from coordinator.staleness import STALENESS_CLASSES, staleness_class

RATE_SECONDS = 600.0
"""Merges per minute are an average over so long, or over the federation's life while it is younger."""

ACTIVE_SECONDS = 86_400.0
"""An agent is active when it called within a day, as in the metrics."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Fairness:
    """How evenly merges and weight are shared over the active agents, those with nothing included."""

    active: int
    unserved: int
    merges_jain: float
    merges_gini: float
    weight_jain: float
    weight_gini: float


def merges_per_minute(versions: Sequence[VersionView], *, created_at: float, now: float) -> float:
    """Return merges per minute.

    Args:
        versions: The newest versions, newest first; when all are younger than the window, they are all there is to
            count and their span is the window.
        created_at: When the federation was created, Unix seconds.
        now: Unix seconds.
    """
    recent = [version for version in versions if now - version.created_at <= RATE_SECONDS]
    merges = sum(version.kind is VersionKind.MERGE for version in recent)
    span_seconds = min(RATE_SECONDS, now - created_at)
    if recent and len(recent) == len(versions) and versions[-1].id.number > 0:
        span_seconds = min(span_seconds, now - versions[-1].created_at)
    return 60.0 * merges / max(span_seconds, 1.0)


def staleness_counts(staleness: Sequence[int]) -> list[tuple[str, int]]:
    """Return deltas per class of staleness, freshest first."""
    counts = Counter(map(staleness_class, staleness))
    return [(name, counts[name]) for name in STALENESS_CLASSES]


def fairness(agents: Sequence[AgentView], *, now: float) -> Fairness:
    """Return how evenly the active agents are served; revoked agents do not count."""
    active = [view for view in agents if not view.agent.revoked and now - view.agent.last_seen_at <= ACTIVE_SECONDS]
    merged = [float(view.contribution.merged) for view in active]
    weight = [view.contribution.weight for view in active]
    return Fairness(
        active=len(active),
        unserved=merged.count(0.0),
        merges_jain=jain_index(merged),
        merges_gini=gini(merged),
        weight_jain=jain_index(weight),
        weight_gini=gini(weight),
    )


def weight_shares(agents: Sequence[AgentView]) -> dict[str, float]:
    """Return each agent's share of all weight merged so far, by agent id; zeros while nothing is merged."""
    total = sum(view.contribution.weight for view in agents)
    return {view.agent.agent_id: view.contribution.weight / total if total else 0.0 for view in agents}
