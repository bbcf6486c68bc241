"""The worker's metrics: merges, staleness, alignment, fairness. No agent id is ever a label."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from coordinator.domain import AgentRecord, Contribution, Head, MergeRecord, QueueDepth
from coordinator.fairness import gini, jain_index

STALENESS_BUCKETS = (0, 1, 2, 4, 8, 16, 32, 64)
ACTIVE_WINDOWS_SECONDS = {"1h": 3_600.0, "1d": 86_400.0}
MAX_TIERS = 8
"""Tiers beyond the eight most populous are shown together as `other`, so that the label set stays closed."""

_RATIO_BUCKETS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9, 1.0)
_COSINE_BUCKETS = (-1.0, -0.5, -0.2, 0.0, 0.2, 0.5, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0)
_LOSS_CHANGE_BUCKETS = (-1.0, -0.3, -0.1, -0.03, -0.01, 0.0, 0.01, 0.03, 0.1, 0.3, 1.0)
_SECONDS_BUCKETS = (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300)
_STORE_BUCKETS = (0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3)
_AGE_BUCKETS = (1, 3, 10, 30, 60, 120, 300, 600, 1_800, 3_600, 14_400, 86_400)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class MergeTimes:
    """When a merge's deltas were accepted, their base versions published, and the merge itself. Unix seconds."""

    accepted_at: tuple[float, ...]
    bases_published_at: tuple[float, ...]
    published_at: float


class WorkerMetrics:
    """All metrics of one worker process, on its own registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        fed = ["federation"]
        self.registry = registry
        self.merges = Counter("alignfed_merges", "Merges by outcome.", [*fed, "outcome"], registry=registry)
        self.merge_duration = Histogram(
            "alignfed_merge_duration_seconds",
            "Time per stage of a merge.",
            [*fed, "stage"],
            buckets=_SECONDS_BUCKETS,
            registry=registry,
        )
        self.staleness = Histogram(
            "alignfed_delta_staleness_versions",
            "Head minus base version.",
            [*fed, "stage"],
            buckets=STALENESS_BUCKETS,
            registry=registry,
        )
        self.end_to_end = Histogram(
            "alignfed_delta_end_to_end_seconds",
            "From acceptance of a delta to publication of the version that contains it.",
            fed,
            buckets=_AGE_BUCKETS,
            registry=registry,
        )
        self.staleness_age = Histogram(
            "alignfed_delta_staleness_seconds",
            "Age of a delta's base version when the delta is merged.",
            fed,
            buckets=_AGE_BUCKETS,
            registry=registry,
        )
        self.staleness_weight = Histogram(
            "alignfed_staleness_weight_ratio",
            "Freshness factor applied to a delta.",
            fed,
            buckets=_RATIO_BUCKETS,
            registry=registry,
        )
        self.group_size = Histogram(
            "alignfed_version_group_size",
            "Deltas per base version in a merge.",
            fed,
            buckets=(1, 2, 4, 8, 16, 32, 64),
            registry=registry,
        )
        self.alignment_cosine = Histogram(
            "alignfed_alignment_cosine_ratio",
            "Cosine between a version group before and after alignment.",
            fed,
            buckets=_COSINE_BUCKETS,
            registry=registry,
        )
        self.loss_change = Histogram(
            "alignfed_alignment_loss_delta",
            "Calibration loss of a published version minus its parent's.",
            fed,
            buckets=_LOSS_CHANGE_BUCKETS,
            registry=registry,
        )
        self.rejected = Counter(
            "alignfed_deltas_rejected", "Queued deltas rejected by the worker.", [*fed, "reason"], registry=registry
        )
        self.redeliveries = Counter("alignfed_delta_redeliveries", "Deltas claimed again.", fed, registry=registry)
        self.dead_letters = Counter("alignfed_dead_letters", "Deltas given up.", fed, registry=registry)
        self.lease_epoch = Gauge("alignfed_lease_epoch", "Fencing token of the lease held.", fed, registry=registry)
        self.lease_lost = Counter("alignfed_lease_lost", "Leases lost while held.", fed, registry=registry)
        self.store_command_duration = Histogram(
            "alignfed_store_command_duration_seconds",
            "Time per call to the store.",
            ["op"],
            buckets=_STORE_BUCKETS,
            registry=registry,
        )
        self.fleet = FleetMetrics(registry)

    def observe_store(self, op: str, seconds: float) -> None:
        """Record one call to the store."""
        self.store_command_duration.labels(op).observe(seconds)

    def observe_merge(self, federation: str, record: MergeRecord, times: MergeTimes) -> None:
        """Record what a published merge consisted of."""
        self.merges.labels(federation, "committed").inc()
        for delta in record.deltas:
            self.staleness.labels(federation, "merge").observe(delta.staleness_versions)
            self.staleness_weight.labels(federation).observe(delta.freshness)
        for group in record.groups:
            self.group_size.labels(federation).observe(group.deltas)
            self.alignment_cosine.labels(federation).observe(group.cosine)
        for accepted in times.accepted_at:
            self.end_to_end.labels(federation).observe(max(0.0, times.published_at - accepted))
        for base in times.bases_published_at:
            self.staleness_age.labels(federation).observe(max(0.0, times.published_at - base))
        if record.calibration_loss_before is not None and record.calibration_loss_after is not None:
            change = record.calibration_loss_after - record.calibration_loss_before
            self.loss_change.labels(federation).observe(change)


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
