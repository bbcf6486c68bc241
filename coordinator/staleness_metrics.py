"""How staleness is shown, the same by every process: buckets of its histogram, and the classes that are labels."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Histogram

VERSION_BUCKETS = (0, 1, 2, 4, 8, 16, 32, 64)
"""Upper bounds in versions. Coordinator and worker must agree: the histogram of both is added up over its stages."""

STALENESS_CLASSES = ("0", "1", "2-3", "4-7", "8-15", "16+")
"""Every value of the label `staleness`, in versions. Closed, where a version gap as such is not."""

STAGES = ("accept", "merge")
"""When staleness is measured: by the coordinator as it accepts a delta, by the worker as it merges one."""

_FIRST_OF_CLASS = (0, 1, 2, 4, 8, 16)


def staleness_class(versions: int) -> str:
    """Return the label of a staleness of zero or more versions."""
    reached = [name for first, name in zip(_FIRST_OF_CLASS, STALENESS_CLASSES, strict=True) if versions >= first]
    return reached[-1] if reached else STALENESS_CLASSES[0]


def staleness_histogram(registry: CollectorRegistry) -> Histogram:
    """Register `alignfed_delta_staleness_versions{federation, stage}` and return it."""
    return Histogram(
        "alignfed_delta_staleness_versions",
        "Head minus base version of a delta, when it is accepted and when it is merged.",
        ["federation", "stage"],
        buckets=VERSION_BUCKETS,
        registry=registry,
    )
