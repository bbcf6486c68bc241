"""A clipped delta is never longer than its bound and points where it pointed; a short one is left alone."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from alignfed.errors import AggregationInvalid
from coordinator.algo.clipping import clip_factor, clipped
from coordinator.algo.factors import norm

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
