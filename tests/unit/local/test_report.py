"""The report's figures follow from the merge records, and it says plainly when a loss did not go down."""

from __future__ import annotations

from pathlib import Path

import pytest

from coordinator.cli.operator_views import VersionView
from coordinator.domain import MergedDelta, MergeRecord, VersionId, VersionKind
from coordinator.fairness import gini, jain_index
from coordinator.local.report import (
    AgentSetup,
    Cost,
    DomainLoss,
    Report,
    VersionLoss,
    agent_shares,
    fairness_of,
    staleness_of,
)
from coordinator.local.report_text import report_text, verdict

SETUPS = [AgentSetup(agent_id=f"agent-{n}", domain=f"d{n}", slowdown=float(n)) for n in (1, 2, 3)]


def version(number: int, *merged: tuple[str, int, float]) -> VersionView:
    """A version from `(agent, staleness, weight)` of its deltas; none makes the initial one."""
    identity = VersionId(epoch=1, number=number, digest="ab" * 32)
    deltas = tuple(
        MergedDelta(
            delta_id=f"{number}-{index}",
            agent_id=agent,
            base=identity,
            staleness_versions=staleness,
            examples=24,
            freshness=1.0,
            fairness=1.0,
            weight=weight,
            coefficient=weight,
            cosine=0.5,
            norm=1.0,
        )
        for index, (agent, staleness, weight) in enumerate(merged)
    )
    record = MergeRecord(recipe="alignfed", server_learning_rate=1.0, deltas=deltas, groups=())
    return VersionView(
        id=identity,
        kind=VersionKind.MERGE if merged else VersionKind.INITIAL,
        parent=number - 1 if merged else None,
        created_at=0.0,
        abandoned=False,
        serves_average=False,
        deltas=len(deltas),
        calibration_loss=None,
        merge=record if merged else None,
    )


VERSIONS = [
    version(0),
    version(1, ("agent-1", 0, 0.5), ("agent-2", 0, 0.5)),
    version(2, ("agent-1", 1, 0.25), ("agent-1", 0, 0.75)),
]


def test_shares_follow_from_the_merge_records() -> None:
    first, second, third = agent_shares(SETUPS, {"agent-2": 4}, VERSIONS)
    assert (first.merged, first.weight_share, first.mean_staleness_versions) == (3, 0.75, pytest.approx(1 / 3))
    assert (second.merged, second.weight_share, second.rejected) == (1, 0.25, 4)
    assert (third.merged, third.weight_share, third.mean_staleness_versions) == (0, 0.0, None)


def test_fairness_counts_agents_that_got_nothing() -> None:
    fairness = fairness_of(agent_shares(SETUPS, {}, VERSIONS))
    assert fairness.merges_jain == pytest.approx(jain_index([3, 1, 0]))
    assert fairness.merges_gini == pytest.approx(gini([3, 1, 0]))
    assert fairness.weight_jain == pytest.approx(jain_index([1.5, 0.5, 0]))
    assert fairness.weight_gini == pytest.approx(gini([1.5, 0.5, 0]))


def test_staleness_is_of_every_merged_delta() -> None:
    staleness = staleness_of(VERSIONS)
    assert (staleness.mean, staleness.largest, staleness.counts) == (0.25, 1, {0: 3, 1: 1})


def test_a_run_without_merges_has_a_report_too() -> None:
    shares = agent_shares(SETUPS, {}, VERSIONS[:1])
    assert [share.weight_share for share in shares] == [0, 0, 0]
    assert staleness_of(VERSIONS[:1]).counts == {}


def report(*, final: float) -> Report:
    shares = agent_shares(SETUPS, {}, VERSIONS)
    return Report(
        federation="demo",
        model="/models/small",
        final_version=2,
        serves_average=True,
        deltas_merged=4,
        domains=(
            DomainLoss(domain="d1", tokens=100, base=3.0, final=2.0),
            DomainLoss(domain="d2", tokens=100, base=3.0, final=final),
        ),
        versions=(VersionLoss(number=2, held_out={"d1": 2.0, "d2": final}, calibration=2.5),),
        agents=shares,
        fairness=fairness_of(shares),
        staleness=staleness_of(VERSIONS),
        cost=Cost(seconds={"set-up": 1.0, "training": 60.0}, peak_memory_bytes=3 << 30),
    )


def test_success_is_only_claimed_when_every_domain_improved() -> None:
    assert verdict(report(final=2.9)) == "The held-out loss went down on every domain."
    for final in (3.0, 3.5):
        assert "did NOT go down on d2" in verdict(report(final=final))
        assert "d1" not in verdict(report(final=final))


def test_the_text_shows_the_table_the_figures_and_where_the_results_are() -> None:
    text = report_text(report(final=3.5), results=Path("runs/demo/results"))
    assert "-33.3%" in text
    assert "not better" in text
    assert "75.0%" in text
    assert "total 61 s" in text
    assert "3.0 GiB" in text
    assert "moving average" in text
    assert "runs/demo/results/merge_records.jsonl" in text
