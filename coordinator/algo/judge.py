"""The judge: may the candidate be published, at what step, and is it served or its moving average? Not on fit rows."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

from alignfed.codec import Factors

STEP_SCALES = (1.0, 0.5, 0.25)
"""Step sizes tried before giving up, relative to the server learning rate."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What the judge rows say. Losses are means over tokens; None where nothing was judged.

    Attributes:
        accepted: False means gated: nothing is published.
        step_scale: The accepted step, or the last one tried.
        loss_before: Of the head.
        loss_after: Of the raw candidate at `step_scale`.
        loss_average: Of the moving average with that candidate.
        serve_average: Whether the average is served rather than the raw candidate.
    """

    accepted: bool
    step_scale: float = 1.0
    loss_before: float | None = None
    loss_after: float | None = None
    loss_average: float | None = None
    serve_average: bool = False

    @property
    def loss_served(self) -> float | None:
        """Loss of what is served."""
        return self.loss_average if self.serve_average else self.loss_after


UNJUDGED = Verdict(accepted=True)
"""For a federation without judge rows: publish, and serve what was published."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """A merge before the judge.

    Attributes:
        candidate_at: Gives the candidate of a scaled step; called once per step tried, so make it lazy.
        average_of: Gives the moving average with a candidate.
        judge_loss: Loss of an adapter on the judge rows.
        loss_before: Loss of the head on the same rows.
        max_loss_increase_ratio: How much worse than the head, relative to its loss, a candidate may be.
    """

    candidate_at: Callable[[float], Factors]
    average_of: Callable[[Factors], Factors]
    judge_loss: Callable[[Factors], float]
    loss_before: float
    max_loss_increase_ratio: float


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """The verdict, and the adapter with its moving average: to publish when accepted, else the last candidate tried."""

    verdict: Verdict
    adapter: Factors
    average: Factors


def judge(trial: Trial) -> Judged:
    """Try the full step, then shorter ones, and take the first whose loss does not jump."""
    for scale in STEP_SCALES:
        candidate = trial.candidate_at(scale)
        loss = trial.judge_loss(candidate)
        if acceptable(loss, trial.loss_before, trial.max_loss_increase_ratio):
            average = trial.average_of(candidate)
            loss_average = trial.judge_loss(average)
            verdict = Verdict(
                accepted=True,
                step_scale=scale,
                loss_before=trial.loss_before,
                loss_after=loss,
                loss_average=loss_average,
                serve_average=loss_average < loss,  # false for NaN
            )
            return Judged(verdict=verdict, adapter=candidate, average=average)
    gated = Verdict(accepted=False, step_scale=scale, loss_before=trial.loss_before, loss_after=loss)
    return Judged(verdict=gated, adapter=candidate, average=candidate)


def acceptable(loss: float, loss_before: float, max_loss_increase_ratio: float) -> bool:
    """Whether a candidate's loss is finite and no more than `(1 + ratio)` times the head's.

    Any finite loss is acceptable when the head's own is not finite: it can only get better.
    """
    if not math.isfinite(loss):
        return False
    return not math.isfinite(loss_before) or loss <= loss_before * (1.0 + max_loss_increase_ratio)
