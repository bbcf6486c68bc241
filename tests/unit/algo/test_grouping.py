"""Version-aware grouping: complete, freshest first, blind to the order of arrival."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alignfed.errors import AggregationInvalid
from coordinator.algo.grouping import group_by_base
from tests.unit.algo.support import make_delta, quick, version


@quick
@given(st.lists(st.integers(0, 4), min_size=1, max_size=8), st.randoms(use_true_random=False))
def test_order_of_arrival_does_not_matter(staleness: list[int], random: object) -> None:
    deltas = [make_delta(seed, staleness=tau) for seed, tau in enumerate(staleness)]
    shuffled = list(deltas)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    groups = group_by_base(shuffled)
    assert groups == group_by_base(deltas)
    assert [group.staleness_versions for group in groups] == sorted(set(staleness))
    assert sorted(delta.delta_id for group in groups for delta in group.deltas) == [d.delta_id for d in deltas]
    for group in groups:
        ids = [delta.delta_id for delta in group.deltas]
        assert ids == sorted(ids)
        assert all(delta.base == group.base for delta in group.deltas)
        assert group.fresh == (group.staleness_versions == 0)


def test_same_number_of_another_epoch_is_another_group() -> None:
    first = make_delta(1, staleness=2)
    second = dataclasses.replace(make_delta(2, staleness=2), base=version(8, epoch=5))
    assert [group.base.epoch for group in group_by_base([first, second])] == [5, 1]


def test_contradictions_are_refused() -> None:
    with pytest.raises(AggregationInvalid, match="no deltas"):
        group_by_base([])
    with pytest.raises(AggregationInvalid, match="twice"):
        group_by_base([make_delta(1), make_delta(1)])
    with pytest.raises(AggregationInvalid, match="staleness"):
        group_by_base([make_delta(1), dataclasses.replace(make_delta(2), staleness_versions=3)])
    with pytest.raises(AggregationInvalid, match="staleness"):
        group_by_base([dataclasses.replace(make_delta(2), staleness_versions=-1)])
