"""Workers in the test's own process: the whole loop, or single merges by hand."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator
from typing import Any

from prometheus_client import CollectorRegistry

from alignfed.codec import Factors
from alignfed.plan import FederationPlan
from alignfed.tracing.spans import NoOpTracer, Tracer
from coordinator.algo.values import CalibrationProbe
from coordinator.clock import SystemClock
from coordinator.domain import AdapterKind, DeltaRecord, DeltaState, FederationRecord, VersionRecord
from coordinator.ports import Clock, Store
from coordinator.worker.aggregator import Aggregator
from coordinator.worker.context import WorkerContext
from coordinator.worker.loop import Worker
from coordinator.worker.metrics import WorkerMetrics
from coordinator.worker.payloads import fetch_adapter
from tests.support.stores import receipt_of, take_lease
from tests.support.waiting import eventually

LEASE_SECONDS = 0.3


@dataclasses.dataclass(frozen=True)
class AnyVersion:
    """A calibration set whose rows are the same for every version."""

    probe: CalibrationProbe
    can_judge: bool = True
    can_reference: bool = False

    def for_version(self, _number: int) -> CalibrationProbe:
        return self.probe

    def reference_for(self, _number: int) -> CalibrationProbe:
        return self.probe


class NoProbes:
    """Probes of federations without calibration set, or with a given one."""

    def __init__(self, probe: Any = None) -> None:
        self._probe = probe

    async def for_federation(self, _record: FederationRecord) -> Any:
        return self._probe


def worker_context(
    store: Store, *, worker_id: str = "worker-1", clock: Clock | None = None, tracer: Tracer | None = None
) -> WorkerContext:
    """Return what a worker process works with, metrics on a registry of their own."""
    metrics = WorkerMetrics(CollectorRegistry())
    return WorkerContext(
        store=store,
        clock=clock or SystemClock(),
        metrics=metrics,
        worker_id=worker_id,
        tracer=tracer or NoOpTracer(),
    )


@contextlib.asynccontextmanager
async def running_worker(
    store: Store,
    *,
    worker_id: str = "worker-1",
    probe: Any = None,
    clock: Clock | None = None,
    tracer: Tracer | None = None,
) -> AsyncIterator[WorkerMetrics]:
    """Run a worker while the block runs, and let it finish what it does."""
    context = worker_context(store, worker_id=worker_id, clock=clock, tracer=tracer)
    worker = Worker(context, NoProbes(probe), lease_ttl_seconds=LEASE_SECONDS)  # type: ignore[arg-type]
    stop = asyncio.Event()
    task = asyncio.create_task(worker.run(stop))
    try:
        yield context.metrics
    finally:
        stop.set()
        await task


def new_aggregator(store: Store, plan: FederationPlan, *, probe: Any = None, clock: Clock | None = None) -> Aggregator:
    """Return an aggregator that has seen nothing yet, as a worker has that just took over."""
    return Aggregator(worker_context(store, clock=clock), plan, probe)


async def merge_queue(store: Store, plan: FederationPlan, aggregator: Aggregator) -> VersionRecord:
    """Take the lease, merge everything that waits in one go, and return the head."""
    token = await take_lease(store, plan.federation)
    claimed = await store.deltas.claim(plan.federation, "worker-1", limit=100)
    await aggregator.merge(claimed, token=token)
    head = await store.versions.head(plan.federation)
    return await store.versions.get(plan.federation, head.id.number)


async def settled(store: Store, *deltas: DeltaRecord) -> None:
    """Wait until every one of `deltas` is merged or rejected."""

    async def done() -> bool:
        states = [(await receipt_of(store, delta)).state for delta in deltas]
        return DeltaState.QUEUED not in states

    await eventually(done, what="every delta is merged or rejected")


async def adapter_of(store: Store, plan: FederationPlan, number: int) -> Factors:
    """Return the raw adapter of a version."""
    version = await store.versions.get(plan.federation, number)
    return await fetch_adapter(store.blobs, version.blob(AdapterKind.TRAINING), plan)
