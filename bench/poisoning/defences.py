"""The defences that are compared: a plain dict from names to what the server does. A new one is one entry."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

from alignfed.errors import CandidateGated, DeltaNormTooLarge, PlanInvalid
from alignfed.plan import Aggregation
from alignfed.screening import NO_SCREENING, Screening
from bench.findings.tuning import UNTUNED
from bench.poisoning.screen import Screen
from bench.simulator.scenario import Defence, Guard, Guarded, View
from coordinator import policy
from coordinator.algo.recipe import Recipe
from coordinator.algo.recipes import get_recipe
from coordinator.algo.suspects import losses_alone, suspects
from coordinator.algo.values import DeltaInput, norm_of
from coordinator.worker.probes import Probe


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Protection:
    """A recipe, what the server does beside it, and the words for tables.

    Attributes:
        recipe: How deltas are merged.
        begin: Makes the defence of one run, which may remember things, from the server's calibration set.
        means: In words.
    """

    recipe: Recipe
    begin: Callable[[Probe], Defence]
    means: str


def reject_by_norm(max_ratio: float = Aggregation().max_delta_norm_ratio) -> Guard:
    """Return the guard that rejects deltas many times as long as their peers, as the worker does.

    Source: `coordinator.worker.outliers`.
    """

    def guard(deltas: Sequence[DeltaInput], view: View) -> Guarded:
        norms = {delta.delta_id: norm_of(delta) for delta in deltas}
        bound = policy.norm_bound([*view.recent_norms, *norms.values()], max_ratio=max_ratio)
        if bound is None:
            return Guarded(kept=tuple(deltas))
        rejected = {delta_id: DeltaNormTooLarge.reason for delta_id, size in norms.items() if size > bound}
        return Guarded(kept=tuple(delta for delta in deltas if delta.delta_id not in rejected), rejected=rejected)

    return guard


def leave_suspects_out(deltas: Sequence[DeltaInput], view: View) -> Guarded:
    """Reject the deltas that look worst by themselves, so that a gated merge can be tried again without them.

    Source: `coordinator.worker.gate`.
    """
    judging = view.judging()
    if judging is None or len(deltas) < 2:
        return Guarded(kept=tuple(deltas))
    alone = losses_alone(view.head, deltas, judging, server_learning_rate=UNTUNED)
    before = judging.probe.judge_loss(view.head) if judging.loss_before is None else judging.loss_before
    rejected = dict.fromkeys(suspects(alone, before, judging.max_loss_increase_ratio), CandidateGated.reason)
    return Guarded(kept=tuple(delta for delta in deltas if delta.delta_id not in rejected), rejected=rejected)


def screened(recipe: str, settings: Screening, means: str) -> Protection:
    """Return a recipe behind the norm bound, screening and the gate with its retries, as the worker has them."""
    return Protection(
        recipe=dataclasses.replace(get_recipe(recipe), needs_probe=True),
        begin=lambda probe: Defence(
            guards=(reject_by_norm(), Screen(settings, probe)), gated=leave_suspects_out, judges=True
        ),
        means=means,
    )


def _unjudged(recipe: str, means: str) -> Protection:
    return Protection(recipe=get_recipe(recipe), begin=lambda _: Defence(judges=False), means=means)


_CLIPPING = dataclasses.replace(NO_SCREENING, clip_norm_ratio=Screening().clip_norm_ratio)
_SUSPICION = dataclasses.replace(Screening(), clip_norm_ratio=0.0)

PROTECTIONS: dict[str, Protection] = {
    "none": _unjudged("participation-paced", "the default's weights and pace; nothing looks at deltas or candidates"),
    "coefficients": _unjudged("alignfed", "calibrated coefficients alone"),
    "present": Protection(
        recipe=get_recipe("alignfed"),
        begin=lambda _: Defence(guards=(reject_by_norm(),)),
        means="calibrated coefficients, norms up to ten medians, the gate on candidates",
    ),
    "screening": screened("alignfed", Screening(), "`present` with the plan's screening"),
    "clipping": screened("alignfed", _CLIPPING, "`present` with deltas shortened to 1.5 medians, no other screening"),
    "suspicion": screened("alignfed", _SUSPICION, "`screening` without clipping"),
    "median": screened("median", NO_SCREENING, "coordinate median, norms up to ten medians, the gate"),
    "trimmed-mean": screened("trimmed-mean", NO_SCREENING, "trimmed mean, norms up to ten medians, the gate"),
    "multi-krum": screened("multi-krum", NO_SCREENING, "multi-Krum, norms up to ten medians, the gate"),
    "screening-median": screened("median", Screening(), "coordinate median behind the plan's screening"),
}

REFERENCE = "present"
"""Clean runs of this one are what all others are compared with."""

DEFAULT = "screening"
"""What a federation gets that asks for nothing."""


def get_protection(name: str) -> Protection:
    """Return the defence of that name.

    Raises:
        PlanInvalid: There is none; the message lists those that exist.
    """
    if name not in PROTECTIONS:
        raise PlanInvalid(f"defence {name!r} is unknown: choose one of {', '.join(PROTECTIONS)}")
    return PROTECTIONS[name]
