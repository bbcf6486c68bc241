"""One merge, from claimed deltas to a published version: take in, aggregate, judge, store, commit."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
from collections.abc import Iterator, Sequence

from alignfed import failpoints
from alignfed.errors import CandidateGated
from alignfed.plan import FederationPlan
from alignfed.tracing.spans import annotate, span
from coordinator.algo import succession
from coordinator.algo.aggregate import DELTA_FAULTS
from coordinator.algo.judge import Judged, Verdict
from coordinator.algo.values import Aggregated
from coordinator.domain import (
    Commit,
    CommitOutcome,
    MergeRecord,
    QueuedDelta,
    Rejection,
    VersionId,
    VersionKind,
    VersionRecord,
)
from coordinator.worker.candidates import Candidates
from coordinator.worker.context import WorkerContext
from coordinator.worker.gate import Gate, jump
from coordinator.worker.intake import Intake, refusing, take_in
from coordinator.worker.merge_log import log_published, log_rejected
from coordinator.worker.metrics import MergeTimes
from coordinator.worker.outliers import without_outliers
from coordinator.worker.parents import Parent, Parents
from coordinator.worker.payloads import store_adapter
from coordinator.worker.privacy import PrivacyLedger, as_private, standing_still
from coordinator.worker.probes import Probe
from coordinator.worker.screens import Screens
from coordinator.worker.server_state import store_state
from coordinator.worker.tracing import STEPS, annotate_published

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A candidate that may be published."""

    aggregated: Aggregated
    judged: Judged


