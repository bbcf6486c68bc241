"""What a local run has shown: figures from merge records, agents and held-out losses. Pure."""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence

from coordinator.cli.operator_views import VersionView
from coordinator.domain import MergedDelta
from coordinator.fairness import gini, jain_index


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class DomainLoss:
    """Mean held-out loss of one domain, in nats per token, on the same tokens for both."""

    domain: str
    tokens: int
    base: float
    final: float

    @property
    def change(self) -> float:
        """Final minus base: negative is better."""
        return self.final - self.base

    @property
    def improved(self) -> bool:
        """Whether the loss went down."""
        return self.final < self.base


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class VersionLoss:
    """Held-out loss per domain of one version's served adapter, in nats per token, and its calibration loss."""

    number: int
    held_out: Mapping[str, float]
    calibration: float | None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class AgentShare:
    """One agent's part: deltas merged and rejected, share of the aggregation weight, mean staleness in versions."""

    agent_id: str
    domain: str
    slowdown: float
    merged: int
    rejected: int
    weight_share: float
    mean_staleness_versions: float | None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Fairness:
    """Jain's index and Gini coefficient over all agents, zeros included: of merged deltas and of weight."""

    merges_jain: float
    merges_gini: float
    weight_jain: float
    weight_gini: float


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Staleness:
    """Staleness of every merged delta, in versions; `counts` maps staleness to deltas."""

    mean: float
    largest: int
    counts: Mapping[int, int]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What the run took: seconds per phase (this command only, not earlier ones of a resumed run) and peak memory."""

    seconds: Mapping[str, float]
    peak_memory_bytes: int

    @property
    def total_seconds(self) -> float:
        """All phases together."""
        return sum(self.seconds.values())


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Everything a run reports."""

    federation: str
    model: str
    final_version: int
    serves_average: bool
    deltas_merged: int
    domains: tuple[DomainLoss, ...]
    versions: tuple[VersionLoss, ...]
    agents: tuple[AgentShare, ...]
    fairness: Fairness
    staleness: Staleness
    cost: Cost

    @property
    def worse(self) -> tuple[DomainLoss, ...]:
        """The domains whose held-out loss did not go down."""
        return tuple(domain for domain in self.domains if not domain.improved)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class AgentSetup:
    """How an agent was started: its domain and how many times slower than the machine it trains."""

    agent_id: str
    domain: str
    slowdown: float


def agent_shares(
    setups: Sequence[AgentSetup], rejected: Mapping[str, int], versions: Sequence[VersionView]
) -> tuple[AgentShare, ...]:
    """Return each agent's part, zeros for an agent that is in no merge record.

    Args:
        setups: The fleet, in the order wanted.
        rejected: Deltas rejected by agent; those without any may be absent.
        versions: With their merge records.
    """
    merged = merged_by_agent(versions)
    weights = {agent: math.fsum(delta.weight for delta in deltas) for agent, deltas in merged.items()}
    total = math.fsum(weights.values())
    shares = []
    for setup in setups:
        deltas = merged.get(setup.agent_id, [])
        staleness = [delta.staleness_versions for delta in deltas]
        shares.append(
            AgentShare(
                agent_id=setup.agent_id,
                domain=setup.domain,
                slowdown=setup.slowdown,
                merged=len(deltas),
                rejected=rejected.get(setup.agent_id, 0),
                weight_share=weights.get(setup.agent_id, 0.0) / total if total else 0.0,
                mean_staleness_versions=statistics.fmean(staleness) if staleness else None,
            )
        )
    return tuple(shares)


def fairness_of(shares: Sequence[AgentShare]) -> Fairness:
    """Return how evenly merges and weight are spread over the agents."""
    merged, weight = [share.merged for share in shares], [share.weight_share for share in shares]
    return Fairness(
        merges_jain=jain_index(merged),
        merges_gini=gini(merged),
        weight_jain=jain_index(weight),
        weight_gini=gini(weight),
    )


def staleness_of(versions: Sequence[VersionView]) -> Staleness:
    """Return how stale the merged deltas were; zeros when nothing was merged."""
    values = [delta.staleness_versions for deltas in merged_by_agent(versions).values() for delta in deltas]
    return Staleness(
        mean=statistics.fmean(values) if values else 0.0,
        largest=max(values, default=0),
        counts=dict(sorted(Counter(values).items())),
    )


def merged_by_agent(versions: Sequence[VersionView]) -> dict[str, list[MergedDelta]]:
    """Return every merged delta by agent, from versions with their merge records."""
    found: dict[str, list[MergedDelta]] = {}
    for version in versions:
        for delta in version.merge.deltas if version.merge is not None else ():
            found.setdefault(delta.agent_id, []).append(delta)
    return found
