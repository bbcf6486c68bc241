"""Scaled: sends many times what it trained, so that the merge is all its own.

Source: Bagdasaryan et al. 2020, "How To Backdoor Federated Learning" (arXiv 1807.00459), model replacement by scaling.

Deviates: the delta is an honest one, so what harms is the step alone.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch

from alignfed.codec import Factors
from bench.poisoning.attack import Attack


def scale(delta: Mapping[str, torch.Tensor], factor: float) -> Factors:
    """Return `factor * delta`; the factors of two scalings multiply."""
    return {name: tensor * factor for name, tensor in delta.items()}


TEN = Attack(name="scaled-10", send=lambda known: scale(known.trained(), 10.0))
HUNDRED = Attack(name="scaled-100", send=lambda known: scale(known.trained(), 100.0))
