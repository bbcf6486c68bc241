"""Screening in the worker: what is remembered between merges, and the reference directions, of one federation."""

from __future__ import annotations

import asyncio
import dataclasses
import secrets
from collections.abc import Collection

from alignfed.codec import Factors
from alignfed.plan import FederationPlan
from coordinator import policy
from coordinator.algo.screening.references import References
from coordinator.algo.screening.screening import Memory, Screened, Standard, after_merge, screen
from coordinator.algo.values import norm_of
from coordinator.domain import VersionId
from coordinator.staleness import staleness_class
from coordinator.worker.candidates import Candidates
from coordinator.worker.intake import Intake, refusing
from coordinator.worker.metrics import WorkerMetrics
from coordinator.worker.parents import Parent
from coordinator.worker.probes import Probe


class Screens:
    """Screens the buffers of one federation.

    What it remembers is this process's: a new worker starts without evidence and without sketches. The seed of the
    sketches is drawn here and told to nobody.

    Args:
        plan: The federation's plan.
        probe: The calibration set; None when the federation has none.
        candidates: Brings the factors of base versions.
        metrics: Told what is found.
    """

    def __init__(
        self, plan: FederationPlan, probe: Probe | None, candidates: Candidates, metrics: WorkerMetrics
    ) -> None:
        self._settings = plan.screening
        self._federation = plan.federation
        self._probe = probe
        self._candidates = candidates
        self._metrics = metrics
        self._memory = Memory()
        self._seed = secrets.randbits(62)
        self._screened: Screened | None = None
        self._references: References | None = None
        self._parent: Parent | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        if probe is not None and self._settings.reference_rows > 0 and probe.can_reference:
            self._references = References(self._gradient_at)

    async def screen(self, intake: Intake, parent: Parent) -> Intake:
        """Return the intake with refused deltas among its rejections, and the kept ones with their largest norm.

        Nothing is remembered of the buffer before `settled` says what became of it.
        """
        if not intake.accepted:
            return intake
        self._parent, self._loop = parent, asyncio.get_running_loop()
        found = self._screened = await asyncio.to_thread(self._screen, intake, parent)
        self._observe(intake, found)
        kept = {delta.delta_id: delta for delta in found.kept}
        inputs = tuple(kept.get(delta.delta_id, delta) for delta in intake.inputs)
        return refusing(dataclasses.replace(intake, inputs=inputs), found.refused)

    def settled(self, merged: Collection[str]) -> None:
        """Remember the buffer that was screened last, once each of its deltas is merged or rejected."""
        if self._screened is not None:
            self._memory = after_merge(self._memory, self._screened, merged)
            self._screened = None

    def _screen(self, intake: Intake, parent: Parent) -> Screened:
        arrived = sorted(
            zip(intake.accepted, intake.inputs, strict=True),
            key=lambda pair: (pair[0].delta.accepted_at, pair[0].delta.delta_id),
        )
        norms = [*parent.recent_norms, *(norm_of(delta) for delta in intake.inputs)]
        standard = Standard(
            usual_norm=policy.norm_bound(norms, max_ratio=1.0), references=self._references, seed=self._seed
        )
        return screen([delta for _, delta in arrived], self._memory, self._settings, standard)

    def _gradient_at(self, base: VersionId) -> Factors:  # called from the screening thread
        assert self._probe is not None  # references are made only with a probe
        assert self._parent is not None
        assert self._loop is not None
        factors = self._parent.factors.adapter
        if base != self._parent.record.id:
            factors = asyncio.run_coroutine_threadsafe(self._candidates.adapter_of(base), self._loop).result()
        return self._probe.reference_for(base.number).fit_loss_and_gradient(factors)[1]

    def _observe(self, intake: Intake, found: Screened) -> None:
        for delta in intake.inputs:
            if delta.delta_id in found.cosines:
                behind = staleness_class(delta.staleness_versions)
                self._metrics.screening_cosine.labels(self._federation, behind).observe(found.cosines[delta.delta_id])
        suspected = sum(level > self._settings.max_suspicion for level in found.evidence.suspicion.values())
        self._metrics.fleet.suspected.labels(self._federation).set(suspected)
