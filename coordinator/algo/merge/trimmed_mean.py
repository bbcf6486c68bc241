"""The coordinate-wise trimmed mean: of each coordinate the largest and smallest quarter are left out.

Source: Yin, Chen, Ramchandran, Bartlett 2018 (arXiv 1803.01498), Definition 2, with beta = 1/4.
"""

from __future__ import annotations

import torch

from coordinator.algo.merge.cohorts import Robust

TRIM_RATIO = 0.25
"""Share left out on each side: withstands as large a share of hostile deltas."""


def trimmed_mean(values: torch.Tensor) -> torch.Tensor:
    """Return the mean over the first dimension without `floor(n / 4)` values on each side: `(n, elements)` to one."""
    cut = int(TRIM_RATIO * len(values))
    return values.sort(dim=0).values[cut : len(values) - cut].mean(dim=0)


TRIMMED_MEAN = Robust(name="trimmed-mean", smallest=4, combine=trimmed_mean)
