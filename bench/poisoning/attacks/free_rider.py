"""Free riders: take part without training. One sends nothing but zeros, one sends back how the adapter moved last.

Source: Lin et al. 2019, "Free-riders in Federated Learning: Attacks and Defenses" (arXiv 1911.12560), plain and
delta-weights attack.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch

from alignfed.codec import Factors
from bench.poisoning.attack import Attack, Knowledge


def nothing(base: Mapping[str, torch.Tensor]) -> Factors:
    """Return a delta of zeros with the shapes of the base."""
    return {name: torch.zeros_like(tensor) for name, tensor in base.items()}


def last_move(known: Knowledge) -> Factors:
    """Return the base version less the one before it; zeros at version 0, where nothing has moved."""
    if known.before is None:
        return nothing(known.base)
    return {name: tensor - known.before[name] for name, tensor in known.base.items()}


ZERO = Attack(name="free-rider-zero", send=lambda known: nothing(known.base))
COPY = Attack(name="free-rider-copy", send=last_move)
