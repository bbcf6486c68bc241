"""Sign flip: sends the negative of what it trained.

Source: Li et al. 2019, "RSA: Byzantine-Robust Stochastic Aggregation Methods for Distributed Learning from
Heterogeneous Datasets" (arXiv 1811.03761), sign-flipping at a magnitude of 1.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch

from alignfed.codec import Factors
from bench.poisoning.attack import Attack


def flip_sign(delta: Mapping[str, torch.Tensor]) -> Factors:
    """Return `-delta`; flipping twice gives the delta back."""
    return {name: -tensor for name, tensor in delta.items()}


ATTACK = Attack(name="sign-flip", send=lambda known: flip_sign(known.trained()))