class Aggregator:
    """Runs merges of one federation; keeps between them the head and its loss, and what screening and gate remember.

    Args:
        context: This process's resources.
        plan: The federation's plan.
        probe: The calibration set on the base model; None when the federation has none.
    """

    def __init__(self, context: WorkerContext, plan: FederationPlan, probe: Probe | None) -> None:
        plan = as_private(plan)
        self._ledger = PrivacyLedger(context.store, plan) if plan.privacy.enabled else None
        self._store = context.store
        self._clock = context.clock
        self._metrics = context.metrics
        self._plan = plan
        self._tracer = context.tracer
        self._signer = context.signer
        self._parents = Parents(context.store, plan)
        self._candidates = Candidates(context, plan, probe)
        self._screens = Screens(plan, probe, self._candidates, context.metrics)
        self._gate = Gate(context, plan, self._candidates)

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
            if self._ledger is not None:
                intake = await self._ledger.admit(intake, head)
        with self._timed("screen"):
            intake = await self._screens.screen(intake, parent)
        await self._reject(intake.rejections, token)
        intake = dataclasses.replace(intake, rejections=())
        if intake.lost:
            await self._store.deltas.disown(self._plan.federation, token, intake.lost, at=self._clock.now())
        if not intake.accepted:
            annotate(outcome="rejected")
        merged = await self._merge(intake, parent, token) if intake.accepted else ()
        self._screens.settled([queued.delta.delta_id for queued in merged])
        if self._ledger is not None:
            await self._ledger.hold_when_spent()

    async def _merge(self, intake: Intake, parent: Parent, token: int) -> tuple[QueuedDelta, ...]:
        """Publish a version of what is left once those are left out that cannot be in it, and return its deltas.

        Whoever is left out is rejected before the version is published, so that a crash in between leaves nobody both
        rejected and merged.
        """
        left_out: tuple[Rejection, ...] = ()
        tries_left = self._plan.screening.gate_tries
        while True:
            intake, made = await self._make(intake, parent, token)
            if not isinstance(made, CandidateGated):
                break
            fewer = await self._gate.without_suspects(intake, parent, made) if tries_left else None
            if fewer is None:
                annotate(outcome="gated", reason=made.reason)
                await self._reject([*left_out, *refusing(intake, self._gate.refusals(intake, made)).rejections], token)
                await self._gate.shut(made)
                return ()
            tries_left -= 1
            left_out += fewer.rejections
            intake = dataclasses.replace(fewer, rejections=())
        await self._reject(left_out, token)
        if made is None:
            annotate(outcome="rejected")
            return ()
        with self._timed("publish"):
            version, outcome = await self._publish(intake, parent, made, token=token)
        if made.judged.verdict.step_scale == 0:
            await self._gate.shut(CandidateGated("the candidates' calibration loss would have jumped"))
        else:
            self._gate.opened()
        annotate_published(version, outcome)
        log_published(self._plan.federation, version, outcome)
        return intake.accepted

    async def _make(self, intake: Intake, parent: Parent, token: int) -> tuple[Intake, Made | CandidateGated | None]:
        """Make a candidate, rejecting deltas that the method refuses until it has none of them.

        Returns:
            What is left, and what came of it: the candidate, why it may not be published, or None with nothing left.
        """
        while intake.accepted:
            try:
                with self._timed("aggregate"):
                    aggregated = await self._candidates.aggregate(intake, parent)
                with self._timed("judge"):
                    judged = await asyncio.to_thread(self._candidates.judge, aggregated, parent)
            except DELTA_FAULTS as error:
                guilty = error.metadata.get("delta_id", "")
                fewer = refusing(intake, {guilty: error})
                if not fewer.rejections:
                    raise
                await self._reject(fewer.rejections, token)
                intake = dataclasses.replace(fewer, rejections=())
            except CandidateGated as error:
                return intake, error
            else:
                made = Made(aggregated=aggregated, judged=judged)
                if judged.verdict.accepted:
                    return intake, made
                if self._ledger is None:
                    return intake, CandidateGated(jump(judged))
                return intake, dataclasses.replace(made, judged=standing_still(judged, parent))
        return intake, None

    async def _publish(
        self, intake: Intake, parent: Parent, made: Made, *, token: int
    ) -> tuple[VersionRecord, CommitOutcome]:
        plan, aggregated, judged = self._plan, made.aggregated, made.judged
        await failpoints.hit_async("merge.judged")
        with span(self._tracer, "store version"):
            version = await self._store_version(intake, parent, made, token=token)
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
        self._candidates.published(version.id, judged.verdict.loss_after)
        factors = succession.Parent(adapter=judged.adapter, average=judged.average)
        self._parents.keep(version, parent=parent, factors=factors, state=aggregated.state)
        self._observe(intake, version, outcome)
        return version, outcome

    def _record(self, intake: Intake, aggregated: Aggregated, verdict: Verdict) -> MergeRecord:
        return MergeRecord(
            recipe=self._plan.aggregation.recipe,
            server_learning_rate=self._plan.aggregation.server_learning_rate * verdict.step_scale,
            deltas=aggregated.deltas,
            groups=aggregated.groups,
            calibration_loss_before=verdict.loss_before,
            calibration_loss_after=verdict.loss_after,
            calibration_loss_served=verdict.loss_served,
            unrecorded=aggregated.unrecorded,
            robust=aggregated.robust,
            privacy=None if self._ledger is None else self._ledger.record(intake),
        )

    async def _store_version(self, intake: Intake, parent: Parent, made: Made, *, token: int) -> VersionRecord:
        """Store the payloads, unclaimed until the commit adopts them, and return the version that refers to them."""
        aggregated, judged = made.aggregated, made.judged
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
            merge=self._record(intake, aggregated, judged.verdict),
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

    async def _reject(self, rejections: Sequence[Rejection], token: int) -> None:
        if not rejections:
            return
        await self._store.deltas.reject(self._plan.federation, token, rejections)
        log_rejected(rejections)
        for rejection in rejections:
            self._metrics.rejected.labels(self._plan.federation, rejection.reason).inc()

    @contextlib.contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        started = self._clock.monotonic()
        try:
            with span(self._tracer, STEPS[stage]):
                yield
        finally:
            elapsed = self._clock.monotonic() - started
            self._metrics.merge_duration.labels(self._plan.federation, stage).observe(elapsed)
