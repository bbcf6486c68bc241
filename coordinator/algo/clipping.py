"""Norm clipping: a delta that is longer than a bound is scaled down to it and keeps its direction."""

from __future__ import annotations

import dataclasses
import functools
import math

from alignfed.codec import Factors
from alignfed.errors import AggregationInvalid
from coordinator.algo.factors import norm
from coordinator.algo.values import DeltaInput, Load, norm_of


def clip_factor(norm: float, bound: float) -> float:
    """Return `min(1, bound / norm)`: what a delta is multiplied by so that its norm is at most `bound`.

    Multiplied in floating point, a clipped delta may exceed the bound by rounding: by about 1e-7 of it in fp32.

    Args:
        norm: Frobenius norm of the delta, of zero or more; finite, because a norm that overflows has no direction left.
        bound: Largest norm; above 0, infinite for no bound.

    Raises:
        AggregationInvalid: One of them is out of its range.

    Source: clipping as in DP-FedAvg, McMahan et al. 2018 (arXiv 1710.06963), and Sun et al. 2019 (arXiv 1911.07963).
    """
    if not 0 <= norm < math.inf or not bound > 0:
        raise AggregationInvalid(f"a norm of {norm} cannot be clipped to {bound}: it takes a finite norm and a bound")
    return 1.0 if norm <= bound else bound / norm


def clipped(load: Load, factor: float) -> Load:
    """Return a load that gives `factor` times what `load` gives, in fp32; `load` itself when the factor is 1."""
    return load if factor == 1.0 else functools.partial(_load_scaled, load, factor)


def shortened(delta: DeltaInput) -> tuple[DeltaInput, float]:
    """Return a delta at a norm of at most its `max_norm`, and the factor that made it so; itself when it is short.

    Raises:
        AggregationInvalid: Its norm is not finite.
    """
    if delta.max_norm == math.inf:
        return delta, 1.0
    size = norm_of(delta)
    factor = clip_factor(size, delta.max_norm)
    if factor == 1.0:
        return delta, 1.0
    return dataclasses.replace(delta, load=clipped(delta.load, factor), norm=size * factor), factor


def shortened_again(load: Load, max_norm: float) -> tuple[Load, float]:
    """Return a load that was carried to the head at a norm of at most `max_norm`, and the factor: maps can stretch.

    Loads the delta once to take its norm, unless there is no bound.
    """
    factor = 1.0 if max_norm == math.inf else clip_factor(norm(load()), max_norm)
    return clipped(load, factor), factor


def _load_scaled(load: Load, factor: float) -> Factors:
    return {name: tensor.float() * factor for name, tensor in load().items()}
