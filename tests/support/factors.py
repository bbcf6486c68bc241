"""Federations with real payloads, for tests that merge: a two-tensor adapter and deltas of chosen values."""

from __future__ import annotations

import dataclasses
import math

import torch

from alignfed.chunks import sha256_of
from alignfed.codec import Factors, encode
from alignfed.plan import Aggregation, Buffer, Calibration, Encoding, FederationPlan, TensorSpec
from coordinator.domain import DeltaRecord, FederationRecord, VersionId, VersionKind, VersionRecord
from coordinator.ports import Store
from tests.support.stores import NOW, new_agent, new_plan, store_blob, unique

A = "layer.q_proj.lora_A.weight"
B = "layer.q_proj.lora_B.weight"
TENSORS = (TensorSpec(name=A, shape=(2, 8)), TensorSpec(name=B, shape=(6, 2)))


def merging_plan(
    *,
    recipe: str = "participation",
    buffer: Buffer = Buffer(size=2),  # noqa: B008 (frozen)
    judge_rows: int = 0,
) -> FederationPlan:
    """Return a plan of a tiny federation that can really merge, without calibration set unless `judge_rows`."""
    return dataclasses.replace(
        new_plan(),
        tensors=TENSORS,
        buffer=buffer,
        aggregation=Aggregation(recipe=recipe),
        calibration=Calibration(fit_rows=0, judge_rows=judge_rows),
    ).validate()


def filled(value: float) -> Factors:
    """Return factors whose every element is `value`."""
    return {spec.name: torch.full(spec.shape, value) for spec in TENSORS}


async def create_federation(store: Store, plan: FederationPlan, *agents: str, start: float | Factors = 0.0) -> None:
    """Create the federation with the adapter `start`, or with its every element `start`, and register `agents`."""
    first = filled(start) if isinstance(start, float) else start
    adapter = await store_blob(store, plan.federation, bytes(encode(first, Encoding.FP32)))
    initial = VersionRecord(
        id=VersionId(epoch=0, number=0, digest=adapter.sha256),
        kind=VersionKind.INITIAL,
        parent=None,
        adapter=adapter,
        created_at=NOW,
    )
    await store.federations.create(FederationRecord(plan=plan, calibration=None, created_at=NOW), initial)
    for agent_id in agents:
        await store.agents.register(plan.federation, new_agent(agent_id))


async def send_delta(
    store: Store,
    plan: FederationPlan,
    value: float | Factors,
    *,
    agent_id: str = "agent-1",
    base: VersionId | None = None,
    delta_id: str | None = None,
    damage: bool = False,
) -> DeltaRecord:
    """Queue the delta `value`, or one whose every element it is (NaN allowed); `damage` flips a byte afterwards."""
    has_nan = isinstance(value, float) and math.isnan(value)
    factors = filled(0.0 if has_nan else value) if isinstance(value, float) else value
    payload = encode(factors, plan.delta_encoding, topk_ratio=plan.topk_ratio)
    if has_nan:
        payload[-2:] = b"\xff\x7f"  # a bf16 NaN
    sha256 = sha256_of(payload)
    if damage:
        payload[-1] ^= 1
    blob = dataclasses.replace(await store_blob(store, plan.federation, bytes(payload)), sha256=sha256)
    delta = DeltaRecord(
        federation=plan.federation,
        agent_id=agent_id,
        delta_id=delta_id or unique("delta"),
        base=base or (await store.versions.head(plan.federation)).id,
        examples=8,
        local_steps=2,
        encoding=plan.delta_encoding,
        rank=2,
        payload=blob,
        accepted_at=NOW,
    )
    await store.deltas.accept(delta)
    return delta
