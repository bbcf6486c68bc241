"""The robust means by the names that merge records give them, for replay."""

from __future__ import annotations

from alignfed.errors import AggregationInvalid
from coordinator.algo.merge.cohorts import Robust
from coordinator.algo.merge.median import MEDIAN
from coordinator.algo.merge.multi_krum import MULTI_KRUM
from coordinator.algo.merge.trimmed_mean import TRIMMED_MEAN

ROBUST_MEANS: dict[str, Robust] = {robust.name: robust for robust in (MEDIAN, TRIMMED_MEAN, MULTI_KRUM)}


def robust_mean(name: str) -> Robust:
    """Return the robust mean of that name.

    Raises:
        AggregationInvalid: There is none: the record was written by a newer AlignFed.
    """
    if name not in ROBUST_MEANS:
        raise AggregationInvalid(
            f"the record names a robust mean, {name!r}, that this AlignFed does not know: update it"
        )
    return ROBUST_MEANS[name]
