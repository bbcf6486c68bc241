"""One federation as plain JSON, as `/api/v1/federations/NAME` sends it. Pure."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from coordinator.domain import AgentRecord, Contribution, FederationRecord, Head, QueueDepth
from coordinator.service.http.figures import RECENT_SECONDS, active, fairness, staleness, tiers
from coordinator.service.http.history import VERSIONS_SHOWN, VersionBrief
from coordinator.service.http.timeline import lanes

_DIGEST_SHOWN = 12


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What was read of a federation at about `as_of`, in Unix seconds; `versions` newest first."""

    as_of: float
    record: FederationRecord
    head: Head
    depth: QueueDepth
    agents: Sequence[AgentRecord]
    contributions: Mapping[str, Contribution]
    versions: Sequence[VersionBrief]


def federation_view(reading: Reading) -> dict[str, Any]:
    """Return everything the page shows of a federation, but the fleet table. Times are Unix seconds."""
    plan, now = reading.record.plan, reading.as_of
    members = active(reading.agents, now=now)
    return {
        "as_of": now,
        "name": plan.federation,
        "recipe": plan.aggregation.recipe,
        "base_model": plan.base_model.name,
        "buffer_size": plan.buffer.size,
        "created_at": reading.record.created_at,
        "paused": reading.head.paused,
        "head": reading.head.id.number,
        "queue": dataclasses.asdict(reading.depth),
        "agents": {
            "registered": len(reading.agents),
            "recent": len(active(reading.agents, now=now, seconds=RECENT_SECONDS)),
            "active": len(members),
            "revoked": sum(agent.revoked for agent in reading.agents),
        },
        "fairness": fairness(members, reading.contributions),
        "tiers": tiers(members, reading.contributions),
        "staleness": staleness(reading.versions),
        "versions": _versions_view(reading.versions),
        "versions_shown_at_most": VERSIONS_SHOWN,
    }


def _versions_view(versions: Sequence[VersionBrief]) -> list[dict[str, Any]]:
    """Return the versions, oldest first."""
    lane_of = lanes(versions)
    return [_version_view(version, lane=lane_of[version.id.number]) for version in reversed(versions)]


def _version_view(version: VersionBrief, *, lane: int) -> dict[str, Any]:
    behind = [part.staleness_versions for part in version.parts]
    return {
        "number": version.id.number,
        "epoch": version.id.epoch,
        "digest": version.id.digest[:_DIGEST_SHOWN],
        "kind": version.kind.value,
        "parent": version.parent,
        "lane": lane,
        "abandoned": version.abandoned,
        "created_at": version.created_at,
        "recipe": version.recipe,
        "deltas": len(version.parts),
        "agents": len({part.agent_id for part in version.parts}),
        "staleness_mean": sum(behind) / len(behind) if behind else None,
        "staleness_max": max(behind, default=None),
        "loss_before": _finite(version.loss_before),
        "loss": _finite(version.loss),
        "loss_served": _finite(version.loss_served),
    }


def _finite(value: float | None) -> float | None:
    """Return the value unless JSON has no word for it."""
    return value if value is not None and math.isfinite(value) else None
