"""The promotion gate: what happens when a candidate may not be published.

First the merge is tried again without the deltas that look worst by themselves, so that one bad delta costs its buffer
nothing. When nothing can be published at all, merge after merge, the federation goes on hold: more of the same would
only reject deltas, and a person has to look.
"""

from __future__ import annotations

import asyncio
import logging

from alignfed.errors import CandidateGated, Rejected
from alignfed.plan import FederationPlan
from coordinator.algo.judge import Judged
from coordinator.algo.suspects import losses_alone, suspects
from coordinator.worker.candidates import Candidates
from coordinator.worker.context import WorkerContext
from coordinator.worker.intake import Intake, refusing
from coordinator.worker.parents import Parent

log = logging.getLogger(__name__)


class Gate:
    """Counts the merges in a row of which nothing could be published; a new worker counts anew.

    Args:
        context: This process's resources.
        plan: The federation's plan.
        candidates: Knows how candidates are judged.
    """

    def __init__(self, context: WorkerContext, plan: FederationPlan, candidates: Candidates) -> None:
        self._store = context.store
        self._metrics = context.metrics
        self._plan = plan
        self._candidates = candidates
        self._shut_in_a_row = 0

    async def without_suspects(self, intake: Intake, parent: Parent, error: CandidateGated) -> Intake | None:
        """Return the intake without those that look worst by themselves; None when that cannot help."""
        judging = self._candidates.judging(parent)
        if judging is None or len(intake.accepted) < 2:
            return None
        eta = self._plan.aggregation.server_learning_rate
        head = parent.factors.adapter
        alone = await asyncio.to_thread(losses_alone, head, intake.inputs, judging, server_learning_rate=eta)
        before = judging.loss_before
        if before is None:
            before = await asyncio.to_thread(judging.probe.judge_loss, head)
        named = suspects(alone, before, judging.max_loss_increase_ratio)
        if not named:
            return None
        log.warning(
            "candidate not published, trying again without suspects",
            extra={"federation": self._plan.federation, "detail": error.message, "suspects": named},
        )
        self._metrics.gate_retries.labels(self._plan.federation).inc()
        return refusing(intake, {name: _suspect(alone[name], before, error) for name in named})

    def refusals(self, intake: Intake, error: CandidateGated) -> dict[str, Rejected]:
        """Return the reason for every delta of a merge of which nothing could be published, by delta id."""
        named = ", ".join(queued.delta.delta_id for queued in intake.accepted)
        text = f"{error.message}; the candidate was made of {named}"
        return {queued.delta.delta_id: CandidateGated(text) for queued in intake.accepted}

    def opened(self) -> None:
        """Note that a version was published."""
        self._shut_in_a_row = 0

    async def shut(self, error: CandidateGated) -> None:
        """Note that nothing of a merge could be published, and put the federation on hold when that goes on.

        Raises:
            StoreUnreachable: The store went away; the next merge that comes to nothing tries again.
        """
        federation, most = self._plan.federation, self._plan.screening.hold_after_gated
        self._metrics.merges.labels(federation, "gated").inc()
        log.warning("candidate not published", extra={"federation": federation, "detail": error.message})
        self._shut_in_a_row += 1
        if most == 0 or self._shut_in_a_row < most:
            return
        reason = f"nothing could be published of {self._shut_in_a_row} merges in a row; the last time: {error.message}"
        await self._store.federations.set_paused(federation, True, reason=reason)
        self._shut_in_a_row = 0
        log.error("federation on hold", extra={"federation": federation, "detail": reason})


def jump(judged: Judged) -> str:
    """Say by how much a candidate would make the calibration loss jump, and what to do."""
    before, after = judged.verdict.loss_before, judged.verdict.loss_after
    return (
        f"calibration loss would jump from {before:.4f} to {after:.4f} even at a quarter of the step: "
        "lower aggregation.server_learning_rate or training.learning_rate, or look at these agents' data"
    )


def _suspect(loss: float, before: float, error: CandidateGated) -> CandidateGated:
    return CandidateGated(
        f"left out of a merge that could not be published with it ({error.message}): by itself the delta makes a "
        f"calibration loss of {loss:.4f} of {before:.4f}, among the worst of its buffer"
    )
