"""Fairness figures against slow references, and at their edges."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alignfed.errors import AggregationInvalid
from coordinator.fairness import gini, jain_index, lorenz, lorenz_shares

AMOUNTS = st.lists(st.floats(min_value=0, max_value=1e12, allow_subnormal=False), min_size=1, max_size=30)


def reference_gini(values: list[float]) -> float:
    """Mean absolute difference over all pairs, over twice the mean: the definition."""
    mean = sum(values) / len(values)
    differences = sum(abs(a - b) for a in values for b in values) / len(values) ** 2
    return differences / (2 * mean)


@given(AMOUNTS.filter(lambda values: max(values) > 1e-6))
def test_gini_is_half_the_relative_mean_difference(values: list[float]) -> None:
    assert gini(values) == pytest.approx(reference_gini(values), rel=1e-9, abs=1e-9)


@given(AMOUNTS.filter(lambda values: max(values) > 1e-6))
def test_jain_is_the_squared_sum_over_the_sum_of_squares(values: list[float]) -> None:
    expected = sum(values) ** 2 / (len(values) * sum(value * value for value in values))
    assert jain_index(values) == pytest.approx(expected, rel=1e-9)


@given(AMOUNTS, st.floats(min_value=1e-3, max_value=1e3))
def test_figures_depend_neither_on_order_nor_on_unit(values: list[float], factor: float) -> None:
    scaled = [value * factor for value in reversed(values)]
    assert jain_index(scaled) == pytest.approx(jain_index(values), rel=1e-6)
    assert gini(scaled) == pytest.approx(gini(values), rel=1e-6, abs=1e-9)


@pytest.mark.parametrize(
    ("values", "jain", "unevenness"),
    [([5, 5, 5, 5], 1.0, 0.0), ([1, 0, 0, 0], 0.25, 0.75), ([7], 1.0, 0.0), ([], 1.0, 0.0), ([0, 0], 1.0, 0.0)],
    ids=["even", "one-takes-all", "alone", "nobody", "nothing-yet"],
)
def test_edges(values: list[float], jain: float, unevenness: float) -> None:
    assert jain_index(values) == pytest.approx(jain)
    assert gini(values) == pytest.approx(unevenness)


def test_agents_that_got_nothing_count() -> None:
    assert jain_index([1, 1, 0]) < jain_index([1, 1])
    assert gini([1, 1, 0]) > gini([1, 1])


def test_huge_and_tiny_amounts_neither_overflow_nor_vanish() -> None:
    assert jain_index([1e300, 1e300]) == pytest.approx(1.0)
    assert gini([1e-300, 3e-300]) == pytest.approx(0.25)


@given(AMOUNTS)
def test_the_lorenz_curve_spans_a_gini_of_the_same_size(values: list[float]) -> None:
    points = lorenz(values)
    assert points[0] == (0.0, 0.0)
    assert points[-1] == pytest.approx((1.0, 1.0))
    area = sum((x1 - x0) * (y0 + y1) / 2 for (x0, y0), (x1, y1) in itertools.pairwise(points))
    assert 1 - 2 * area == pytest.approx(gini(values), abs=1e-6)


@pytest.mark.parametrize("bad", [-1.0, math.nan, math.inf])
def test_amounts_that_cannot_be_shared_are_refused(bad: float) -> None:
    for figure in (jain_index, gini, lorenz):
        with pytest.raises(AggregationInvalid):
            figure([1.0, bad])


def reference_share(values: list[float], fraction: float) -> float:
    """The sum of the least-served `fraction * n` participants, the last one counted in part, over the total."""
    left, held = fraction * len(values), 0.0
    for value in sorted(values):
        held += value * min(max(left, 0.0), 1.0)
        left -= 1
    return held / sum(values)


@given(AMOUNTS.filter(lambda values: max(values) > 1e-6), st.floats(min_value=0, max_value=1))
def test_a_lorenz_share_is_what_the_least_served_hold(values: list[float], fraction: float) -> None:
    (share,) = lorenz_shares(values, [fraction])
    assert share == pytest.approx(reference_share(values, fraction), abs=1e-9)
    assert share <= fraction + 1e-9


def test_lorenz_shares_at_the_edges() -> None:
    assert lorenz_shares([1, 0, 0, 0], [0.0, 0.5, 0.75, 0.875, 1.0]) == pytest.approx([0, 0, 0, 0.5, 1])
    assert lorenz_shares([7], [0.25, 1.0]) == pytest.approx([0.25, 1.0])
    assert lorenz_shares([], [0.3]) == lorenz_shares([0, 0], [0.3]) == pytest.approx([0.3])


@pytest.mark.parametrize("fraction", [-0.1, 1.1, math.nan])
def test_a_lorenz_curve_has_no_points_outside(fraction: float) -> None:
    with pytest.raises(AggregationInvalid):
        lorenz_shares([1.0, 2.0], [fraction])
