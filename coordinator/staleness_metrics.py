"""The histogram of staleness, the same in every process."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Histogram

VERSION_BUCKETS = (0, 1, 2, 4, 8, 16, 32, 64)
"""Upper bounds in versions. Coordinator and worker must agree: the histogram of both is added up over its stages."""

STAGES = ("accept", "merge")
"""When staleness is measured: by the coordinator as it accepts a delta, by the worker as it merges one."""


def staleness_histogram(registry: CollectorRegistry) -> Histogram:
    """Register `alignfed_delta_staleness_versions{federation, stage}` and return it."""
    return Histogram(
        "alignfed_delta_staleness_versions",
        "Head minus base version of a delta, when it is accepted and when it is merged.",
        ["federation", "stage"],
        buckets=VERSION_BUCKETS,
        registry=registry,
    )
