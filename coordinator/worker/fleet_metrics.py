"""Figures of a whole federation: backlog, head, fairness over active agents. No agent id is ever a label."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

from prometheus_client import CollectorRegistry, Gauge

from coordinator.domain import AgentRecord, Contribution, Head, QueueDepth
from coordinator.fairness import gini, jain_index, lorenz_shares

ACTIVE_WINDOWS_SECONDS = {"1h": 3_600.0, "1d": 86_400.0}
"""Values of the label `window`: an agent is active in a window when it called within it."""

SHARE_WINDOW = "1d"
"""The window of figures that do not name one: long enough for agents that train for hours per delta."""

LORENZ_FRACTIONS = tuple(tenth / 10 for tenth in range(1, 11))
"""Values of the label `agents`: a curve of ten points, however many agents there are."""

MAX_TIERS = 8
"""Tiers beyond the eight most populous are shown together as `other`, so that the label set stays closed."""

OTHER_TIERS = "other"
UNNAMED_TIER = "unnamed"

Values = Mapping[tuple[str, ...], float]
"""Values of one gauge by its labels after `federation`."""


@dataclasses.dataclass(frozen=True, slots=True)
class Member:
    """An agent that counts, and what it has contributed."""

    agent: AgentRecord
    share: Contribution


class FleetMetrics:
    """Gauges about a whole federation, set by the worker that holds its lease and cleared when it loses it."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def gauge(name: str, text: str, *labels: str) -> Gauge:
            made = Gauge(f"alignfed_{name}", text, ["federation", *labels], registry=registry)
            self._gauges.append(made)
            return made

        self._gauges: list[Gauge] = []
        self._shown: dict[tuple[str, Gauge], set[tuple[str, ...]]] = {}
        self.privacy_epsilon = gauge("privacy_epsilon", "Largest privacy loss of an agent; absent without [privacy].")
        self.privacy_limit = gauge("privacy_epsilon_limit", "What it may be: privacy.max_epsilon of the plan.")
        self.lease_epoch = gauge("lease_epoch", "Fencing token of the lease held.")
        self.paused = gauge("federation_paused", "Whether merging is paused, by an operator or by itself: 1 or 0.")
        self.held = gauge("federation_held", "Whether merging was paused by itself, see `alignfed status`: 1 or 0.")
        self.suspected = gauge("suspected_agents", "Agents whose deltas screening rejects as against calibration rows.")
        self.buffer_size = gauge("buffer_size_deltas", "Deltas that fill a merge's buffer.")
        self.queue = gauge("queue_deltas", "Deltas accepted and not settled.")
        self.pending = gauge("queue_pending_deltas", "Of those, claimed by the worker.")
        self.oldest = gauge("queue_oldest_timestamp_seconds", "When the oldest of them was accepted; 0: none.")
        self.dead = gauge("dead_letter_deltas", "Dead letters waiting for an operator.")
        self.version = gauge("global_version", "Number of the head.")
        self.version_time = gauge("global_version_timestamp_seconds", "When the head was published.")
        self.calibration_loss = gauge("calibration_loss", "Judge rows' mean loss of the head; absent if not judged.")
        self.active = gauge("active_agents", "Agents seen within the window.", "window")
        over_active = "over the agents active in the window, those with nothing merged included"
        self.participation_jain = gauge(
            "participation_jain_ratio", f"Jain's index of merged deltas {over_active}.", "window"
        )
        self.participation_gini = gauge(
            "participation_gini_ratio", f"Gini coefficient of merged deltas {over_active}.", "window"
        )
        self.weight_jain = gauge("weight_jain_ratio", f"Jain's index of aggregation weight {over_active}.", "window")
        self.weight_gini = gauge(
            "weight_gini_ratio", f"Gini coefficient of aggregation weight {over_active}.", "window"
        )
        self.unserved = gauge("unserved_agents_ratio", "Share of active agents with nothing merged.", "window")
        least = "of the least-served fraction `agents` of the agents active in a day (Lorenz curve)"
        self.participation_lorenz = gauge("participation_lorenz_ratio", f"Share of merged deltas {least}.", "agents")
        self.weight_lorenz = gauge("weight_lorenz_ratio", f"Share of aggregation weight {least}.", "agents")
        self.top_share = gauge(
            "participation_top1pct_share_ratio",
            "Share of merged deltas of the most served 1 % (at least one) of the agents active in a day.",
        )
        self.tier_share = gauge(
            "tier_weight_share_ratio", "Share of aggregation weight by tier, of the agents active in a day.", "tier"
        )
        self.tier_agents = gauge("tier_active_agents", "Agents active in a day, by tier.", "tier")

    def forget(self, federation: str) -> None:
        """Drop a federation's figures: whoever leads it now exports them."""
        for gauge in self._gauges:
            gauge.remove_by_labels({"federation": federation})
        for key in [key for key in self._shown if key[0] == federation]:
            del self._shown[key]

    def set_queue(self, federation: str, depth: QueueDepth, head: Head) -> None:
        """Show backlog and head."""
        self.queue.labels(federation).set(depth.queued)
        self.pending.labels(federation).set(depth.pending)
        self.oldest.labels(federation).set(depth.oldest_accepted_at or 0.0)
        self.dead.labels(federation).set(depth.dead)
        self.version.labels(federation).set(head.id.number)
        self.paused.labels(federation).set(head.paused)
        self.held.labels(federation).set(bool(head.hold_reason))

    def set_privacy(self, federation: str, *, epsilon: float, limit: float) -> None:
        """Show the largest privacy loss of any agent, and what it may be."""
        self.privacy_epsilon.labels(federation).set(epsilon)
        self.privacy_limit.labels(federation).set(limit)

    def set_calibration_loss(self, federation: str, loss: float | None) -> None:
        """Show the head's calibration loss, or none when it was not judged."""
        self._set(self.calibration_loss, federation, {} if loss is None else {(): loss})

    def set_fairness(
        self, federation: str, agents: Iterable[AgentRecord], contributions: dict[str, Contribution], *, now: float
    ) -> None:
        """Show who contributes, over the agents seen within each window, zeros included.

        Contributions are those of an agent's whole life; `now` is Unix seconds. Without active agents there is nothing
        to share unevenly: the figures of that window are absent.
        """
        members = [
            Member(agent, contributions.get(agent.agent_id, Contribution())) for agent in agents if not agent.revoked
        ]
        active = {
            window: [member for member in members if now - member.agent.last_seen_at <= seconds]
            for window, seconds in ACTIVE_WINDOWS_SECONDS.items()
        }
        merged = {window: _merged(found) for window, found in active.items() if found}
        weight = {window: _weight(found) for window, found in active.items() if found}
        self._set(self.active, federation, {(window,): len(found) for window, found in active.items()})
        self._set(self.participation_jain, federation, {(name,): jain_index(x) for name, x in merged.items()})
        self._set(self.participation_gini, federation, {(name,): gini(x) for name, x in merged.items()})
        self._set(self.weight_jain, federation, {(name,): jain_index(x) for name, x in weight.items()})
        self._set(self.weight_gini, federation, {(name,): gini(x) for name, x in weight.items()})
        self._set(self.unserved, federation, {(name,): x.count(0.0) / len(x) for name, x in merged.items()})
        self._set_shares(federation, active[SHARE_WINDOW])

    def _set_shares(self, federation: str, active: list[Member]) -> None:
        merged, weight = _merged(active), _weight(active)
        self._set(self.participation_lorenz, federation, _curve(merged))
        self._set(self.weight_lorenz, federation, _curve(weight))
        top = sorted(merged, reverse=True)[: max(1, len(merged) // 100)]
        self._set(self.top_share, federation, {(): sum(top) / sum(merged)} if sum(merged) else {})
        named = tier_names(member.agent.tier for member in active)
        sizes: dict[tuple[str, ...], float] = {}
        weights: dict[tuple[str, ...], float] = {}
        for member in active:
            tier = (named.get(member.agent.tier, OTHER_TIERS),)
            sizes[tier] = sizes.get(tier, 0.0) + 1
            weights[tier] = weights.get(tier, 0.0) + member.share.weight
        self._set(self.tier_agents, federation, sizes)
        everything = sum(weight)
        shares = {tier: part / everything for tier, part in weights.items()} if everything else {}
        self._set(self.tier_share, federation, shares)

    def _set(self, gauge: Gauge, federation: str, values: Values) -> None:
        """Show `values` and nothing else: what was shown before and has no value now is dropped, not left standing."""
        key = (federation, gauge)
        for labels, value in values.items():
            gauge.labels(federation, *labels).set(value)
        for labels in self._shown.get(key, set()) - set(values):
            gauge.remove(federation, *labels)
        self._shown[key] = set(values)


def tier_names(tiers: Iterable[str]) -> dict[str, str]:
    """Return the label of each of the most populous tiers; whatever is missing is `other`.

    Args:
        tiers: The tier of every agent, as agents call it; may be empty.
    """
    sizes: dict[str, int] = {}
    for tier in tiers:
        sizes[tier] = sizes.get(tier, 0) + 1
    most = sorted(sizes, key=lambda tier: (-sizes[tier], tier))[:MAX_TIERS]
    return {tier: tier or UNNAMED_TIER for tier in most}


def _merged(members: Sequence[Member]) -> list[float]:
    return [float(member.share.merged) for member in members]


def _weight(members: Sequence[Member]) -> list[float]:
    return [member.share.weight for member in members]


def _curve(values: Sequence[float]) -> Values:
    if not values:
        return {}
    shares = lorenz_shares(values, LORENZ_FRACTIONS)
    return {(f"{fraction:.1f}",): share for fraction, share in zip(LORENZ_FRACTIONS, shares, strict=True)}
