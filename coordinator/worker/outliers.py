"""Deltas many times as large as their peers, set apart before they can spoil the merge for the others."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence

from alignfed.errors import DeltaNormTooLarge
from coordinator import policy
from coordinator.algo.values import norm_of
from coordinator.worker.intake import Intake, refusing


async def without_outliers(
    intake: Intake, recent_norms: Sequence[float], *, max_ratio: float, observe: Callable[[float], None]
) -> Intake:
    """Return the intake with every delta rejected whose norm is above the bound; the same intake when none is.

    Args:
        intake: The deltas at hand.
        recent_norms: Norms of the deltas that were merged lately.
        max_ratio: The plan's `aggregation.max_delta_norm_ratio`; 0 judges nothing.
        observe: Told each delta's norm over the bound, when there is a bound.
    """
    if max_ratio == 0:
        return intake
    norms = await asyncio.to_thread(lambda: [norm_of(delta) for delta in intake.inputs])
    bound = policy.norm_bound([*recent_norms, *norms], max_ratio=max_ratio)
    if bound is None:
        return intake
    for size in norms:
        if math.isfinite(size):
            observe(size / bound)
    sizes = zip(intake.accepted, norms, strict=True)
    outliers = {
        queued.delta.delta_id: DeltaNormTooLarge(_detail(size, bound, max_ratio))
        for queued, size in sizes
        if size > bound
    }
    return refusing(intake, outliers)


def _detail(size: float, bound: float, max_ratio: float) -> str:
    return (
        f"the delta's norm is {size:.4g}, {max_ratio * size / bound:.3g} times the median of this buffer and the last "
        f"merges; aggregation.max_delta_norm_ratio allows {max_ratio:g}: lower training.learning_rate, or look at this "
        "agent's data"
    )
