"""Figures of a whole federation: backlog, head, fairness over active agents. No agent id is ever a label."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Gauge

from coordinator.domain import AgentRecord, Contribution, Head, QueueDepth
from coordinator.fairness import gini, jain_index

ACTIVE_WINDOWS_SECONDS = {"1h": 3_600.0, "1d": 86_400.0}
MAX_TIERS = 8
"""Tiers beyond the eight most populous are shown together as `other`, so that the label set stays closed."""


class FleetMetrics:
    """Gauges about a whole federation, set by the worker that holds its lease and cleared when it loses it."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._gauges: list[Gauge] = []
        self.queue = self._gauge(registry, "queue_deltas", "Deltas accepted and not settled.")
        self.pending = self._gauge(registry, "queue_pending_deltas", "Of those, claimed by the worker.")
        self.oldest = self._gauge(registry, "queue_oldest_timestamp_seconds", "When the oldest was accepted; 0: none.")
        self.dead = self._gauge(registry, "dead_letter_deltas", "Dead letters waiting for an operator.")
        self.version = self._gauge(registry, "global_version", "Number of the head.")
        self.version_time = self._gauge(registry, "global_version_timestamp_seconds", "When the head was published.")
        self.calibration_loss = self._gauge(registry, "calibration_loss", "Judge rows' mean loss of the head.")
        self.active = self._gauge(registry, "active_agents", "Agents seen within the window.", "window")
        self.participation_jain = self._gauge(
            registry, "participation_jain_ratio", "Jain's index of merged deltas over active agents.", "window"
        )
        self.participation_gini = self._gauge(
            registry, "participation_gini_ratio", "Gini coefficient of merged deltas over active agents.", "window"
        )
        self.weight_jain = self._gauge(
            registry, "weight_jain_ratio", "Jain's index of aggregation weight over active agents.", "window"
        )
        self.weight_gini = self._gauge(
            registry, "weight_gini_ratio", "Gini coefficient of aggregation weight over active agents.", "window"
        )
        self.unserved = self._gauge(registry, "unserved_agents_ratio", "Active agents with nothing merged.", "window")
        self.top_share = self._gauge(
            registry, "participation_top1pct_share_ratio", "Share of merged deltas of the most active 1 % (at least 1)."
        )
        self.tier_share = self._gauge(registry, "tier_weight_share_ratio", "Share of weight per speed tier.", "tier")

    def _gauge(self, registry: CollectorRegistry, name: str, text: str, *labels: str) -> Gauge:
        gauge = Gauge(f"alignfed_{name}", text, ["federation", *labels], registry=registry)
        self._gauges.append(gauge)
        return gauge

    def forget(self, federation: str) -> None:
        """Drop a federation's figures: whoever leads it now exports them."""
        for gauge in self._gauges:
            gauge.remove_by_labels({"federation": federation})

    def set_queue(self, federation: str, depth: QueueDepth, head: Head) -> None:
        """Show backlog and head."""
        self.queue.labels(federation).set(depth.queued)
        self.pending.labels(federation).set(depth.pending)
        self.oldest.labels(federation).set(depth.oldest_accepted_at or 0.0)
        self.dead.labels(federation).set(depth.dead)
        self.version.labels(federation).set(head.id.number)

    def set_fairness(
        self, federation: str, agents: Iterable[AgentRecord], contributions: dict[str, Contribution], *, now: float
    ) -> None:
        """Show who contributes, over the agents seen within each window, zeros included."""
        members = [agent for agent in agents if not agent.revoked]
        for window, seconds in ACTIVE_WINDOWS_SECONDS.items():
            active = [agent for agent in members if now - agent.last_seen_at <= seconds]
            shares = [contributions.get(agent.agent_id, Contribution()) for agent in active]
            merged, weight = [float(share.merged) for share in shares], [share.weight for share in shares]
            self.active.labels(federation, window).set(len(active))
            if not active:
                continue
            self.participation_jain.labels(federation, window).set(jain_index(merged))
            self.participation_gini.labels(federation, window).set(gini(merged))
            self.weight_jain.labels(federation, window).set(jain_index(weight))
            self.weight_gini.labels(federation, window).set(gini(weight))
            self.unserved.labels(federation, window).set(merged.count(0.0) / len(active))
        self._set_shares(federation, members, contributions)

    def _set_shares(self, federation: str, members: list[AgentRecord], contributions: dict[str, Contribution]) -> None:
        counts = sorted((contributions.get(agent.agent_id, Contribution()).merged for agent in members), reverse=True)
        if total := sum(counts):
            top = max(1, len(counts) // 100)
            self.top_share.labels(federation).set(sum(counts[:top]) / total)
        sizes: dict[str, int] = {}
        for agent in members:
            sizes[agent.tier] = sizes.get(agent.tier, 0) + 1
        named = set(sorted(sizes, key=lambda tier: (-sizes[tier], tier))[:MAX_TIERS])
        weights: dict[str, float] = {}
        for agent in members:
            tier = (agent.tier or "unnamed") if agent.tier in named else "other"
            weights[tier] = weights.get(tier, 0.0) + contributions.get(agent.agent_id, Contribution()).weight
        if everything := sum(weights.values()):
            for tier, weight in weights.items():
                self.tier_share.labels(federation, tier).set(weight / everything)
