"""Gaussian noise from the operating system's random bytes, which nobody can draw again."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

import torch

RandomBytes = Callable[[int], bytes]
"""Gives so many random bytes: `os.urandom`, or bytes that a test knows."""

_MANTISSA_BITS = 53


def uniform(count: int, random_bytes: RandomBytes = os.urandom) -> torch.Tensor:
    """Return `(count,)` float64 in [0, 1), each a multiple of 2^-53."""
    whole = torch.frombuffer(bytearray(random_bytes(8 * max(count, 1))), dtype=torch.int64)[:count]
    drawn: torch.Tensor = (whole & (2**_MANTISSA_BITS - 1)).double() * 2.0**-_MANTISSA_BITS
    return drawn


def standard_normal(shape: Sequence[int], random_bytes: RandomBytes = os.urandom) -> torch.Tensor:
    """Return independent standard normal values of that shape, float64 on the CPU.

    torch's own generators can be wound back from what they gave, and are seeded with numbers that others may guess.
    Values beyond 8.6 never come (they would once in 10^17). That results are rounded to floating point, from which a
    very patient observer can learn (Mironov 2012), is not made up for.

    Source: Box and Muller 1958.
    """
    count = torch.Size(shape).numel()
    pairs = (count + 1) // 2
    radius = torch.sqrt(-2.0 * torch.log(1.0 - uniform(pairs, random_bytes)))  # 1 - u is in (0, 1]
    angle = 2.0 * torch.pi * uniform(pairs, random_bytes)
    return torch.cat((radius * torch.cos(angle), radius * torch.sin(angle)))[:count].reshape(tuple(shape))
