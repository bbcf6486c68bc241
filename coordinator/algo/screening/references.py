"""Reference directions: the gradient of the calibration loss at a base version, computed once for all its deltas."""

from __future__ import annotations

import dataclasses
import math
from collections import OrderedDict
from collections.abc import Callable

import torch

from alignfed.codec import Factors
from coordinator.algo.factors import cosine
from coordinator.algo.screening.blocks import blocks_of
from coordinator.domain import VersionId

KEPT_BYTES = 512 << 20
"""Gradients that are kept take no more together, in bf16: six of 42 million parameters. The newest is always kept."""

GradientAt = Callable[[VersionId], Factors]
"""Gives the gradient of the calibration loss at a version's adapter, by its factors; on rows that never judge."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """A gradient as a list of blocks, see `blocks_of`, in bf16, and its norm."""

    gradient: tuple[torch.Tensor, ...]
    length: float

    def descent(self, delta: Factors, delta_norm: float) -> float:
        """Return the cosine between a delta and the direction in which the calibration loss falls, in [-1, 1].

        0 where either is zero or not finite: then nothing can be said.
        """
        if not (0 < self.length < math.inf and 0 < delta_norm < math.inf):
            return 0.0
        blocks = zip(self.gradient, blocks_of(delta), strict=True)
        product = math.fsum(float(torch.dot(own.float(), block)) for own, block in blocks)
        return -cosine(product, self.length, delta_norm)


class References:
    """Keeps the reference of the base versions used last.

    Args:
        gradient_at: Asked once for each version that is not kept.
    """

    def __init__(self, gradient_at: GradientAt) -> None:
        self._gradient_at = gradient_at
        self._kept: OrderedDict[VersionId, Reference] = OrderedDict()
        self.computed = 0

    def at(self, base: VersionId) -> Reference:
        """Return the reference of a version."""
        if base not in self._kept:
            self.computed += 1
            self._kept[base] = _reference(self._gradient_at(base))
        self._kept.move_to_end(base)
        while len(self._kept) > 1 and sum(map(_nbytes, self._kept.values())) > KEPT_BYTES:
            self._kept.popitem(last=False)
        return self._kept[base]


def _reference(gradient: Factors) -> Reference:
    rounded = tuple(block.cpu().bfloat16() for block in blocks_of(gradient))
    length = math.sqrt(math.fsum(float(block.float().square().sum()) for block in rounded))
    return Reference(gradient=rounded, length=length)


def _nbytes(reference: Reference) -> int:
    return sum(block.nbytes for block in reference.gradient)
