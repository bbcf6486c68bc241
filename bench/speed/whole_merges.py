"""The worker's whole merge, from a real store to payloads stored again, against fetching its deltas at all."""

from __future__ import annotations

import asyncio
import dataclasses
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import torch
from prometheus_client import CollectorRegistry

from alignfed.codec import encode
from alignfed.plan import Aggregation, FederationPlan
from bench.speed.goals import WHOLE_MERGE, Row
from bench.speed.rounds import compare_awaited
from bench.speed.started import FEDERATION, RANK, plan_of, zero_adapter
from coordinator.backends.embedded import EmbeddedValkey
from coordinator.backends.opening import opened_store
from coordinator.clock import SystemClock
from coordinator.domain import (
    AgentRecord,
    BlobRef,
    Commit,
    CommitOutcome,
    DeltaRecord,
    FederationRecord,
    QueuedDelta,
    VersionId,
    VersionKind,
    VersionRecord,
)
from coordinator.ports import Store
from coordinator.worker.aggregator import Aggregator
from coordinator.worker.context import WorkerContext
from coordinator.worker.metrics import WorkerMetrics
from coordinator.worker.payloads import store_payload

WORKER = "worker"
LEASE_SECONDS = 3600.0
PLAIN_RECIPE = "participation"
"""No calibration, so that no model takes part."""


def measure_whole_merges(folder: Path, *, parameters: int, deltas: int, rounds: int, say: Callable[[str], None]) -> Row:
    """Merge `deltas` bf16 deltas of `parameters` elements that wait in a store: everything but the commit itself.

    Nothing is committed, so that the same deltas are merged in every round.
    """
    with EmbeddedValkey(folder / "merges-store") as valkey:
        return asyncio.run(_measure(valkey.url, parameters=parameters, deltas=deltas, rounds=rounds, say=say))


async def _measure(url: str, *, parameters: int, deltas: int, rounds: int, say: Callable[[str], None]) -> Row:
    plan = dataclasses.replace(plan_of(parameters), aggregation=Aggregation(recipe=PLAIN_RECIPE))
    async with opened_store(url) as store:
        queued, token = await _fill(store, plan, deltas)
        return await compare_awaited(
            WHOLE_MERGE,
            lambda: _merge(store, plan, queued, token),
            lambda: _fetch(store, queued),
            rounds=rounds,
            say=say,
        )


async def _fill(store: Store, plan: FederationPlan, deltas: int) -> tuple[list[QueuedDelta], int]:
    """Create the federation, queue deltas, and claim them under a lease."""
    now = SystemClock().now()
    adapter = await store_payload(store.blobs, plan, zero_adapter(plan), name="start", at=now)
    first = VersionId(epoch=0, number=0, digest=adapter.sha256)
    initial = VersionRecord(id=first, kind=VersionKind.INITIAL, parent=None, adapter=adapter, created_at=now)
    await store.federations.create(FederationRecord(plan=plan, calibration=None, created_at=now), initial)
    drawn = {spec.name: torch.randn(spec.shape).mul_(0.01) for spec in plan.tensors}
    payload = encode(drawn, plan.delta_encoding, topk_ratio=plan.topk_ratio)
    for number in range(deltas):
        agent_id = f"agent-{number}"
        await store.agents.register(FEDERATION, AgentRecord(agent_id=agent_id, registered_at=now, last_seen_at=now))
        delta = DeltaRecord(
            federation=FEDERATION,
            agent_id=agent_id,
            delta_id=f"delta-{number}",
            base=first,
            examples=1,
            local_steps=1,
            encoding=plan.delta_encoding,
            rank=RANK,
            payload=await store_payload(store.blobs, plan, payload, name=f"delta-{number}", at=now),
            accepted_at=now,
        )
        await store.deltas.accept(delta)
    token = await store.leases.acquire(FEDERATION, WORKER, ttl_seconds=LEASE_SECONDS)
    assert token is not None  # nobody else knows of this store
    return await store.deltas.claim(FEDERATION, WORKER, limit=deltas), token


async def _merge(store: Store, plan: FederationPlan, queued: list[QueuedDelta], token: int) -> float:
    """Return the seconds of one merge by a worker that has the head in memory, as one has that led before."""
    metrics = WorkerMetrics(CollectorRegistry())
    rehearsal = cast("Store", _Rehearsal(store))
    context = WorkerContext(store=rehearsal, clock=SystemClock(), metrics=metrics, worker_id=WORKER)
    aggregator = Aggregator(context, plan, None)
    await aggregator.prepare((await store.versions.head(FEDERATION)).id)
    began = time.perf_counter()
    await aggregator.merge(queued, token=token)
    seconds = time.perf_counter() - began
    await store.blobs.sweep(FEDERATION, unclaimed_before=math.inf)
    return seconds


async def _fetch(store: Store, queued: list[QueuedDelta]) -> float:
    """Return the seconds it takes to get every part of every delta from the store, and forget it."""
    began = time.perf_counter()
    for each in queued:
        blob: BlobRef = each.delta.payload
        for index in range(blob.parts):
            await store.blobs.get_part(blob.blob_id, index)
    return time.perf_counter() - began


class _Rehearsal:
    """A store that a merge can be committed to any number of times, because nothing comes of it."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.versions = _Uncommitted(store.versions)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


class _Uncommitted:
    def __init__(self, versions: Any) -> None:
        self._versions = versions

    def __getattr__(self, name: str) -> Any:
        return getattr(self._versions, name)

    async def commit(self, _commit: Commit) -> CommitOutcome:
        return CommitOutcome.COMMITTED
