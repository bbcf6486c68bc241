"""What a worker does while it holds a federation's lease: claim, decide, merge or settle, sweep, export figures."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
from collections.abc import Sequence

from alignfed.errors import DeliveryExhausted, InvariantBroken, Unavailable
from alignfed.plan import FederationPlan
from alignfed.tracing.spans import annotate, fail_current, span
from coordinator import policy
from coordinator.domain import QueuedDelta, QueueDepth, VersionRecord
from coordinator.policy import Bury, Merge, Wait, Waiting
from coordinator.worker.aggregator import Aggregator
from coordinator.worker.context import WorkerContext
from coordinator.worker.lease import HeldLease
from coordinator.worker.merge_log import log_buried, log_claimed
from coordinator.worker.privacy import largest_epsilon
from coordinator.worker.tracing import merge_span

log = logging.getLogger(__name__)

POLL_SECONDS = 0.25
"""How often an idle leader looks for new deltas: far below any merge's duration, and one cheap command."""

FLEET_FIGURES_SECONDS = 5.0


class Leader:
    """Leads one federation until the lease is lost or `stop` is set.

    Args:
        context: This process's resources.
        plan: The federation's plan.
        lease: The held lease.
        aggregator: Runs one merge.
        blameless: Deltas that still count an attempt whose merge failed for a reason that is not theirs, because the
            store was away when it was to be taken back. This worker's, whatever leader it has for the federation.
    """

    def __init__(
        self,
        context: WorkerContext,
        plan: FederationPlan,
        lease: HeldLease,
        aggregator: Aggregator,
        *,
        blameless: list[QueuedDelta],
    ) -> None:
        self._store = context.store
        self._clock = context.clock
        self._metrics = context.metrics
        self._worker_id = context.worker_id
        self._tracer = context.tracer
        self._sweep_seconds = context.sweep_seconds
        self._plan = plan
        self._federation = plan.federation
        self._lease = lease
        self._aggregator = aggregator
        self._blameless = blameless
        self._waiting: tuple[Waiting, ...] = ()
        self._swept_at = self._figures_at = -float("inf")

    async def lead(self, stop: asyncio.Event) -> None:
        """Work until the lease is lost or `stop` is set.

        Raises:
            Unavailable: The store went away; what was claimed is reclaimed by whoever leads next.
            InvariantBroken: This worker was fenced, or the head moved under it, or a payload of the head is lost.
            PayloadDigestMismatch: A payload of the head is damaged. No attempt was counted against any delta.
        """
        await self._take_over()
        while not (stop.is_set() or self._lease.lost.is_set()):
            await self._housekeeping()
            await self._claim()
            head = await self._store.versions.head(self._federation)
            now = self._clock.monotonic()
            decision = policy.decide(self._waiting, self._plan.buffer, now_seconds=now, paused=head.paused)
            match decision:
                case Merge(deltas=deltas, cause=cause):
                    with merge_span(self._tracer, deltas, cause=cause, head=head.id.number):
                        await self._aggregator.prepare(head.id)
                        await self._merge(deltas)
                case Bury(queued=queued):
                    await self._bury(queued)
                case Wait():
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(POLL_SECONDS):
                            await stop.wait()

    async def _take_over(self) -> None:
        """Claim again whatever an earlier leader, or a failed merge of this one, left unsettled."""
        await self._forgive()
        reclaimed = await self._store.deltas.reclaim(self._federation, self._worker_id)
        if reclaimed:
            log_claimed(reclaimed, worker_id=self._worker_id, again=True)
            self._metrics.redeliveries.labels(self._federation).inc(len(reclaimed))
        known = {entry.queued.entry_id: entry.since_seconds for entry in self._waiting}
        now = self._clock.monotonic()
        self._waiting = tuple(
            Waiting(queued=queued, since_seconds=known.get(queued.entry_id, now)) for queued in reclaimed
        )

    async def _claim(self) -> None:
        room = self._plan.buffer.size - len(self._waiting)
        if room <= 0:
            return
        claimed = await self._store.deltas.claim(self._federation, self._worker_id, limit=room)
        log_claimed(claimed, worker_id=self._worker_id)
        now = self._clock.monotonic()
        again = {queued.delta.delta_id for queued in claimed}  # requeued after another worker had buried them
        held = tuple(entry for entry in self._waiting if entry.queued.delta.delta_id not in again)
        self._waiting = held + tuple(Waiting(queued=queued, since_seconds=now) for queued in claimed)

    async def _merge(self, deltas: Sequence[QueuedDelta]) -> None:
        with span(self._tracer, "claim deltas", attempts=1 + max(queued.attempts for queued in deltas)):
            counted = await self._store.deltas.count_attempt(self._federation, self._worker_id, deltas)
        try:
            await self._aggregator.merge(counted, token=self._lease.token)
        except (Unavailable, InvariantBroken) as error:
            outcome = "fenced" if error.reason == "FENCED" else "conflict" if error.reason == "HEAD_MOVED" else "failed"
            annotate(outcome=outcome)
            fail_current(error)
            self._metrics.merges.labels(self._federation, outcome).inc()
            if outcome == "failed" and isinstance(error, InvariantBroken):
                await self._recover(error)
                return
            self._blameless.extend(counted)
            with contextlib.suppress(Unavailable):  # then it is done before this worker leads again
                await self._forgive()
            raise
        except Exception as error:  # noqa: BLE001 - whatever one delta provokes must not stop the federation
            annotate(outcome="failed")
            fail_current(error)
            self._metrics.merges.labels(self._federation, "failed").inc()
            await self._recover(error)
            return
        self._settled(deltas)
        self._figures_at = -float("inf")

    async def _forgive(self) -> None:
        """Take back attempts that a lost lease, a moved head or an absent store brought to nothing.

        Otherwise sound deltas would become dead letters wherever workers overslept their leases a few times.
        """
        if self._blameless:
            await self._store.deltas.forgive_attempt(self._federation, self._blameless)
            self._blameless.clear()

    async def _recover(self, error: Exception) -> None:
        """After an unexpected failure: try the same deltas again; their attempts are counted."""
        log.error("%s: merge failed, its deltas are tried again", self._federation, exc_info=error)
        await self._take_over()
        await self._clock.sleep(POLL_SECONDS)

    async def _bury(self, queued: QueuedDelta) -> None:
        detail = f"{DeliveryExhausted.reason}: not merged in {queued.attempts} attempts; see the worker's log"
        await self._store.deltas.bury(self._federation, self._lease.token, queued, detail=detail, at=self._clock.now())
        log_buried(queued, detail)
        self._metrics.dead_letters.labels(self._federation).inc()
        self._settled([queued])

    def _settled(self, deltas: Sequence[QueuedDelta]) -> None:
        gone = {queued.entry_id for queued in deltas}
        self._waiting = tuple(entry for entry in self._waiting if entry.queued.entry_id not in gone)

    async def _housekeeping(self) -> None:
        now = self._clock.monotonic()
        if now - self._swept_at >= self._sweep_seconds:
            self._swept_at = now
            await self._sweep()
        if now - self._figures_at >= FLEET_FIGURES_SECONDS:
            self._figures_at = now
            depth = await self._store.deltas.depth(self._federation)
            if depth.pending > len(self._waiting):  # a worker that overslept its lease claimed some after it woke up
                await self._take_over()
            await self._export_figures(depth)

    async def _sweep(self) -> None:
        """Let go of what retention does not keep: records first, because payloads go with some of them."""
        name, now = self._federation, self._clock.now()
        trimmed = await self._store.upkeep.trim(name, self._plan.retention, at=now)
        if trimmed:
            log.info("records let go of", extra={"federation": name, **dataclasses.asdict(trimmed)})
        if trimmed.dead_letters:
            log.warning("%s: rejected %d dead letters that retention does not keep", name, trimmed.dead_letters)
        for kind, count in dataclasses.asdict(trimmed).items():
            self._metrics.trimmed.labels(name, kind).inc(count)
        before = now - self._plan.limits.upload_lifetime_seconds
        deleted = await self._store.blobs.sweep(name, unclaimed_before=before)
        self._metrics.trimmed.labels(name, "payloads").inc(deleted)
        if deleted:
            log.info("%s: deleted %d payloads that nothing needs any more", name, deleted)

    async def _export_figures(self, depth: QueueDepth) -> None:
        fleet, name = self._metrics.fleet, self._federation
        head = await self._store.versions.head(name)
        fleet.set_queue(name, depth, head)
        version = await self._store.versions.get(name, head.id.number)
        fleet.version_time.labels(name).set(version.created_at)
        fleet.set_calibration_loss(name, await self._calibration_loss(version))
        fleet.buffer_size.labels(name).set(self._plan.buffer.size)
        agents, contributions = await self._store.agents.list(name), await self._store.agents.contributions(name)
        fleet.set_fairness(name, agents, contributions, now=self._clock.now())
        if self._plan.privacy.enabled:
            epsilon = largest_epsilon(contributions, self._plan.privacy)
            fleet.set_privacy(name, epsilon=epsilon, limit=self._plan.privacy.max_epsilon)

    async def _calibration_loss(self, version: VersionRecord) -> float | None:
        """Return the loss a version was judged to have; a rollback has the loss of the version it restored."""
        while version.merge is None and version.parent is not None:
            version = await self._store.versions.get(self._federation, version.parent)
        return None if version.merge is None else version.merge.calibration_loss_after
