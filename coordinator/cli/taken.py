"""How much of one delta a merge took, compared with an even share, and why: arithmetic over its merge record."""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Sequence

from coordinator.domain import MergedDelta

WORTH_NAMING = 0.05
"""A factor within 5 % of the merge's average explains nothing that anybody would ask about."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """One thing that made a delta count for more or less: `ratio` multiplies its share, `words` say why."""

    ratio: float
    words: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What a merge took of one delta.

    Attributes:
        even_share: 1 / deltas of the merge.
        of_even_share: The coefficient over the even share; the causes' ratios multiply to it.
        causes: What is worth naming, the strongest first.
    """

    even_share: float
    of_even_share: float
    causes: tuple[Cause, ...]


def taken(delta: MergedDelta, merged: Sequence[MergedDelta]) -> Taken:
    """Explain one delta's coefficient.

    Args:
        delta: The delta.
        merged: All deltas of its merge, itself included.

    Returns:
        Its coefficient against an even share, as a product of ratios against the merge's averages: examples,
        freshness, fairness, whatever else changed the weight, the fit, and the step of the whole merge.
    """
    even = 1.0 / len(merged)
    total = math.fsum(other.coefficient for other in merged)
    ratios = [
        (_against_mean(delta.examples, [other.examples for other in merged]), _examples_words(delta, merged)),
        (_against_mean(delta.freshness, [other.freshness for other in merged]), _freshness_words(delta, merged)),
        (_against_mean(delta.fairness, [other.fairness for other in merged]), _fairness_words(delta, merged)),
    ]
    by_factors = math.prod(ratio for ratio, _ in ratios)
    ratios.append((_ratio(delta.weight, even * by_factors), "a rule of the recipe (a cap, norms, or how factors mix)"))
    fitted = _ratio(_ratio(delta.coefficient, total), delta.weight)
    ratios.append((fitted, f"the calibration rows favoured {'it' if fitted > 1 else 'the others'}"))
    ratios.append((total, "the whole merge took a smaller step" if total < 1 else "the whole merge took a larger step"))
    causes = [Cause(ratio=ratio, words=words) for ratio, words in ratios if abs(ratio - 1.0) > WORTH_NAMING]
    causes.sort(key=lambda cause: -abs(math.log(cause.ratio)) if cause.ratio > 0 else -math.inf)
    return Taken(even_share=even, of_even_share=delta.coefficient / even, causes=tuple(causes))


def in_words(found: Taken) -> str:
    """Return a sentence about what was taken, such as `taken with 0.70 of the weight an even share would have had`."""
    share = found.of_even_share
    if share == 0:
        said = "nothing of it was taken"
    elif share < 0:
        said = f"taken against its own direction, with {-share:.2f} of the weight an even share would have had"
    elif abs(share - 1.0) <= WORTH_NAMING:
        said = "taken with the weight of an even share"
    else:
        said = f"taken with {share:.2f} of the weight an even share would have had"
    if not found.causes:
        return said
    return f"{said}, because {'; '.join(f'{cause.words} (x {cause.ratio:.2f})' for cause in found.causes)}"


def _examples_words(delta: MergedDelta, merged: Sequence[MergedDelta]) -> str:
    mean = statistics.fmean(other.examples for other in merged)
    return f"it was trained on {'more' if delta.examples > mean else 'fewer'} examples than the merge's average"


def _freshness_words(delta: MergedDelta, merged: Sequence[MergedDelta]) -> str:
    mean = statistics.fmean(other.freshness for other in merged)
    return "it is fresher than the merge's average" if delta.freshness > mean else "it is staler than the average"


def _fairness_words(delta: MergedDelta, merged: Sequence[MergedDelta]) -> str:
    mean = statistics.fmean(other.fairness for other in merged)
    often = "less often" if delta.fairness > mean else "more often"
    return f"its agent has been merged {often} than the others"


def _against_mean(value: float, values: Sequence[float]) -> float:
    return _ratio(value, statistics.fmean(values))


def _ratio(value: float, of: float) -> float:
    """Return a quotient; 1 when there is nothing to compare with."""
    return value / of if of else 1.0
