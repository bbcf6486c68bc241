"""Error feedback: what was sent and what is left add up to what was trained."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from alignfed.codec import Factors, decode, manifest_of
from alignfed.error_feedback import encode_with_residual
from alignfed.errors import NonFinite
from alignfed.plan import Encoding

RATIOS = st.sampled_from([0.01, 0.1, 0.5, 1.0])
SHAPES = {"a": (3, 7), "b": (11, 3)}


def drawn(seed: int, *, spread: float = 1.0) -> Factors:
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.randn(shape, generator=generator) * 10.0 ** (spread * torch.randn(shape, generator=generator))
        for name, shape in SHAPES.items()
    }


def sent_by(payload: bytearray, like: Factors, ratio: float) -> Factors:
    return decode(payload, manifest_of(like), Encoding.TOPK, topk_ratio=ratio)


@settings(max_examples=40)
@given(RATIOS, st.integers(0, 2**31))
def test_payload_and_residual_add_up_to_the_sum_exactly(ratio: float, seed: int) -> None:
    delta, residual = drawn(seed), drawn(seed + 1)
    payload, rest = encode_with_residual(delta, residual, topk_ratio=ratio)
    sent = sent_by(payload, delta, ratio)
    for name in SHAPES:
        owed = delta[name] + residual[name]
        assert torch.equal((sent[name].double() + rest[name].double()), owed.double())


@settings(max_examples=40)
@given(RATIOS, st.integers(1, 12), st.integers(0, 2**31))
def test_over_many_deltas_the_sums_differ_by_a_rounding_each(ratio: float, count: int, seed: int) -> None:
    residual: Factors | None = None
    total = {name: torch.zeros(shape, dtype=torch.float64) for name, shape in SHAPES.items()}
    largest = {name: torch.zeros(shape) for name, shape in SHAPES.items()}
    for number in range(count):
        delta = drawn(seed + number)
        for name in SHAPES:
            owed = delta[name] if residual is None else delta[name] + residual[name]
            largest[name] = torch.maximum(largest[name], owed.abs())
            total[name] += delta[name].double()
        payload, residual = encode_with_residual(delta, residual, topk_ratio=ratio)
        for name, factor in sent_by(payload, delta, ratio).items():
            total[name] -= factor.double()
    assert residual is not None
    for name in SHAPES:
        error = (total[name] - residual[name].double()).abs()
        assert bool((error <= count * 2.0**-24 * largest[name].double()).all())


@settings(max_examples=40)
@given(st.integers(0, 2**31))
def test_what_is_left_is_small_beside_what_is_sent(seed: int) -> None:
    delta = drawn(seed)
    payload, rest = encode_with_residual(delta, None, topk_ratio=0.5)
    for name, factor in sent_by(payload, delta, 0.5).items():
        left_out = factor == 0
        assert float(rest[name][~left_out].abs().max()) <= float(delta[name].abs().max()) * 2**-8
        assert torch.equal(rest[name][left_out], delta[name][left_out])


def test_repeated_deltas_send_every_element_in_the_end() -> None:
    delta = {"a": torch.tensor([[8.0, 4.0, 2.0, 1.0]])}
    residual: Factors | None = None
    seen = torch.zeros(1, 4, dtype=torch.bool)
    for _ in range(20):
        payload, residual = encode_with_residual(delta, residual, topk_ratio=0.25)
        seen |= sent_by(payload, delta, 0.25)["a"] != 0
    assert bool(seen.all())


def test_inputs_are_not_changed() -> None:
    delta, residual = drawn(1), drawn(2)
    encode_with_residual(delta, residual, topk_ratio=0.5)
    encode_with_residual(delta, None, topk_ratio=0.5)
    assert all(torch.equal(delta[name], drawn(1)[name]) for name in SHAPES)
    assert all(torch.equal(residual[name], drawn(2)[name]) for name in SHAPES)


def test_a_sum_beyond_every_number_is_refused() -> None:
    huge = {"a": torch.full((1, 2), 3e38)}
    with pytest.raises(NonFinite):
        encode_with_residual(huge, huge, topk_ratio=0.5)
    with pytest.raises(NonFinite):  # fp32 has it, bf16 rounds it to infinity
        encode_with_residual({"a": torch.full((1, 2), 3.4e38)}, None, topk_ratio=0.5)
