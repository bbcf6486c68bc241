"""Sketches: 512 numbers that stand for a delta, so that copies are found among many without keeping any delta.

A count sketch: every element is added, with a sign, to one of the places. Blocks share one pattern of signs, and each
is turned and signed anew. Inner products survive it up to a relative error of about `1 / sqrt(512)`, which vanishes for
a delta and its scaled copy.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping

import torch

from coordinator.algo.screening.blocks import BLOCK_ELEMENTS, blocks_of

PLACES = 512


def sketch(factors: Mapping[str, torch.Tensor], *, seed: int) -> torch.Tensor:
    """Return the sketch of a delta, `(512,)` fp32 of length 1; zeros where the delta is zero or not finite.

    Whoever knows the seed can hide a copy behind small changes: take one that agents do not know. One pass over the
    delta, with half a megabyte of memory beside it.

    Args:
        factors: Any floating dtype.
        seed: Sketches compare when it is the same.

    Source: Charikar, Chen, Farach-Colton 2002, count sketch.
    """
    signs = _signs(seed)
    generator = torch.Generator().manual_seed(seed)
    places = torch.zeros(PLACES)
    for block in blocks_of(factors):
        turn = int(torch.randint(0, PLACES, (1,), generator=generator))
        flip = 1 - 2 * int(torch.randint(0, 2, (1,), generator=generator))
        places.add_(torch.roll(_folded(block * signs[: len(block)]), turn), alpha=flip)
    length = float(places.norm())
    return places / length if 0 < length < float("inf") else torch.zeros(PLACES)


@functools.lru_cache(maxsize=8)
def _signs(seed: int) -> torch.Tensor:
    bits = torch.randint(0, 2, (BLOCK_ELEMENTS,), generator=torch.Generator().manual_seed(seed ^ 0x5EED))
    return bits.float() * 2 - 1


def _folded(values: torch.Tensor) -> torch.Tensor:
    whole = len(values) // PLACES * PLACES
    folded = values[:whole].view(-1, PLACES).sum(dim=0)
    folded[: len(values) - whole] += values[whole:]
    return folded
