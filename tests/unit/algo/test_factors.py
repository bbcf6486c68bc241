"""Vector kernels on adapters against float64, and their independence of blocks and threads."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from alignfed.errors import ManifestMismatch
from coordinator.algo import factors as kernels
from coordinator.algo.factors import add_scaled, copy_of, cosine, inner, norm, zeros_like
from tests.unit.algo.support import flat, make_factors, quick

seeds = st.integers(0, 10_000)


@quick
@given(seeds, st.floats(-3, 3))
def test_add_scaled_matches_float64(seed: int, scale: float) -> None:
    accumulator, delta = make_factors(seed), make_factors(seed + 1)
    expected = flat(accumulator) + scale * flat(delta)
    add_scaled(accumulator, delta, scale)
    assert torch.allclose(flat(accumulator), expected, rtol=1e-6, atol=1e-6)


@quick
@given(seeds)
def test_inner_and_norm_match_float64(seed: int) -> None:
    left, right = make_factors(seed), make_factors(seed + 1)
    assert inner(left, right) == pytest.approx(float(flat(left) @ flat(right)), rel=1e-5, abs=1e-5)
    assert norm(left) == pytest.approx(float(flat(left).norm()), rel=1e-6)


def test_sums_do_not_depend_on_blocks_or_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(3)
    start = {"w": torch.randn(70_001, generator=generator)}
    delta = {"w": torch.randn(70_001, generator=generator)}
    results = []
    threads = torch.get_num_threads()
    try:
        for count, block in ((1, 1 << 20), (2, 1 << 20), (2, 40_000), (1, 997)):
            torch.set_num_threads(count)
            monkeypatch.setattr(kernels, "BLOCK_ELEMENTS", block)
            accumulator = copy_of(start)
            add_scaled(accumulator, delta, 0.3)
            results.append(accumulator["w"])
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(result, results[0]) for result in results)


def test_half_precision_deltas_are_added_in_fp32() -> None:
    accumulator = {"w": torch.ones(3)}
    add_scaled(accumulator, {"w": torch.full((3,), 2.0**-7, dtype=torch.bfloat16)}, 1.0)
    assert torch.equal(accumulator["w"], torch.full((3,), 1.0 + 2.0**-7))


def test_sources_are_left_as_they_are() -> None:
    head, delta = make_factors(1), make_factors(2)
    copied = copy_of(head)
    add_scaled(copied, delta, 2.0)
    assert torch.equal(flat(head), flat(make_factors(1)))
    assert torch.equal(flat(delta), flat(make_factors(2)))
    assert not flat(zeros_like(head)).any()


def test_norm_of_something_not_finite_is_infinite() -> None:
    assert norm({"w": torch.tensor([1.0, math.nan])}) == math.inf
    assert norm({"w": torch.tensor([1e30, 1.0])}) == math.inf


def test_cosine_of_a_zero_vector_is_zero() -> None:
    assert cosine(0.0, 0.0, 1.0) == 0.0
    assert cosine(1.0000001, 1.0, 1.0) == 1.0


@pytest.mark.parametrize("change", ["missing", "unknown", "transposed"])
def test_other_names_or_shapes_are_refused_and_nothing_is_added(change: str) -> None:
    accumulator, delta = make_factors(1), make_factors(2)
    if change == "missing":
        delta.pop("layers.0.q.lora_A.weight")
    elif change == "unknown":
        delta["layers.2.q.lora_A.weight"] = torch.zeros(2, 5)
    else:
        delta["layers.0.q.lora_A.weight"] = delta["layers.0.q.lora_A.weight"].T
    with pytest.raises(ManifestMismatch, match=r"layers\.[02]\.q\.lora_A"):
        add_scaled(accumulator, delta, 1.0)
    assert torch.equal(flat(accumulator), flat(make_factors(1)))
