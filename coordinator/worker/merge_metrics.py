"""What published merges consisted of: staleness, weights, alignment, agreement. No agent id is ever a label."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Histogram

from coordinator.domain import GroupRecord, MergeRecord
from coordinator.staleness import staleness_class
from coordinator.staleness_metrics import staleness_histogram

_GROUP_BUCKETS = (1, 2, 4, 8, 16, 32, 64)
_RATIO_BUCKETS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9, 1.0)
_COSINE_BUCKETS = (-1.0, -0.5, -0.2, 0.0, 0.2, 0.5, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0)
_LOSS_CHANGE_BUCKETS = (-1.0, -0.3, -0.1, -0.03, -0.01, -0.003, 0.0, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
_AGE_BUCKETS = (1, 3, 10, 30, 60, 120, 300, 600, 1_800, 3_600, 14_400, 86_400)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class MergeTimes:
    """When a merge's deltas were accepted, their base versions published, and the merge itself. Unix seconds."""

    accepted_at: tuple[float, ...]
    bases_published_at: tuple[float, ...]
    published_at: float


class MergeMetrics:
    """Distributions per federation. Those by staleness have the label `staleness`, of a closed set."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def distribution(name: str, text: str, buckets: Sequence[float], *labels: str) -> Histogram:
            return Histogram(f"alignfed_{name}", text, ["federation", *labels], buckets=buckets, registry=registry)

        self._staleness = staleness_histogram(registry)
        self._staleness_age = distribution(
            "delta_staleness_seconds", "Age of a delta's base version when the delta is merged.", _AGE_BUCKETS
        )
        self._end_to_end = distribution(
            "delta_end_to_end_seconds",
            "From acceptance of a delta to publication of the version that contains it.",
            _AGE_BUCKETS,
        )
        self._freshness = distribution(
            "staleness_weight_ratio", "Freshness factor applied to a delta.", _RATIO_BUCKETS, "staleness"
        )
        self._agreement = distribution(
            "delta_agreement_cosine_ratio",
            "Cosine between a delta and the step that its merge took; low when agents drift apart.",
            _COSINE_BUCKETS,
            "staleness",
        )
        self._group_size = distribution("version_group_size", "Deltas per base version in a merge.", _GROUP_BUCKETS)
        self._cosine = distribution(
            "alignment_cosine_ratio",
            "Cosine between a version group before and after alignment; 1 where nothing was aligned.",
            _COSINE_BUCKETS,
            "staleness",
        )
        self._alignment_change = distribution(
            "alignment_loss_delta",
            "Objective of a version group's alignment after minus before it, below 0 where it helps; only of recipes "
            "whose alignment has an objective.",
            _LOSS_CHANGE_BUCKETS,
            "staleness",
        )
        self._loss_change = distribution(
            "calibration_loss_change",
            "Calibration loss of a published version minus its parent's.",
            _LOSS_CHANGE_BUCKETS,
        )

    def observe(self, federation: str, record: MergeRecord, times: MergeTimes) -> None:
        """Record one published merge."""
        staleness_of = {delta.base: delta.staleness_versions for delta in record.deltas}
        for delta in record.deltas:
            behind = staleness_class(delta.staleness_versions)
            self._staleness.labels(federation, "merge").observe(delta.staleness_versions)
            self._freshness.labels(federation, behind).observe(delta.freshness)
            if record.privacy is None:  # else cosines are left out of the record
                self._agreement.labels(federation, behind).observe(delta.cosine)
        for group in record.groups:
            self._observe_group(federation, group, staleness_class(staleness_of[group.base]))
        for accepted in times.accepted_at:
            self._end_to_end.labels(federation).observe(max(0.0, times.published_at - accepted))
        for base in times.bases_published_at:
            self._staleness_age.labels(federation).observe(max(0.0, times.published_at - base))
        if record.calibration_loss_before is not None and record.calibration_loss_after is not None:
            change = record.calibration_loss_after - record.calibration_loss_before
            self._loss_change.labels(federation).observe(change)

    def _observe_group(self, federation: str, group: GroupRecord, behind: str) -> None:
        self._group_size.labels(federation).observe(group.deltas)
        self._cosine.labels(federation, behind).observe(group.cosine)
        if group.objective_before is not None and group.objective_after is not None:
            change = group.objective_after - group.objective_before
            self._alignment_change.labels(federation, behind).observe(change)
