"""What a published merge adds to the distributions, by staleness, and what it does not add: series per version gap."""

from __future__ import annotations

import dataclasses

import pytest
from prometheus_client import CollectorRegistry

from coordinator.domain import CommitOutcome, GroupRecord, MergedDelta, MergeRecord, VersionId
from coordinator.staleness import STALENESS_CLASSES, staleness_class
from coordinator.worker.metrics import MergeTimes, WorkerMetrics
from tests.support.stores import NOW

HEAD = 100
TIMES = MergeTimes(accepted_at=(NOW - 5,), bases_published_at=(NOW - 500,), published_at=NOW)


def base(staleness: int) -> VersionId:
    return VersionId(epoch=1, number=HEAD - staleness, digest="ab" * 32)


def delta(staleness: int, *, serial: int = 0) -> MergedDelta:
    return MergedDelta(
        delta_id=f"delta-{staleness}-{serial}",
        agent_id=f"agent-{serial}",
        base=base(staleness),
        staleness_versions=staleness,
        examples=8,
        freshness=1 / (1 + staleness),
        fairness=1.0,
        weight=0.5,
        coefficient=0.5,
        cosine=-0.3 if staleness else 0.9,
        norm=1.0,
    )


def group(staleness: int, before: float | None = None, after: float | None = None) -> GroupRecord:
    return GroupRecord(
        base=base(staleness), deltas=1, method="feature", cosine=0.6, objective_before=before, objective_after=after
    )


RECORD = MergeRecord(
    recipe="any",
    server_learning_rate=1.0,
    deltas=(delta(0), delta(5)),
    groups=(group(0), group(5, before=0.5, after=0.3)),
    calibration_loss_before=2.0,
    calibration_loss_after=1.95,
)


def observed(*records: MergeRecord) -> CollectorRegistry:
    registry = CollectorRegistry()
    metrics = WorkerMetrics(registry)
    for record in records:
        metrics.observe_merge("fed", record, TIMES)
    return registry


@pytest.mark.parametrize(
    ("versions", "name"),
    [(0, "0"), (1, "1"), (2, "2-3"), (3, "2-3"), (4, "4-7"), (7, "4-7"), (8, "8-15"), (15, "8-15"), (16, "16+"),
     (5000, "16+")],
)  # fmt: skip
def test_every_staleness_has_one_class(versions: int, name: str) -> None:
    assert staleness_class(versions) == name


def test_a_merge_is_told_by_staleness() -> None:
    registry = observed(RECORD)

    def figure(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(f"alignfed_{name}", {"federation": "fed", **labels})

    assert figure("staleness_weight_ratio_sum", staleness="4-7") == pytest.approx(1 / 6)
    assert figure("delta_agreement_cosine_ratio_bucket", staleness="4-7", le="-0.2") == 1
    assert figure("delta_agreement_cosine_ratio_bucket", staleness="0", le="0.8") == 0
    assert figure("alignment_cosine_ratio_count", staleness="4-7") == 1
    assert figure("alignment_loss_delta_bucket", staleness="4-7", le="-0.1") == 1
    assert figure("alignment_loss_delta_count", staleness="0") is None, "a fresh group has no objective"
    assert figure("calibration_loss_change_bucket", le="-0.03") == 1
    assert figure("calibration_loss_change_bucket", le="-0.1") == 0
    assert figure("delta_staleness_versions_sum", stage="merge") == 5
    assert figure("delta_end_to_end_seconds_sum") == 5
    assert figure("delta_staleness_seconds_sum") == 500


def test_a_version_that_nobody_judged_has_no_change_of_loss() -> None:
    registry = observed(dataclasses.replace(RECORD, calibration_loss_before=None))
    assert registry.get_sample_value("alignfed_calibration_loss_change_count", {"federation": "fed"}) is None


def test_a_commit_found_done_is_told_apart_and_its_deltas_count_once() -> None:
    registry = CollectorRegistry()
    WorkerMetrics(registry).observe_merge("fed", RECORD, TIMES, CommitOutcome.ALREADY)
    assert registry.get_sample_value("alignfed_merges_total", {"federation": "fed", "outcome": "already"}) == 1
    assert registry.get_sample_value("alignfed_merges_total", {"federation": "fed", "outcome": "committed"}) is None
    assert registry.get_sample_value("alignfed_version_group_size_count", {"federation": "fed"}) == 2


def test_series_do_not_grow_with_deltas_and_version_gaps() -> None:
    def series(staleness: range, copies: int) -> int:
        deltas = tuple(delta(gap, serial=serial) for gap in staleness for serial in range(copies))
        groups = tuple(group(gap, before=1.0, after=0.5) for gap in staleness)
        registry = observed(dataclasses.replace(RECORD, deltas=deltas, groups=groups))
        return sum(len(family.samples) for family in registry.collect())

    few = series(range(17), 1)  # one of every class
    assert few == series(range(90), 20)
    assert series(range(1), 1) < few
    assert len(STALENESS_CLASSES) == 6
