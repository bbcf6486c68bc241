"""Which sequences a private step trains on: each by a coin of its own, as the bound on the privacy loss assumes."""

from __future__ import annotations

import os
from collections.abc import Iterator

import torch

from alignfed.privacy.noise import RandomBytes, uniform


def sampling_ratio(count: int, batch_size: int) -> float:
    """Return the probability that gives `batch_size` of `count` sequences on average; 1 if there are fewer."""
    return min(1.0, batch_size / count)


def poisson_batches(
    count: int, ratio: float, *, steps: int, random_bytes: RandomBytes = os.urandom
) -> Iterator[list[int]]:
    """Yield `steps` batches: each index below `count` is in each with probability `ratio`. A batch may be empty.

    Unlike the order of ordinary training it cannot be told from the agent's id: who knows the sample gains nothing from
    the sampling.
    """
    for _ in range(steps):
        yield torch.nonzero(uniform(count, random_bytes) < ratio).flatten().tolist()
