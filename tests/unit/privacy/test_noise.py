"""Noise is normal, independent, and not to be drawn again."""

from __future__ import annotations

import math
import random

import pytest
import torch

from alignfed.privacy.noise import standard_normal, uniform


def known(seed: int) -> random.Random:
    return random.Random(seed)


def test_moments_and_tails_are_those_of_a_normal_distribution() -> None:
    count = 400_000
    drawn = standard_normal((count,), known(1).randbytes)
    error = 5 / math.sqrt(count)  # five standard errors
    assert float(drawn.mean()) == pytest.approx(0.0, abs=error)
    assert float(drawn.var()) == pytest.approx(1.0, abs=error * math.sqrt(2))
    assert float((drawn**4).mean()) == pytest.approx(3.0, abs=error * math.sqrt(96))
    for bound, share in ((1.0, 0.317311), (2.0, 0.045500), (3.0, 0.002700)):
        assert float((drawn.abs() > bound).double().mean()) == pytest.approx(share, abs=5 * math.sqrt(share / count))
    halves = torch.corrcoef(torch.stack((drawn[: count // 2], drawn[count // 2 :])))
    assert abs(float(halves[0, 1])) < 5 / math.sqrt(count // 2)


def test_extreme_bytes_give_finite_values() -> None:
    assert torch.isfinite(standard_normal((9,), lambda count: b"\xff" * count)).all()
    assert torch.isfinite(standard_normal((9,), bytes)).all()
    assert 0 <= float(uniform(1, lambda count: b"\xff" * count)[0]) < 1


def test_shapes_are_kept_and_no_two_draws_are_alike() -> None:
    torch.manual_seed(0)
    first = standard_normal((3, 5))
    torch.manual_seed(0)
    assert first.shape == (3, 5)
    assert not torch.equal(first, standard_normal((3, 5)))
    assert standard_normal(()).shape == ()
    assert standard_normal((0, 4)).shape == (0, 4)
