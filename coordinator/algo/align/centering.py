"""Centring within a version group, equation (5) of the AlignFed paper, and the two ways out of its trap.

    none       D~_i = D_i
    shrink     D~_i = mean + (D_i - mean) / 2      members move half-way to their group's mean, which stays
    literal    D~_i = D_i - mean                   as we read the paper

Read literally, a group of one becomes zero and equally weighted members cancel, so that the server learns nothing. Our
reading is second-hand and may be wrong, but `literal` is for studying the equation, never a default.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import math
from collections.abc import Sequence

from alignfed.codec import Factors
from coordinator.algo.factors import add_scaled, zeros_like
from coordinator.algo.grouping import VersionGroup
from coordinator.algo.values import Load


class Centering(enum.StrEnum):
    """What is done about a group's mean; see the module's docstring."""

    NONE = "none"
    SHRINK = "shrink"
    LITERAL = "literal"


_OWN_AND_MEAN = {Centering.NONE: (1.0, 0.0), Centering.SHRINK: (0.5, 0.5), Centering.LITERAL: (1.0, -1.0)}
"""`D~_i = own * D_i + mean * mean_j D_j`."""


def centre_group(group: VersionGroup, centering: Centering) -> VersionGroup:
    """Return the group with each delta centred as it is loaded. Holds one mean in memory, unless nothing is centred."""
    if centering is Centering.NONE:
        return group
    mean: Factors = {}
    for delta in group.deltas:
        factors = delta.load()
        mean = mean or zeros_like(factors)
        add_scaled(mean, factors, 1.0 / len(group.deltas))
    deltas = tuple(
        dataclasses.replace(delta, load=functools.partial(_load_centred, delta.load, mean, centering), norm=None)
        for delta in group.deltas
    )
    return dataclasses.replace(group, deltas=deltas)


def fold(coefficients: Sequence[float], centering: Centering) -> tuple[float, ...]:
    """Turn coefficients of a group's centred deltas into those of the deltas themselves: `sum c~_i D_i = sum c_i D~_i`.

    Centring is linear, so a merge needs no centred copies and a record of the result re-derives it.
    """
    own, mean = _OWN_AND_MEAN[centering]
    shared = mean * math.fsum(coefficients) / len(coefficients)
    return tuple(own * coefficient + shared for coefficient in coefficients)


def _load_centred(load: Load, mean: Factors, centering: Centering) -> Factors:
    own_factor, mean_factor = _OWN_AND_MEAN[centering]
    centred = zeros_like(mean)
    add_scaled(centred, load(), own_factor)
    add_scaled(centred, mean, mean_factor)
    return centred
