"""The worker's metrics: merges, lease, store, and what published merges consisted of. No agent id is ever a label."""

from __future__ import annotations

import dataclasses

from prometheus_client import CollectorRegistry, Counter, Histogram

from coordinator.domain import CommitOutcome, MergeRecord
from coordinator.retention import Trimmed
from coordinator.store_metrics import StoreMetrics
from coordinator.worker.fleet_metrics import FleetMetrics
from coordinator.worker.merge_metrics import MergeMetrics, MergeTimes

__all__ = ["LET_GO_KINDS", "MERGE_OUTCOMES", "MERGE_STAGES", "MergeTimes", "WorkerMetrics"]

MERGE_OUTCOMES = ("committed", "gated", "conflict", "fenced", "already", "failed")
"""What came of a merge. `already` is a commit that was found done when it was tried again: published, like
`committed`. A merge whose deltas were all rejected has no outcome."""

LET_GO_KINDS = (*(field.name for field in dataclasses.fields(Trimmed)), "payloads")
"""What retention bounds."""

MERGE_STAGES = ("take_in", "screen", "aggregate", "judge", "publish")

COSINE_BUCKETS = (-1.0, -0.2, -0.1, -0.05, -0.02, 0.0, 0.02, 0.05, 0.1, 0.2, 1.0)
"""Of single deltas with a noisy gradient: small, and often below zero for honest agents too."""

_NORM_BUCKETS = (0.01, 0.03, 0.05, 0.1, 0.2, 0.3, 0.5, 1, 3, 10, 100)
_SECONDS_BUCKETS = (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300)
_ALIGNMENT_BUCKETS = (0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30)


class WorkerMetrics:
    """All metrics of one worker process, on its own registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"alignfed_{name}", text, ["federation", *labels], registry=registry)

        self.registry = registry
        self.merges = counter("merges", "Merges by outcome.", "outcome")
        self.rejected = counter("deltas_rejected", "Queued deltas rejected by the worker, by reason.", "reason")
        self.redeliveries = counter(
            "delta_redeliveries", "Deltas claimed again: after a failed merge, or from a worker that led before."
        )
        self.dead_letters = counter("dead_letters", "Deltas given up after several attempts.")
        self.trimmed = counter(
            "retention_let_go", "What the worker let go of because retention keeps it no longer, by kind.", "kind"
        )
        self.lease_lost = counter("lease_lost", "Leases lost while held.")
        self.merge_duration = Histogram(
            "alignfed_merge_duration_seconds",
            "Time per stage of a merge.",
            ["federation", "stage"],
            buckets=_SECONDS_BUCKETS,
            registry=registry,
        )
        self.alignment_duration = Histogram(
            "alignfed_alignment_duration_seconds",
            "Time to find the map that aligns one stale version group to the head; nothing for recipes without one.",
            ["federation"],
            buckets=_ALIGNMENT_BUCKETS,
            registry=registry,
        )
        self.delta_norm = Histogram(
            "alignfed_delta_norm_ratio",
            "Norm of a delta over the bound above which it is rejected; nothing while there is no bound.",
            ["federation"],
            buckets=_NORM_BUCKETS,
            registry=registry,
        )
        self.clipped = counter("deltas_clipped", "Merged deltas that were shortened because they were long.")
        self.gate_retries = counter(
            "gate_retries", "Merges tried again without suspects because their candidate could not be published."
        )
        self.screening_cosine = Histogram(
            "alignfed_screening_cosine_ratio",
            "Cosine between a delta and the direction in which the calibration loss falls at its base version.",
            ["federation", "staleness"],
            buckets=COSINE_BUCKETS,
            registry=registry,
        )
        self.store = StoreMetrics(registry)
        self.fleet = FleetMetrics(registry)
        self._merged = MergeMetrics(registry)

    def observe_merge(
        self, federation: str, record: MergeRecord, times: MergeTimes, outcome: CommitOutcome = CommitOutcome.COMMITTED
    ) -> None:
        """Record one published merge."""
        self.merges.labels(federation, outcome.value).inc()
        self.clipped.labels(federation).inc(sum(delta.clip < 1.0 for delta in record.deltas))
        self._merged.observe(federation, record, times)
