"""A delta that is read where its payload lies is the delta that decoding gives, and is refused for the same reasons."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from alignfed.codec import Factors, decode, encode, narrow, widen
from alignfed.errors import FrozenFactorChanged, IndicesInvalid, ManifestMismatch, NonFinite, PayloadTruncated
from alignfed.layout import layout_of, tensors_at_rank
from alignfed.plan import Encoding, FederationPlan
from coordinator.algo.aggregate import aggregate
from coordinator.algo.factors import norm
from coordinator.algo.recipes import RECIPES
from coordinator.algo.values import AggregationInput, DeltaInput
from coordinator.domain import BlobRef, DeltaRecord, VersionId
from coordinator.worker.held_deltas import hold
from tests.support.factors import A, B, merging_plan

BASE = VersionId(epoch=0, number=0, digest="0" * 64)
KEEP = pytest.mark.parametrize("keep_decoded", [True, False])


def plan_in(encoding: Encoding, **lora: object) -> FederationPlan:
    plan = merging_plan()
    plan = dataclasses.replace(plan, delta_encoding=encoding)
    return dataclasses.replace(plan, lora=dataclasses.replace(plan.lora, rank=2, **lora))  # type: ignore[arg-type]


def record(plan: FederationPlan, *, rank: int = 2) -> DeltaRecord:
    return DeltaRecord(
        federation=plan.federation,
        agent_id="agent-1",
        delta_id="delta-1",
        base=BASE,
        examples=8,
        local_steps=2,
        encoding=plan.delta_encoding,
        rank=rank,
        payload=BlobRef(blob_id="blob", total_bytes=1, part_bytes=1, sha256="0" * 64),
        accepted_at=0.0,
    )


def drawn(plan: FederationPlan, seed: int = 0) -> Factors:
    generator = torch.Generator().manual_seed(seed)
    return {spec.name: torch.randn(spec.shape, generator=generator) for spec in plan.tensors}


@KEEP
@pytest.mark.parametrize("rank", [1, 2])
@pytest.mark.parametrize("encoding", list(Encoding))
def test_what_is_held_is_what_decoding_gives(encoding: Encoding, rank: int, keep_decoded: bool) -> None:
    plan = plan_in(encoding)
    tensors = tensors_at_rank(plan, rank)
    payload = encode(narrow(drawn(plan), tensors), encoding, topk_ratio=plan.topk_ratio)
    wanted = widen(decode(payload, tensors, encoding, topk_ratio=plan.topk_ratio), plan.tensors)
    load, size = hold(payload, plan, record(plan, rank=rank), keep_decoded=keep_decoded)
    for _ in range(2):
        held = load()
        assert list(held) == [A, B]
        assert all(torch.equal(held[name].float(), wanted[name]) for name in wanted)
    assert size == norm(wanted)


@KEEP
def test_damage_is_refused_with_its_reason(keep_decoded: bool) -> None:
    plan = plan_in(Encoding.BF16)
    good = encode(drawn(plan), Encoding.BF16)
    not_finite = bytearray(good)
    not_finite[-2:] = b"\xff\x7f"  # a bf16 NaN
    renamed = bytearray(good.replace(b"lora_A", b"lora_X"))
    for payload, error in ((good[:-2], PayloadTruncated), (renamed, ManifestMismatch), (not_finite, NonFinite)):
        with pytest.raises(error):
            hold(payload, plan, record(plan), keep_decoded=keep_decoded)


@KEEP
def test_places_out_of_order_are_refused(keep_decoded: bool) -> None:
    plan = dataclasses.replace(plan_in(Encoding.TOPK), topk_ratio=0.5)
    payload = encode(drawn(plan), Encoding.TOPK, topk_ratio=0.5)
    start = layout_of(plan.tensors, Encoding.TOPK, topk_ratio=0.5).entries[0].offset
    payload[start : start + 4], payload[start + 4 : start + 8] = (
        payload[start + 4 : start + 8],
        payload[start : start + 4],
    )
    with pytest.raises(IndicesInvalid, match="do not ascend"):
        hold(payload, plan, record(plan), keep_decoded=keep_decoded)


@KEEP
def test_a_frozen_factor_may_not_change(keep_decoded: bool) -> None:
    plan = plan_in(Encoding.BF16, freeze_a=True)
    factors = drawn(plan)
    with pytest.raises(FrozenFactorChanged, match="lora_A"):
        hold(encode(factors, Encoding.BF16), plan, record(plan), keep_decoded=keep_decoded)
    factors[A].zero_()
    hold(encode(factors, Encoding.BF16), plan, record(plan), keep_decoded=keep_decoded)


@pytest.mark.parametrize("name", [name for name, recipe in RECIPES.items() if not recipe.needs_probe])
def test_recipes_make_the_same_of_deltas_held_either_way(name: str) -> None:
    plan = plan_in(Encoding.BF16)
    head, older = drawn(plan, 1), drawn(plan, 2)

    def merged(*, keep_decoded: bool) -> object:
        deltas = []
        for number in range(4):
            factors = drawn(plan, 10 + number)
            if RECIPES[name].fleet.freeze_a:
                factors[A].zero_()
            payload = encode(factors, Encoding.BF16)
            load, size = hold(payload, plan, record(plan), keep_decoded=keep_decoded)
            deltas.append(
                DeltaInput(
                    delta_id=f"delta-{number}",
                    agent_id=f"agent-{number % 2}",
                    base=dataclasses.replace(BASE, number=number // 2),
                    staleness_versions=1 - number // 2,
                    examples=8,
                    load=load,
                    norm=size,
                )
            )
        inputs = AggregationInput(
            head=head,
            deltas=tuple(deltas),
            merged_by_agent={"agent-0": 3, "agent-1": 1},
            base_factors=lambda _base: older,
            server_learning_rate=0.7,
            probe=None,
            version_number=2,
        )
        result = aggregate(inputs, RECIPES[name])
        state = {path: tensor.tolist() for path, tensor in result.state.items()}
        return {n: t.tolist() for n, t in result.adapter.items()}, result.deltas, result.groups, state

    assert merged(keep_decoded=False) == merged(keep_decoded=True)
