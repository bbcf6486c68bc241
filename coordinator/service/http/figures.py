"""What the page computes over a fleet: staleness, fairness and tiers. Pure functions from values to plain JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from coordinator.domain import AgentRecord, Contribution
from coordinator.fairness import gini, jain_index, lorenz
from coordinator.service.http.history import VersionBrief
from coordinator.staleness import STALENESS_CLASSES, staleness_class

ACTIVE_SECONDS = 86_400.0
"""Whoever called within a day takes part; fairness is about them."""
RECENT_SECONDS = 3_600.0
"""Whoever called within an hour is there right now, whatever its speed."""

MAX_TIERS = 8
"""Tiers beyond the most populous are shown together."""
_CURVE_POINTS = 64


def staleness(versions: Iterable[VersionBrief]) -> list[dict[str, Any]]:
    """Return how stale the merged deltas were: per class their number, and their share of the weight (0 to 1)."""
    counts = dict.fromkeys(STALENESS_CLASSES, 0)
    weights = dict.fromkeys(counts, 0.0)
    for version in versions:
        for part in version.parts:
            name = staleness_class(part.staleness_versions)
            counts[name] += 1
            weights[name] += part.weight
    total = sum(weights.values())
    return [
        {"staleness": name, "deltas": counts[name], "weight_share": weights[name] / total if total else 0.0}
        for name in counts
    ]


def active(agents: Iterable[AgentRecord], *, now: float, seconds: float = ACTIVE_SECONDS) -> list[AgentRecord]:
    """Return the agents that called within `seconds` and are not revoked."""
    return [agent for agent in agents if not agent.revoked and now - agent.last_seen_at <= seconds]


def fairness(agents: Sequence[AgentRecord], contributions: Mapping[str, Contribution]) -> dict[str, Any]:
    """Return how evenly merged deltas and weight are shared among `agents`, those who got nothing included."""
    shares = [contributions.get(agent.agent_id, Contribution()) for agent in agents]
    return {
        "agents": len(agents),
        "unserved": sum(share.merged == 0 for share in shares),
        "merged": _evenness([float(share.merged) for share in shares]),
        "weight": _evenness([share.weight for share in shares]),
    }


def _evenness(values: Sequence[float]) -> dict[str, Any]:
    curve = lorenz(values)
    last = len(curve) - 1
    chosen = sorted({round(last * i / _CURVE_POINTS) for i in range(_CURVE_POINTS + 1)})
    return {
        "jain": jain_index(values),
        "gini": gini(values),
        "lorenz": [[round(x, 4), round(y, 4)] for x, y in (curve[i] for i in chosen)],
    }


def tiers(agents: Sequence[AgentRecord], contributions: Mapping[str, Contribution]) -> list[dict[str, Any]]:
    """Return per speed tier its agents and its share of agents and of weight (0 to 1), most agents first.

    Tiers beyond the `MAX_TIERS` most populous come last, as one with `"rest": true`.
    """
    members: dict[str, list[Contribution]] = {}
    for agent in agents:
        members.setdefault(agent.tier, []).append(contributions.get(agent.agent_id, Contribution()))
    ordered = sorted(members, key=lambda tier: (-len(members[tier]), tier))
    groups = [(tier, False, members[tier]) for tier in ordered[:MAX_TIERS]]
    if rest := [share for tier in ordered[MAX_TIERS:] for share in members[tier]]:
        groups.append(("", True, rest))
    total = sum(share.weight for _, _, shares in groups for share in shares)
    return [
        {
            "tier": tier,
            "rest": is_rest,
            "agents": len(shares),
            "merged": sum(share.merged for share in shares),
            "agent_share": len(shares) / len(agents),
            "weight_share": sum(share.weight for share in shares) / total if total else 0.0,
        }
        for tier, is_rest, shares in groups
    ]
