"""Figures of a fleet: right over those who are active, bounded however large the fleet, gone with their reason."""

from __future__ import annotations

import dataclasses

import pytest
from prometheus_client import CollectorRegistry

from coordinator.domain import AgentRecord, Contribution, Head, QueueDepth, VersionId
from coordinator.worker.fleet_metrics import ACTIVE_WINDOWS_SECONDS, LORENZ_FRACTIONS, MAX_TIERS, FleetMetrics
from tests.support.stores import NOW, new_agent

HOUR = 3600.0


class Shown:
    """A fleet's gauges on a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.fleet = FleetMetrics(self.registry)

    def fair(self, agents: list[AgentRecord], contributions: dict[str, Contribution], *, now: float = NOW) -> None:
        self.fleet.set_fairness("fed", agents, contributions, now=now)

    def value(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(f"alignfed_{name}", {"federation": "fed", **labels})

    def series(self) -> int:
        return sum(len(family.samples) for family in self.registry.collect())


def agent(name: str, *, tier: str = "", idle_seconds: float = 0.0, revoked: bool = False) -> AgentRecord:
    return dataclasses.replace(new_agent(name), tier=tier, last_seen_at=NOW - idle_seconds, revoked=revoked)


FOUR = [
    agent("a", tier="fast"),
    agent("b", tier="fast"),
    agent("c", tier="slow"),
    agent("d", tier="slow", idle_seconds=2 * HOUR),
    agent("gone", tier="slow", idle_seconds=30 * HOUR),
    agent("revoked", tier="slow", revoked=True),
]
SHARES = {
    "a": Contribution(merged=6, weight=3.0),
    "b": Contribution(merged=3, weight=2.0),
    "c": Contribution(merged=1, weight=1.0),
    "gone": Contribution(merged=90, weight=94.0),
    "revoked": Contribution(merged=50, weight=50.0),
}


def test_only_active_agents_count_and_those_without_anything_count_too() -> None:
    shown = Shown()
    shown.fair(FOUR, SHARES)
    assert (shown.value("active_agents", window="1h"), shown.value("active_agents", window="1d")) == (3, 4)
    assert shown.value("unserved_agents_ratio", window="1h") == 0
    assert shown.value("unserved_agents_ratio", window="1d") == pytest.approx(1 / 4)
    assert shown.value("participation_jain_ratio", window="1h") == pytest.approx(100 / (3 * 46))
    assert shown.value("participation_jain_ratio", window="1d") == pytest.approx(100 / (4 * 46))
    assert shown.value("weight_jain_ratio", window="1d") == pytest.approx(36 / (4 * 14))
    assert shown.value("participation_gini_ratio", window="1d") == pytest.approx((-3 * 0 - 1 + 3 + 18) / 40)
    assert shown.value("participation_top1pct_share_ratio") == pytest.approx(0.6)


def test_tiers_share_weight_and_agents_of_the_same_day() -> None:
    shown = Shown()
    shown.fair(FOUR, SHARES)
    assert (shown.value("tier_active_agents", tier="fast"), shown.value("tier_active_agents", tier="slow")) == (2, 2)
    assert shown.value("tier_weight_share_ratio", tier="fast") == pytest.approx(5 / 6)
    assert shown.value("tier_weight_share_ratio", tier="slow") == pytest.approx(1 / 6)


def test_the_lorenz_curve_is_read_at_ten_points() -> None:
    shown = Shown()
    shown.fair(FOUR, SHARES)
    curve = [shown.value("participation_lorenz_ratio", agents=f"{fraction:.1f}") for fraction in LORENZ_FRACTIONS]
    # 0, 1, 3 and 6 of 10: the corners are at a quarter, a half and three quarters of the agents
    assert curve == pytest.approx([0, 0, 0.02, 0.06, 0.1, 0.22, 0.34, 0.52, 0.76, 1.0])
    assert shown.value("weight_lorenz_ratio", agents="0.5") == pytest.approx(1 / 6)


def test_series_do_not_grow_with_agents_and_tiers() -> None:
    few, many = Shown(), Shown()
    tiers = [f"tier-{number}" for number in range(MAX_TIERS + 1)]
    for shown, copies in ((few, 1), (many, 40)):
        agents = [agent(f"agent-{tier}-{copy}", tier=tier) for tier in tiers for copy in range(copies)]
        agents += [agent(f"odd-{number}", tier=f"rare-{number}") for number in range(copies)]
        shown.fair(agents, {found.agent_id: Contribution(merged=1, weight=1.0) for found in agents})
    assert few.series() == many.series()
    exposed = [value for family in many.registry.collect() for s in family.samples for value in s.labels.values()]
    assert not [value for value in exposed if value.startswith(("agent-", "odd-", "rare-"))]
    assert many.value("tier_active_agents", tier="other") == 40 + 40
    assert len({value for value in exposed if value.startswith("tier-")}) == MAX_TIERS


def test_figures_without_a_subject_any_more_are_dropped() -> None:
    shown = Shown()
    shown.fair(FOUR, SHARES)
    shown.fair([dataclasses.replace(FOUR[0], tier="new")], SHARES)
    assert shown.value("tier_weight_share_ratio", tier="slow") is None
    assert shown.value("tier_weight_share_ratio", tier="new") == 1
    shown.fair(FOUR, SHARES, now=NOW + 40 * HOUR)
    assert shown.value("active_agents", window="1d") == 0
    names = ("participation_jain_ratio", "participation_gini_ratio", "weight_jain_ratio", "unserved_agents_ratio")
    assert all(shown.value(name, window=window) is None for name in names for window in ACTIVE_WINDOWS_SECONDS)
    assert shown.value("participation_top1pct_share_ratio") is None
    assert shown.value("weight_lorenz_ratio", agents="1.0") is None


def test_the_loss_of_a_head_that_nobody_judged_is_absent() -> None:
    shown = Shown()
    shown.fleet.set_calibration_loss("fed", 2.5)
    assert shown.value("calibration_loss") == 2.5
    shown.fleet.set_calibration_loss("fed", None)
    assert shown.value("calibration_loss") is None


def test_a_federation_is_forgotten_whole_and_alone() -> None:
    shown = Shown()
    head = Head(id=VersionId(epoch=3, number=7, digest="ab" * 32), oldest_retained=0, paused=True)
    for federation in ("fed", "other"):
        shown.fleet.set_fairness(federation, FOUR, SHARES, now=NOW)
        shown.fleet.set_queue(federation, QueueDepth(queued=2, pending=1, dead=0, oldest_accepted_at=NOW), head)
        shown.fleet.set_calibration_loss(federation, 1.0)
        shown.fleet.lease_epoch.labels(federation).set(4)
    everything = shown.series()
    assert (shown.value("federation_paused"), shown.value("queue_oldest_timestamp_seconds")) == (1, NOW)
    shown.fleet.forget("fed")
    assert shown.series() == everything / 2
    assert shown.registry.get_sample_value("alignfed_global_version", {"federation": "other"}) == 7
    shown.fair(FOUR, SHARES)  # it leads again
    assert shown.value("active_agents", window="1h") == 3
