"""Whom to leave out when a candidate may not be published: deltas are tried one by one on the judge rows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from alignfed.codec import Factors
from coordinator.algo.clipping import shortened
from coordinator.algo.factors import add_scaled, copy_of
from coordinator.algo.judge import acceptable
from coordinator.algo.succession import Judging
from coordinator.algo.values import DeltaInput


def losses_alone(
    head: Factors, deltas: Sequence[DeltaInput], judging: Judging, *, server_learning_rate: float
) -> dict[str, float]:
    """Return the loss on the judge rows of the head plus each delta by itself, by delta id.

    One evaluation per delta. Deltas are taken as they came, at the full weight of a merge, and not aligned.
    """
    losses = {}
    for delta in deltas:
        alone = copy_of(head)
        add_scaled(alone, shortened(delta)[0].load(), server_learning_rate)
        losses[delta.delta_id] = judging.probe.judge_loss(alone)
    return losses


def suspects(losses: Mapping[str, float], loss_before: float, max_loss_increase_ratio: float) -> list[str]:
    """Return the deltas to leave out, worst first; empty when leaving out cannot help.

    Those that may not be published by themselves. When none is so bad, the harm is done together: then the worst third.
    When all are, nothing would be left to merge.

    Args:
        losses: Of each delta alone, see `losses_alone`.
        loss_before: Of the head.
        max_loss_increase_ratio: The plan's `calibration.max_loss_increase_ratio`.
    """
    ranked = sorted(losses, key=lambda delta_id: (-_comparable(losses[delta_id]), delta_id))
    guilty = [name for name in ranked if not acceptable(losses[name], loss_before, max_loss_increase_ratio)]
    chosen = guilty or ranked[: math.ceil(len(ranked) / 3)]
    return chosen if len(chosen) < len(ranked) else []


def _comparable(loss: float) -> float:
    return math.inf if math.isnan(loss) else loss
