"""The fast sum gives the bits of the plain one, whatever is added at a time, and stays within its error bound."""

from __future__ import annotations

import weakref

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from alignfed.codec import Factors
from alignfed.errors import ManifestMismatch
from coordinator.algo.factors import add_scaled, copy_of
from coordinator.algo.merge import summing
from coordinator.algo.merge.summing import plus_scaled
from tests.unit.algo.support import quick

SHAPES = {"a": (3, 37), "b": (1001,), "none": (0, 4), "one": (1,)}
DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64)

seeds = st.integers(0, 10_000)
scales = st.lists(st.floats(-3, 3, width=32), min_size=0, max_size=7)


def drawn(seed: int, dtype: torch.dtype) -> Factors:
    generator = torch.Generator().manual_seed(seed)
    magnitude = 10.0 ** torch.randint(-3, 4, (1,), generator=generator)
    return {n: (torch.randn(s, generator=generator) * magnitude).to(dtype) for n, s in SHAPES.items()}


@quick
@given(seeds, scales, st.sampled_from(DTYPES), st.integers(1, 400), st.integers(1, 20_000))
def test_sums_have_the_bits_of_one_delta_after_the_other(
    seed: int, scales: list[float], dtype: torch.dtype, block: int, at_once_bytes: int
) -> None:
    start = drawn(seed, torch.float32)
    deltas = [drawn(seed + 1 + number, dtype) for number in range(len(scales))]
    plain = copy_of(start)
    for scale, delta in zip(scales, deltas, strict=True):
        add_scaled(plain, delta, scale)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(summing, "SUM_BLOCK_ELEMENTS", block)
        patch.setattr(summing, "AT_ONCE_BYTES", at_once_bytes)
        fast = plus_scaled(start, [(s, lambda d=d: d) for s, d in zip(scales, deltas, strict=True)])  # type: ignore[misc]
    assert list(fast) == list(start)
    assert all(torch.equal(fast[name].view(torch.int32), plain[name].view(torch.int32)) for name in plain)
    assert all(fast[name].data_ptr() != start[name].data_ptr() for name in start if start[name].numel())


@quick
@given(seeds, scales, st.sampled_from((torch.float32, torch.bfloat16)))
def test_every_element_is_within_the_error_bound(seed: int, scales: list[float], dtype: torch.dtype) -> None:
    start = drawn(seed, torch.float32)
    deltas = [drawn(seed + 1 + number, dtype) for number in range(len(scales))]
    summed = plus_scaled(start, [(s, lambda d=d: d) for s, d in zip(scales, deltas, strict=True)])  # type: ignore[misc]
    for name, first in start.items():
        parts = [first.double(), *(s * d[name].double() for s, d in zip(scales, deltas, strict=True))]
        exact = torch.stack(parts).sum(dim=0)
        bound = len(scales) * 2.0**-24 * torch.stack(parts).abs().sum(dim=0)
        assert bool(((summed[name].double() - exact).abs() <= 1.001 * bound + 1e-40).all())


def test_threads_do_not_change_the_sum() -> None:
    generator = torch.Generator().manual_seed(5)
    start = {"w": torch.randn(70_001, generator=generator)}
    deltas = [{"w": torch.randn(70_001, generator=generator).bfloat16()} for _ in range(3)]
    threads = torch.get_num_threads()
    sums = []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            sums.append(plus_scaled(start, [(0.3, lambda d=d: d) for d in deltas])["w"])  # type: ignore[misc]
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(*sums)


def test_no_more_deltas_are_in_memory_than_the_budget_says(monkeypatch: pytest.MonkeyPatch) -> None:
    alive: weakref.WeakSet[torch.Tensor] = weakref.WeakSet()
    most = 0

    def load() -> Factors:
        nonlocal most
        tensor = torch.ones(100)
        alive.add(tensor)
        most = max(most, len(alive))
        return {"w": tensor}

    monkeypatch.setattr(summing, "AT_ONCE_BYTES", 3 * 400)
    summed = plus_scaled({"w": torch.zeros(100)}, [(1.0, load)] * 8)
    assert most == 3
    assert torch.equal(summed["w"], torch.full((100,), 8.0))


def test_a_delta_of_another_shape_is_refused() -> None:
    with pytest.raises(ManifestMismatch, match="shape"):
        plus_scaled({"w": torch.zeros(4)}, [(1.0, lambda: {"w": torch.zeros(2, 2)})])
