"""The wire codec: round trips are exact or within their bound, and nothing malformed gets through."""

from __future__ import annotations

import math

import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from alignfed.codec import Factors, decode, encode, manifest_of
from alignfed.errors import IndicesInvalid, ManifestMismatch, NonFinite, PayloadTruncated, PlanInvalid
from alignfed.layout import GROUP_ELEMENTS, kept_of, layout_of
from alignfed.plan import Encoding, TensorSpec

shapes = st.lists(st.tuples(st.integers(1, 5), st.integers(1, 7)), min_size=1, max_size=4)


def random_factors(sizes: list[tuple[int, int]], seed: int) -> Factors:
    generator = torch.Generator().manual_seed(seed)
    return {
        f"layers.{i}.lora_A.weight": torch.randn(shape, generator=generator) * 10.0 ** (i - 1)
        for i, shape in enumerate(sizes)
    }


@given(shapes, st.integers(0, 2**31))
def test_fp32_round_trip_is_exact(sizes: list[tuple[int, int]], seed: int) -> None:
    factors = random_factors(sizes, seed)
    decoded = decode(encode(factors, Encoding.FP32), manifest_of(factors), Encoding.FP32)
    assert decoded.keys() == factors.keys()
    assert all(torch.equal(decoded[name], factors[name]) for name in factors)


@given(shapes, st.integers(0, 2**31))
def test_bf16_round_trip_is_the_cast_and_then_exact(sizes: list[tuple[int, int]], seed: int) -> None:
    factors = random_factors(sizes, seed)
    once = decode(encode(factors, Encoding.BF16), manifest_of(factors), Encoding.BF16)
    again = decode(encode(once, Encoding.BF16), manifest_of(once), Encoding.BF16)
    for name, tensor in factors.items():
        assert torch.equal(once[name], tensor.bfloat16().float())
        assert torch.equal(again[name], once[name])
        assert bool(((once[name] - tensor).abs() <= tensor.abs() * 2**-8).all())


@given(shapes, st.integers(0, 2**31))
def test_int8_error_is_at_most_half_its_rows_scale(sizes: list[tuple[int, int]], seed: int) -> None:
    factors = random_factors(sizes, seed)
    decoded = decode(encode(factors, Encoding.INT8), manifest_of(factors), Encoding.INT8)
    for name, tensor in factors.items():
        scale = tensor.abs().amax(dim=1, keepdim=True) / 127
        assert bool(((decoded[name] - tensor).abs() <= scale * 0.5 * (1 + 1e-5)).all())


@pytest.mark.parametrize("encoding", [Encoding.INT8, Encoding.INT8_GROUPS])
def test_int8_keeps_zero_rows_zero(encoding: Encoding) -> None:
    factors = {"a": torch.tensor([[0.0, 0.0], [1.0, -2.0]])}
    decoded = decode(encode(factors, encoding), manifest_of(factors), encoding)
    assert torch.equal(decoded["a"][0], torch.zeros(2))


