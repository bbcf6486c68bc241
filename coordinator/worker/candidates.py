"""Candidates: what a set of deltas makes of the head, and the judge's word on it. Nothing is stored here."""

from __future__ import annotations

import asyncio
import dataclasses

from alignfed import failpoints
from alignfed.codec import Factors
from alignfed.plan import FederationPlan
from coordinator.algo.aggregate import aggregate
from coordinator.algo.align.alignment import Align, Alignment, leave_alone
from coordinator.algo.grouping import VersionGroup
from coordinator.algo.judge import Judged
from coordinator.algo.privacy.merge import aggregate_privately
from coordinator.algo.recipes.requirements import recipe_of
from coordinator.algo.succession import Judging, succeed
from coordinator.algo.values import Aggregated, AggregationInput
from coordinator.domain import AdapterKind, VersionId
from coordinator.worker.context import WorkerContext
from coordinator.worker.intake import Intake
from coordinator.worker.parents import Parent
from coordinator.worker.payloads import fetch_adapter
from coordinator.worker.privacy import private_merge
from coordinator.worker.probes import Probe
from coordinator.worker.tracing import step_spans, traced_alignment


class Candidates:
    """Makes candidates of one federation; keeps nothing but the loss of the head, to save judging it again.

    Args:
        context: This process's resources.
        plan: The federation's plan.
        probe: The calibration set on the base model; None when the federation has none.
    """

    def __init__(self, context: WorkerContext, plan: FederationPlan, probe: Probe | None) -> None:
        self._store = context.store
        self._clock = context.clock
        self._tracer = context.tracer
        self._alignment_duration = context.metrics.alignment_duration.labels(plan.federation)
        self._plan = plan
        self._probe = probe
        recipe = traced_alignment(recipe_of(plan), context.tracer)
        if recipe.align is not leave_alone:
            recipe = dataclasses.replace(recipe, align=self._timed_alignment(recipe.align))
        self._recipe = recipe
        self._private = private_merge(plan)
        self._judged: dict[str, float] = {}

    async def aggregate(self, intake: Intake, parent: Parent) -> Aggregated:
        """Merge the accepted deltas in a thread.

        See `coordinator.algo.aggregate.aggregate` for what it raises, and `aggregate_privately` with a private plan.
        """
        loop = asyncio.get_running_loop()
        number = parent.record.id.number + 1

        def base_factors(base: VersionId) -> Factors:  # called from the aggregating thread
            return asyncio.run_coroutine_threadsafe(self.adapter_of(base), loop).result()

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
        if self._private is not None:
            aggregated = await asyncio.to_thread(aggregate_privately, inputs, recipe_of(self._plan), self._private)
        else:
            aggregated = await asyncio.to_thread(aggregate, inputs, self._recipe, step_spans(self._tracer))
        await failpoints.hit_async("merge.aggregated")
        return aggregated

    async def adapter_of(self, base: VersionId) -> Factors:
        """Return the factors of a retained version, from the store."""
        record = await self._store.versions.get(self._plan.federation, base.number)
        return await fetch_adapter(self._store.blobs, record.blob(AdapterKind.TRAINING), self._plan)

    def judge(self, aggregated: Aggregated, parent: Parent) -> Judged:
        """Judge what was merged; takes seconds, so call it in a thread."""
        judging = self.judging(parent)
        judged = succeed(parent.factors, aggregated, version_number=parent.record.id.number + 1, judging=judging)
        if judged.verdict.loss_before is not None:
            self._judged = {parent.record.id.digest: judged.verdict.loss_before}
        return judged

    def judging(self, parent: Parent) -> Judging | None:
        """Return how candidates for the version after `parent` are judged; None without judge rows."""
        if self._probe is None or not self._probe.can_judge:
            return None
        return Judging(
            probe=self._probe.for_version(parent.record.id.number + 1),
            loss_before=self._judged.get(parent.record.id.digest),
            max_loss_increase_ratio=self._plan.calibration.max_loss_increase_ratio,
        )

    def published(self, version: VersionId, loss: float | None) -> None:
        """Keep the loss of a candidate that is the head now."""
        if loss is not None:
            self._judged = {version.digest: loss}

    def _timed_alignment(self, align: Align) -> Align:
        """Return the alignment, noting how long it takes for each stale group; the method itself knows no clock."""

        def timed(inputs: AggregationInput, group: VersionGroup) -> Alignment:
            started = self._clock.monotonic()
            alignment = align(inputs, group)
            if not group.fresh:
                self._alignment_duration.observe(self._clock.monotonic() - started)
            return alignment

        return timed
