"""A clipped delta is never longer than its bound and points where it pointed; a short one is left alone."""

from __future__ import annotations

import dataclasses
import json
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from alignfed.errors import AggregationInvalid
from alignfed.plain import from_plain
from coordinator.algo.aggregate import aggregate, replay
from coordinator.algo.align.alignment import Alignment, leave_alone
from coordinator.algo.clipping import clip_factor, clipped
from coordinator.algo.factors import add_scaled, copy_of, norm
from coordinator.algo.grouping import VersionGroup
from coordinator.algo.recipe import Recipe
from coordinator.algo.recipes.participation import RECIPE
from coordinator.algo.values import AggregationInput
from coordinator.algo.weigh.weighting import Weighting
from coordinator.domain import MergedDelta, MergeRecord, to_json
from tests.unit.algo.support import flat, make_delta, make_input, quick

sizes = st.floats(min_value=0, max_value=1e30)
bounds = st.floats(min_value=1e-30, max_value=1e30)


@given(size=sizes, bound=bounds)
def test_a_clipped_norm_is_at_most_the_bound_and_a_short_delta_is_untouched(size: float, bound: float) -> None:
    factor = clip_factor(size, bound)

    assert 0 <= factor <= 1
    assert (factor == 1.0) == (size <= bound) or factor * size == pytest.approx(bound)
    assert factor * size <= bound * (1 + 1e-12)


@pytest.mark.parametrize(("size", "bound"), [(math.inf, 1.0), (math.nan, 1.0), (-1.0, 1.0), (1.0, 0.0), (1.0, -2.0)])
def test_what_cannot_be_clipped_is_refused(size: float, bound: float) -> None:
    with pytest.raises(AggregationInvalid, match="clipped"):
        clip_factor(size, bound)


def test_a_clipped_load_is_scaled_in_fp32_and_an_unclipped_one_is_the_same_object() -> None:
    sent = {"a": torch.tensor([3.0, 4.0], dtype=torch.bfloat16)}

    def load() -> dict[str, torch.Tensor]:
        return sent

    scaled = clipped(load, 0.2)()

    assert clipped(load, 1.0) is load
    assert scaled["a"].dtype is torch.float32
    assert norm(scaled) == pytest.approx(1.0)
    assert torch.equal(sent["a"], torch.tensor([3.0, 4.0], dtype=torch.bfloat16))


@quick
@given(bound=st.floats(0.01, 0.5), staleness=st.lists(st.integers(0, 3), min_size=1, max_size=4))
def test_long_deltas_are_shortened_in_the_merge_and_the_record_derives_it_again(
    bound: float, staleness: list[int]
) -> None:
    deltas = tuple(
        dataclasses.replace(make_delta(number, staleness=behind), max_norm=bound)
        for number, behind in enumerate(staleness)
    )
    inputs = make_input(deltas)
    merged = aggregate(inputs, RECIPE)
    loads = {delta.delta_id: delta.load for delta in deltas}
    expected = copy_of(inputs.head)
    for part in merged.deltas:
        size = norm(loads[part.delta_id]())
        assert part.clip == pytest.approx(min(1.0, bound / size))
        assert part.norm == pytest.approx(size)
        add_scaled(expected, loads[part.delta_id](), part.coefficient * part.clip)
    assert torch.allclose(flat(merged.adapter), flat(expected), atol=1e-6)

    record = MergeRecord(recipe="any", server_learning_rate=1.0, deltas=merged.deltas, groups=merged.groups)
    kept = from_plain(MergeRecord, json.loads(json.dumps(to_json(record))))
    again = replay(inputs.head, kept, lambda delta_id: loads[delta_id]())
    assert torch.equal(flat(again), flat(merged.adapter))


def test_a_delta_that_alignment_stretches_is_shortened_again() -> None:
    def stretch(_inputs: AggregationInput, group: VersionGroup) -> Alignment:
        return Alignment(
            record=dataclasses.replace(leave_alone(_inputs, group).record, method="stretch"),
            carry=lambda factors: {name: 5 * tensor for name, tensor in factors.items()},
        )

    delta = dataclasses.replace(make_delta(1, staleness=1), max_norm=0.2)
    inputs = make_input([delta])
    merged = aggregate(inputs, Recipe(name="stretched", weighting=Weighting(), align=stretch))
    step = {name: merged.adapter[name] - inputs.head[name] for name in inputs.head}
    assert norm(step) == pytest.approx(0.2, rel=1e-4)
    assert merged.deltas[0].clip == pytest.approx(0.2 / norm(delta.load()) / 5)


def test_a_record_from_before_there_was_clipping_was_not_clipped() -> None:
    part = to_json(aggregate(make_input([make_delta(1)]), RECIPE).deltas[0])
    del part["clip"]
    assert from_plain(MergedDelta, part).clip == 1.0
