"""Robust means: hostile deltas cannot drag them out of where the honest ones are, and records derive them again."""

from __future__ import annotations

import dataclasses
import json
import statistics

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from alignfed.codec import Factors
from alignfed.errors import AggregationInvalid, PlanInvalid
from alignfed.plain import from_plain
from coordinator.algo.aggregate import aggregate, replay
from coordinator.algo.merge.cohorts import cohorts
from coordinator.algo.merge.median import MEDIAN, coordinate_median
from coordinator.algo.merge.multi_krum import choose_close_ones
from coordinator.algo.merge.trimmed_mean import trimmed_mean
from coordinator.algo.recipe import Recipe
from coordinator.algo.recipes import get_recipe
from coordinator.algo.values import AggregationInput
from coordinator.algo.weigh.weighting import Weighting
from coordinator.domain import MergeRecord, to_json
from tests.unit.algo.support import flat, make_delta, make_factors, make_input, quick, version

NAMES = ("median", "trimmed-mean", "multi-krum")
columns = st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=9)


def record_of(inputs: AggregationInput, name: str, *, scale: float = 1.0) -> MergeRecord:
    merged = aggregate(inputs, get_recipe(name))
    record = MergeRecord(
        recipe=name, server_learning_rate=scale, deltas=merged.deltas, groups=merged.groups, robust=merged.robust
    )
    return from_plain(MergeRecord, json.loads(json.dumps(to_json(record))))


def near(factors: Factors, seed: int) -> Factors:
    other = make_factors(seed, scale=0.01)
    return {name: tensor + other[name] for name, tensor in factors.items()}


@given(columns)
def test_coordinates_are_what_plain_python_makes_of_them(values: list[float]) -> None:
    stacked = torch.tensor(values).unsqueeze(1)
    ordered, cut = sorted(values), len(values) // 4
    kept = ordered[cut : len(values) - cut]
    assert float(coordinate_median(stacked)) == pytest.approx(statistics.median(values), rel=1e-5, abs=1e-5)
    assert float(trimmed_mean(stacked)) == pytest.approx(sum(kept) / len(kept), rel=1e-4, abs=1e-4)


@pytest.mark.parametrize(
    ("bases", "smallest", "expected"),
    [
        ([5, 5, 5, 5], 3, [[0, 1, 2, 3]]),
        ([5, 5, 5, 4, 4, 4, 4], 3, [[0, 1, 2], [3, 4, 5, 6]]),
        ([5, 5, 5, 4, 3, 2], 3, [[0, 1, 2], [3, 4, 5]]),
        ([5, 5, 5, 4], 3, [[0, 1, 2, 3]]),
        ([5, 4, 3], 3, [[0, 1, 2]]),
        ([5, 4], 3, [[0, 1]]),
    ],
)
def test_small_groups_are_pooled_and_nobody_is_left_in_a_cohort_of_his_own(
    bases: list[int], smallest: int, expected: list[list[int]]
) -> None:
    assert cohorts([version(number) for number in bases], smallest) == expected


@pytest.mark.parametrize("name", NAMES)
@quick
@given(hostile=st.floats(-1e4, 1e4), seed=st.integers(0, 1000), staleness=st.integers(0, 3))
def test_one_hostile_delta_moves_the_merge_no_further_than_the_honest_ones_reach(
    name: str, hostile: float, seed: int, staleness: int
) -> None:
    honest = [near(make_factors(7), 20_000 + 10 * seed + i) for i in range(5)]
    enemy = {tensor: torch.full_like(value, hostile) for tensor, value in honest[0].items()}
    deltas = [make_delta(i, factors=factors) for i, factors in enumerate(honest)]
    deltas.append(make_delta(9, factors=enemy, staleness=staleness, examples=10**6))
    inputs = make_input(deltas)
    merged = aggregate(inputs, get_recipe(name)).adapter
    for tensor, start in inputs.head.items():
        step, told = merged[tensor] - start, torch.stack([factors[tensor] for factors in honest])
        assert bool((step >= told.min(dim=0).values - 1e-4).all())
        assert bool((step <= told.max(dim=0).values + 1e-4).all())


@pytest.mark.parametrize("name", NAMES)
@quick
@given(staleness=st.lists(st.integers(0, 3), min_size=1, max_size=8), seed=st.integers(0, 1000))
def test_coefficients_are_convex_and_replay_is_bit_identical(name: str, staleness: list[int], seed: int) -> None:
    deltas = [make_delta(10 * seed + i, staleness=behind, examples=1 + i) for i, behind in enumerate(staleness)]
    inputs = make_input(deltas)
    merged = aggregate(inputs, get_recipe(name))
    assert all(part.coefficient >= 0 for part in merged.deltas)
    assert sum(part.coefficient for part in merged.deltas) == pytest.approx(1.0)
    loads = {delta.delta_id: delta.load for delta in deltas}
    for scale in (1.0, 0.5):
        again = replay(inputs.head, record_of(inputs, name, scale=scale), lambda delta_id: loads[delta_id]())
        assert torch.equal(flat(again), flat(merged.at_step_scale(scale)))


@pytest.mark.parametrize("name", NAMES)
def test_equal_deltas_merge_to_that_delta(name: str) -> None:
    factors = make_factors(3)
    inputs = make_input([make_delta(i, factors=factors) for i in range(6)])
    merged = aggregate(inputs, get_recipe(name)).adapter
    assert all(torch.allclose(merged[tensor], inputs.head[tensor] + factors[tensor], atol=1e-5) for tensor in merged)


def test_krum_leaves_out_the_far_ones_and_says_so_in_their_coefficients() -> None:
    crowd = [near(make_factors(7), seed) for seed in range(5)]
    far = [{name: -3 * tensor for name, tensor in make_factors(50 + i).items()} for i in range(2)]
    shares = choose_close_ones([far[0], *crowd, far[1]])
    assert shares == [0.0, *[0.2] * 5, 0.0]
    assert choose_close_ones([*crowd[:3], far[0]]) == [0.25] * 4  # too few to tell


def test_a_record_of_an_unknown_robust_mean_is_refused() -> None:
    inputs = make_input([make_delta(i) for i in range(3)])
    record = dataclasses.replace(record_of(inputs, "median"), robust="mode")
    with pytest.raises(AggregationInvalid, match="'mode'"):
        replay(inputs.head, record, lambda _delta_id: make_factors(1))


def test_a_robust_mean_goes_with_no_component_wise_average() -> None:
    with pytest.raises(PlanInvalid, match="robust mean takes factors as they are"):
        Recipe(name="mixed", weighting=Weighting(), robust=MEDIAN)
