"""One merge, from claimed deltas to a published version: take in, aggregate, judge, store, commit."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
from collections.abc import Iterator, Sequence

from alignfed import failpoints
from alignfed.codec import Factors
from alignfed.errors import CandidateGated, Rejected
from alignfed.plan import FederationPlan
from alignfed.tracing.spans import annotate, span
from coordinator.algo import succession
from coordinator.algo.aggregate import DELTA_FAULTS, aggregate
from coordinator.algo.align.alignment import Align, Alignment, leave_alone
from coordinator.algo.grouping import VersionGroup
from coordinator.algo.judge import Judged, Verdict
from coordinator.algo.recipes.requirements import recipe_of
from coordinator.algo.succession import Judging, succeed
from coordinator.algo.values import Aggregated, AggregationInput
from coordinator.domain import (
    AdapterKind,
    Commit,
    CommitOutcome,
    MergeRecord,
    QueuedDelta,
    Rejection,
    VersionId,
    VersionKind,
    VersionRecord,
)
from coordinator.worker.context import WorkerContext
from coordinator.worker.intake import Intake, take_in
from coordinator.worker.merge_log import log_published, log_rejected
from coordinator.worker.metrics import MergeTimes
from coordinator.worker.outliers import without_outliers
from coordinator.worker.parents import Parent, Parents
from coordinator.worker.payloads import fetch_adapter, store_adapter
from coordinator.worker.probes import Probe
from coordinator.worker.server_state import store_state
from coordinator.worker.tracing import STEPS, annotate_published, step_spans, traced_alignment

log = logging.getLogger(__name__)


class Aggregator:
    """Runs merges of one federation; keeps nothing between them but the head and its loss, to save reading and judging.

    Args:
        context: This process's resources.
        plan: The federation's plan.
        probe: The calibration set on the base model; None when the federation has none.
    """

    def __init__(self, context: WorkerContext, plan: FederationPlan, probe: Probe | None) -> None:
        self._store = context.store
        self._clock = context.clock
        self._metrics = context.metrics
        self._plan = plan
        self._probe = probe
        self._tracer = context.tracer
        self._signer = context.signer
        recipe = traced_alignment(recipe_of(plan), context.tracer)
        if recipe.align is not leave_alone:
            recipe = dataclasses.replace(recipe, align=self._timed_alignment(recipe.align))
        self._recipe = recipe
        self._parents = Parents(context.store, plan)
        self._judged: dict[str, float] = {}

    async def prepare(self, head: VersionId) -> None:
        """Bring the head into memory. Before an attempt is counted: damage in the store is not the deltas' fault.

        Raises:
            StoreCorrupt, PayloadDigestMismatch: A payload of the head is lost or damaged.
        """
        await self._parents.get(head)

    async def merge(self, deltas: Sequence[QueuedDelta], *, token: int) -> None:
        """Settle every one of `deltas`: publish a version that contains it, or reject it with a reason.

        One whose payload the store has lost is forgotten, so that its agent sends it again.

        A crash anywhere leaves the deltas claimed and at most an unclaimed blob.

        Raises:
            Fenced: Another worker holds a newer lease.
            HeadMoved: The head is not the one the merge started from.
            StoreUnreachable: The store went away; the commit may have happened, the next attempt finds out.
            CalibrationMissing: The recipe needs a calibration set that the federation lacks.
        """
        with self._timed("take_in"):
            head = await self._store.versions.head(self._plan.federation)
            parent = await self._parents.get(head.id)
            intake = await without_outliers(
                await take_in(self._store, self._plan, head, deltas),
                parent.recent_norms,
                max_ratio=self._plan.aggregation.max_delta_norm_ratio,
                observe=self._metrics.delta_norm.labels(self._plan.federation).observe,
            )
        await self._reject(intake.rejections, token)
        if intake.lost:
            await self._store.deltas.disown(self._plan.federation, token, intake.lost, at=self._clock.now())
        if not intake.accepted:
            annotate(outcome="rejected")
            return
        try:
            with self._timed("aggregate"):
                aggregated = await self._aggregate(intake, parent)
            with self._timed("judge"):
                judged = await asyncio.to_thread(self._judge, aggregated, parent)
        except DELTA_FAULTS as error:
            await self._merge_without_culprit(intake, error, token=token)
            return
        except CandidateGated as error:
            await self._gate(intake, error.message, token)
            return
        if not judged.verdict.accepted:
            await self._gate(intake, _jump(judged), token)
            return
        with self._timed("publish"):
            version, outcome = await self._publish(intake, parent, aggregated, judged, token=token)
        annotate_published(version, outcome)
        log_published(self._plan.federation, version, outcome)

    async def _aggregate(self, intake: Intake, parent: Parent) -> Aggregated:
        federation = self._plan.federation
        loop = asyncio.get_running_loop()
        number = parent.record.id.number + 1

        async def fetch_base(base: VersionId) -> Factors:
            record = await self._store.versions.get(federation, base.number)
            return await fetch_adapter(self._store.blobs, record.blob(AdapterKind.TRAINING), self._plan)

        def base_factors(base: VersionId) -> Factors:  # called from the aggregating thread
            return asyncio.run_coroutine_threadsafe(fetch_base(base), loop).result()

        inputs = AggregationInput(
            head=parent.factors.adapter,
            deltas=intake.inputs,
            merged_by_agent=intake.merged_by_agent,
            base_factors=base_factors,
            server_learning_rate=self._plan.aggregation.server_learning_rate,
            probe=self._probe.for_version(number) if self._probe else None,
            version_number=number,
            state=parent.state,
        )
        aggregated = await asyncio.to_thread(aggregate, inputs, self._recipe, step_spans(self._tracer))
        await failpoints.hit_async("merge.aggregated")
        return aggregated

    def _judge(self, aggregated: Aggregated, parent: Parent) -> Judged:
        number = parent.record.id.number + 1
        judging = None
        if self._probe is not None and self._probe.can_judge:
            judging = Judging(
                probe=self._probe.for_version(number),
                loss_before=self._judged.get(parent.record.id.digest),
                max_loss_increase_ratio=self._plan.calibration.max_loss_increase_ratio,
            )
        judged = succeed(parent.factors, aggregated, version_number=number, judging=judging)
        if judged.verdict.loss_before is not None:
            self._judged = {parent.record.id.digest: judged.verdict.loss_before}
        return judged

    async def _publish(
        self, intake: Intake, parent: Parent, aggregated: Aggregated, judged: Judged, *, token: int
    ) -> tuple[VersionRecord, CommitOutcome]:
        plan = self._plan
        await failpoints.hit_async("merge.judged")
        with span(self._tracer, "store version"):
            version = await self._store_version(parent, aggregated, judged, token=token)
        await failpoints.hit_async("merge.stored")
        commit = Commit(
            federation=plan.federation,
            token=token,
            expected_head=parent.record.id,
            version=version,
            merged=intake.accepted,
        )
        with span(self._tracer, "commit version", version=version.id.number, deltas=len(commit.merged)):
            outcome = await self._store.versions.commit(commit)
            if outcome is CommitOutcome.ALREADY:  # its children name the manifest that is published, not one like it
                version = await self._store.versions.get(plan.federation, version.id.number)
        loss = judged.verdict.loss_after
        if loss is not None:
            self._judged = {version.id.digest: loss}
        factors = succession.Parent(adapter=judged.adapter, average=judged.average)
        self._parents.keep(version, parent=parent, factors=factors, state=aggregated.state)
        self._observe(intake, version, outcome)
        return version, outcome

    def _record(self, aggregated: Aggregated, verdict: Verdict) -> MergeRecord:
        return MergeRecord(
            recipe=self._recipe.name,
            server_learning_rate=self._plan.aggregation.server_learning_rate * verdict.step_scale,
            deltas=aggregated.deltas,
            groups=aggregated.groups,
            calibration_loss_before=verdict.loss_before,
            calibration_loss_after=verdict.loss_after,
            calibration_loss_served=verdict.loss_served,
            unrecorded=aggregated.unrecorded,
        )

    async def _store_version(
        self, parent: Parent, aggregated: Aggregated, judged: Judged, *, token: int
    ) -> VersionRecord:
        """Store the payloads, unclaimed until the commit adopts them, and return the version that refers to them."""
        blobs, now = self._store.blobs, self._clock.now()
        number = parent.record.id.number + 1
        name = f"{token}-{number}"
        adapter = await store_adapter(blobs, self._plan, judged.adapter, name=name, at=now)
        average = await store_adapter(blobs, self._plan, judged.average, name=f"{name}-average", at=now)
        state = await store_state(blobs, self._plan, aggregated.state, name=name, at=now)
        version = VersionRecord(
            id=VersionId(epoch=token, number=number, digest=adapter.sha256),
            kind=VersionKind.MERGE,
            parent=parent.record.id.number,
            adapter=adapter,
            average=average,
            state=state,
            served_average=judged.verdict.serve_average,
            merge=self._record(aggregated, judged.verdict),
            created_at=now,
        )
        return self._signer.sign(self._plan.federation, version, parent.record)

    def _observe(self, intake: Intake, version: VersionRecord, outcome: CommitOutcome) -> None:
        assert version.merge is not None
        times = MergeTimes(
            accepted_at=tuple(queued.delta.accepted_at for queued in intake.accepted),
            bases_published_at=intake.bases_published_at,
            published_at=version.created_at,
        )
        self._metrics.observe_merge(self._plan.federation, version.merge, times, outcome)

    async def _merge_without_culprit(self, intake: Intake, error: Rejected, *, token: int) -> None:
        """Reject the delta that the method refused, then merge the others."""
        culprit = error.metadata.get("delta_id")
        guilty = [queued for queued in intake.accepted if queued.delta.delta_id == culprit]
        if not guilty:
            raise error
        await self._reject([Rejection(queued=q, reason=error.reason, detail=error.message) for q in guilty], token)
        others = [queued for queued in intake.accepted if queued.delta.delta_id != culprit]
        if others:
            await self.merge(others, token=token)

    async def _gate(self, intake: Intake, detail: str, token: int) -> None:
        annotate(outcome="gated", reason=CandidateGated.reason)
        log.warning("candidate not published", extra={"federation": self._plan.federation, "detail": detail})
        self._metrics.merges.labels(self._plan.federation, "gated").inc()
        await self._reject(
            [Rejection(queued=q, reason=CandidateGated.reason, detail=detail) for q in intake.accepted], token
        )

    async def _reject(self, rejections: Sequence[Rejection], token: int) -> None:
        if not rejections:
            return
        await self._store.deltas.reject(self._plan.federation, token, rejections)
        log_rejected(rejections)
        for rejection in rejections:
            self._metrics.rejected.labels(self._plan.federation, rejection.reason).inc()

    def _timed_alignment(self, align: Align) -> Align:
        """Return the alignment, noting how long it takes for each stale group; the method itself knows no clock."""
        duration = self._metrics.alignment_duration.labels(self._plan.federation)

        def timed(inputs: AggregationInput, group: VersionGroup) -> Alignment:
            started = self._clock.monotonic()
            alignment = align(inputs, group)
            if not group.fresh:
                duration.observe(self._clock.monotonic() - started)
            return alignment

        return timed

    @contextlib.contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        started = self._clock.monotonic()
        try:
            with span(self._tracer, STEPS[stage]):
                yield
        finally:
            elapsed = self._clock.monotonic() - started
            self._metrics.merge_duration.labels(self._plan.federation, stage).observe(elapsed)


def _jump(judged: Judged) -> str:
    before, after = judged.verdict.loss_before, judged.verdict.loss_after
    return (
        f"calibration loss would jump from {before:.4f} to {after:.4f} even at a quarter of the step: "
        "lower aggregation.server_learning_rate or training.learning_rate, or look at these agents' data"
    )
