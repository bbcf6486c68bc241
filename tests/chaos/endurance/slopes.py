"""Whether a figure that was sampled over time grows: the Theil-Sen slope, the median of the slopes of all pairs."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Sequence

MOST_POINTS = 400
"""Samples that are compared pair by pair; of more, every so many-th."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Trend:
    """A fitted line: `slope` per unit of the other axis, the middle half of all slopes, and how the figure ended."""

    slope: float
    low: float
    high: float
    last: float


def trend(along: Sequence[float], values: Sequence[float]) -> Trend:
    """Fit a line that outliers do not bend.

    Source: Theil 1950, Sen 1968.

    Args:
        along: What the samples are ordered by, such as seconds; at least two that differ.
        values: The sampled figure.

    Raises:
        ValueError: There are too few samples.
    """
    step = max(1, len(values) // MOST_POINTS)
    points = list(zip(along, values, strict=True))[::step]
    slopes = [
        (later - earlier) / (after - before)
        for index, (before, earlier) in enumerate(points)
        for after, later in points[index + 1 :]
        if after > before
    ]
    if len(slopes) < 2:
        raise ValueError(f"{len(values)} samples at {len(set(along))} places make no trend: sample for longer")
    quarters = statistics.quantiles(slopes, n=4)
    return Trend(slope=statistics.median(slopes), low=quarters[0], high=quarters[2], last=values[-1])