@given(st.tuples(st.integers(1, 40), st.integers(1, 40)), st.integers(0, 2**31))
def test_int8_error_is_at_most_half_its_groups_scale(size: tuple[int, int], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    factors = {"a": torch.randn(size, generator=generator) * torch.logspace(-6, 6, size[1])}
    payload = encode(factors, Encoding.INT8_GROUPS)
    decoded = decode(payload, manifest_of(factors), Encoding.INT8_GROUPS)
    wanted, got = factors["a"].flatten(), decoded["a"].flatten()
    for start in range(0, wanted.numel(), GROUP_ELEMENTS):
        group = slice(start, start + GROUP_ELEMENTS)
        scale = wanted[group].abs().max() / 127
        assert bool(((got[group] - wanted[group]).abs() <= scale * 0.5 * (1 + 1e-5)).all())
    groups = math.ceil(wanted.numel() / GROUP_ELEMENTS)
    prefix = layout_of(manifest_of(factors), Encoding.INT8_GROUPS).prefix
    assert len(payload) == len(prefix) + 4 * groups + wanted.numel()


@given(shapes, st.sampled_from([0.001, 0.1, 0.5, 1.0]), st.integers(0, 2**31))
def test_topk_keeps_the_largest_of_each_tensor_and_nothing_else(
    sizes: list[tuple[int, int]], ratio: float, seed: int
) -> None:
    factors = random_factors(sizes, seed)
    payload = encode(factors, Encoding.TOPK, topk_ratio=ratio)
    decoded = decode(payload, manifest_of(factors), Encoding.TOPK, topk_ratio=ratio)
    for name, tensor in factors.items():
        kept = decoded[name] != 0
        assert int(kept.sum()) == kept_of(tensor.numel(), ratio)
        assert torch.equal(decoded[name][kept], tensor[kept].bfloat16().float())
        assert not bool((~kept).any()) or float(tensor[~kept].abs().max()) <= float(tensor[kept].abs().min())
    again = encode(decoded, Encoding.TOPK, topk_ratio=ratio)
    assert again == payload


def test_of_equal_elements_topk_keeps_the_first() -> None:
    factors = {"a": torch.tensor([[1.0, -2.0, 2.0], [1.0, 1.0, 0.0]])}
    decoded = decode(
        encode(factors, Encoding.TOPK, topk_ratio=0.5), manifest_of(factors), Encoding.TOPK, topk_ratio=0.5
    )
    assert decoded["a"].tolist() == [[1.0, -2.0, 2.0], [0.0, 0.0, 0.0]]


def test_topk_without_a_ratio_is_refused() -> None:
    with pytest.raises(PlanInvalid, match="topk_ratio"):
        encode({"a": torch.ones(2, 2)}, Encoding.TOPK)


@pytest.mark.parametrize("places", [(-1, 3), (0, 4), (3, 0), (2, 2), (-(2**31), 2**31 - 1)])
def test_places_outside_a_tensor_or_out_of_order_are_refused(places: tuple[int, int]) -> None:
    factors = {"a": torch.ones(2, 2)}
    payload = encode(factors, Encoding.TOPK, topk_ratio=0.5)
    (indices, _) = layout_of(manifest_of(factors), Encoding.TOPK, topk_ratio=0.5).entries
    payload[indices.offset : indices.offset + 8] = b"".join(it.to_bytes(4, "little", signed=True) for it in places)
    with pytest.raises(IndicesInvalid, match="a "):
        decode(payload, manifest_of(factors), Encoding.TOPK, topk_ratio=0.5)


@pytest.mark.parametrize("encoding", list(Encoding))
def test_a_payload_is_a_safetensors_file(encoding: Encoding) -> None:
    factors = random_factors([(3, 5), (2, 2)], seed=1)
    loaded = safetensors.torch.load(bytes(encode(factors, encoding, topk_ratio=0.5)))
    if encoding is Encoding.TOPK:
        assert {name.rpartition(".")[0] for name in loaded} == set(factors)
        return
    assert set(factors) <= set(loaded)
    assert all(loaded[name].shape == factors[name].shape for name in factors)


def test_the_layout_knows_the_length_without_tensors() -> None:
    factors = random_factors([(3, 5), (2, 2)], seed=1)
    for encoding in Encoding:
        layout = layout_of(manifest_of(factors), encoding, topk_ratio=0.3)
        assert layout.total_bytes == len(encode(factors, encoding, topk_ratio=0.3))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_nan_and_infinity_are_refused_on_both_sides(value: float) -> None:
    good = {"a": torch.ones(2, 2)}
    bad = {"a": torch.tensor([[1.0, value], [0.0, 0.0]])}
    with pytest.raises(NonFinite, match="in a"):
        encode(bad, Encoding.FP32)
    payload = encode(good, Encoding.FP32)
    payload[-4:] = torch.tensor([value]).numpy().tobytes()
    with pytest.raises(NonFinite):
        decode(payload, manifest_of(good), Encoding.FP32)


def test_a_payload_of_another_length_or_layout_is_refused() -> None:
    factors = {"a": torch.ones(2, 2)}
    payload = encode(factors, Encoding.FP32)
    with pytest.raises(PayloadTruncated):
        decode(payload[:-1], manifest_of(factors), Encoding.FP32)
    with pytest.raises(ManifestMismatch):
        decode(payload, (TensorSpec(name="b", shape=(2, 2)),), Encoding.FP32)


@settings(max_examples=300)
@given(st.binary(max_size=400))
def test_hostile_bytes_only_ever_raise_typed_errors(payload: bytes) -> None:
    tensors = (TensorSpec(name="a", shape=(2, 2)),)
    with pytest.raises((ManifestMismatch, PayloadTruncated, NonFinite)):
        decode(payload, tensors, Encoding.FP32)
