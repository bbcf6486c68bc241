"""The worker's loop: for every federation, wait for the lease, lead while it is held, begin again."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
from collections import Counter, defaultdict

from alignfed.errors import Fenced, HeadMoved, Rejected, Unavailable
from alignfed.plan import FederationPlan
from coordinator import policy
from coordinator.algo.recipes.requirements import recipe_of
from coordinator.domain import QueuedDelta
from coordinator.worker.aggregator import Aggregator
from coordinator.worker.context import WorkerContext
from coordinator.worker.leader import Leader
from coordinator.worker.lease import LEASE_TTL_SECONDS, hold_lease
from coordinator.worker.privacy import as_private
from coordinator.worker.probes import Probes

log = logging.getLogger(__name__)

DISCOVER_SECONDS = 2.0
"""How often the worker looks for new federations, and retries one that another worker leads or that failed."""
MOST_LOOKS = 3
"""How often a worker that leads others passes a free federation by, for one that leads fewer to take it."""

MISCONFIGURED_SECONDS = 30.0
"""How often it tries a federation that cannot be led as things are, such as one whose base model is not here: each try
reads the whole model, and only an operator can change the outcome."""


class Worker:
    """Merges for every federation of a store, or for one.

    Args:
        context: This process's resources.
        probes: Calibration models, loaded when a federation is first led.
        only: The one federation to work for; None for all.
        lease_ttl_seconds: How long a worker that died keeps others from merging.
    """

    def __init__(
        self,
        context: WorkerContext,
        probes: Probes,
        *,
        only: str | None = None,
        lease_ttl_seconds: float = LEASE_TTL_SECONDS,
    ) -> None:
        self._context = context
        self._store = context.store
        self._metrics = context.metrics
        self._probes = probes
        self._only = only
        self._lease_ttl_seconds = lease_ttl_seconds
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._led: set[str] = set()  # or about to be
        self._seen_free: Counter[str] = Counter()
        self._blameless: defaultdict[str, list[QueuedDelta]] = defaultdict(list)

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set; a merge in progress is finished first."""
        try:
            while not stop.is_set():
                await self._discover(stop)
                await _pause(stop, DISCOVER_SECONDS)
        finally:
            await asyncio.gather(*self._tasks.values())

    async def _discover(self, stop: asyncio.Event) -> None:
        try:
            names = await self._store.federations.names()
        except Unavailable as error:
            log.warning("store does not answer, trying again: %s", error)
            return
        for name in names:
            if name not in self._tasks and self._only in (None, name):
                self._tasks[name] = asyncio.create_task(self._serve(name, stop), name=f"lead-{name}")

    async def _serve(self, federation: str, stop: asyncio.Event) -> None:
        """Lead one federation again and again; no failure of it may end the worker or the other federations."""
        while not stop.is_set():
            pause_seconds = DISCOVER_SECONDS
            try:
                await self._lead_once(federation, stop)
            except (Fenced, HeadMoved) as error:
                log.warning("%s: this worker no longer leads: %s", federation, error)
                self._metrics.lease_lost.labels(federation).inc()
            except Unavailable as error:
                log.warning("%s: store does not answer, trying again: %s", federation, error)
            except Rejected as error:
                log.error("%s: cannot be led: %s [%s]", federation, error, error.reason)
                pause_seconds = MISCONFIGURED_SECONDS
            except Exception:
                log.exception("%s: leading failed, trying again", federation)
            await _pause(stop, pause_seconds)

    async def _lead_once(self, federation: str, stop: asyncio.Event) -> None:
        if self._led and await self._passes_by(federation):
            return
        self._seen_free.pop(federation, None)
        self._led.add(federation)
        try:
            await self._take_the_lead(federation, stop)
        finally:
            self._led.discard(federation)

    async def _passes_by(self, federation: str) -> bool:
        """Whether to leave a federation to workers that lead fewer: once for each that this one leads, at most thrice.

        So several workers share the federations of a store, and one alone leads them all within a few looks.
        """
        holder = await self._store.leases.holder(federation)
        if holder is not None:
            self._seen_free.pop(federation, None)
            return holder.worker_id != self._context.worker_id
        self._seen_free[federation] += 1
        return self._seen_free[federation] <= min(len(self._led), MOST_LOOKS)

    async def _take_the_lead(self, federation: str, stop: asyncio.Event) -> None:
        ttl = self._lease_ttl_seconds
        context = self._context
        async with hold_lease(
            self._store.leases, context.clock, federation, context.worker_id, ttl_seconds=ttl
        ) as lease:
            if lease is None:
                return
            log.info("%s: leading with token %d", federation, lease.token)
            self._metrics.fleet.lease_epoch.labels(federation).set(lease.token)
            try:
                record = await self._store.federations.get(federation)
                probe = await self._probes.for_federation(record)
                aggregator = Aggregator(context, record.plan, probe)
                blameless = self._blameless[federation]
                await Leader(context, _as_merged(record.plan), lease, aggregator, blameless=blameless).lead(stop)
            finally:
                self._metrics.fleet.forget(federation)
            if lease.lost.is_set():
                self._metrics.lease_lost.labels(federation).inc()


def _as_merged(plan: FederationPlan) -> FederationPlan:
    """Return the plan with the buffer that its recipe fills, and without what privacy does not go with."""
    plan = as_private(plan)
    return dataclasses.replace(plan, buffer=policy.buffer_for(plan.buffer, recipe_of(plan).buffer_size))


async def _pause(stop: asyncio.Event, seconds: float) -> None:
    """Sleep, but wake up at once when `stop` is set."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await stop.wait()
