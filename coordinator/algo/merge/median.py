"""The coordinate-wise median: fewer than half of the deltas of a cohort cannot move any coordinate out of the others'.

Source: Yin, Chen, Ramchandran, Bartlett 2018 (arXiv 1803.01498), Definition 1.
"""

from __future__ import annotations

import torch

from coordinator.algo.merge.cohorts import Robust


def coordinate_median(values: torch.Tensor) -> torch.Tensor:
    """Return the median over the first of `(n, elements)`, `(elements,)`: the middle two's mean where n is even."""
    ordered = values.sort(dim=0).values
    middle = len(values) // 2
    return ordered[middle] if len(values) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


MEDIAN = Robust(name="median", smallest=3, combine=coordinate_median)
