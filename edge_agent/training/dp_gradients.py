"""The noisy gradient of DP-SGD: each sequence's gradient clipped, their sum, noise.

Source: Abadi et al. 2016, "Deep Learning with Differential Privacy" (arXiv 1607.00133), Alg. 1. Gradients of single
sequences come from Opacus (Yousefpour et al. 2021, arXiv 2109.12298).

Deviates: Opacus' sampler, optimiser and accountant are left out: noise and sampling come from the operating system's
random bytes, and the optimiser is the plan's AdamW, which sees the noisy gradient only.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import torch

from alignfed.codec import Factors
from alignfed.errors import NonFinite, RequestInvalid
from alignfed.privacy.noise import standard_normal
from edge_agent.data.tokens import IGNORED

_ROUNDING = 1.0 + 1e-5
"""A norm is computed in fp32; what is scaled by it must not exceed the bound by its rounding."""

Normal = Callable[[torch.Size], torch.Tensor]
"""Draws independent standard normal values."""

TrainedPart = Callable[[str, torch.Tensor], torch.Tensor]
"""Which part of a factor is trained, by its name; also of a stack of gradients, one per sequence."""


def sequence_losses(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return the mean loss over the learned tokens of each sequence, `(n,)` fp32.

    Args:
        logits: `(n, tokens, vocabulary)`.
        labels: `(n, tokens)`, `IGNORED` where nothing is learned; each sequence learns at least one token.
    """
    targets = labels[:, 1:]
    losses = torch.nn.functional.cross_entropy(
        logits[:, :-1].float().transpose(1, 2), targets, ignore_index=IGNORED, reduction="none"
    )
    return losses.sum(dim=1) / (targets != IGNORED).sum(dim=1)


class SequenceGradients:
    """Computes gradients of single sequences by hooks on the trained layers of a model, for as long as it lives.

    Args:
        model: Takes `input_ids` and `attention_mask`, gives `logits`. What requires a gradient is in linear layers.
        parameters: The trained parameters by name, of `model`.

    Raises:
        RequestInvalid: Opacus is not installed.
    """

    def __init__(self, model: Any, parameters: Mapping[str, torch.nn.Parameter]) -> None:
        try:
            from opacus import GradSampleModule  # heavy, and only where privacy is asked for
        except ImportError as error:
            raise RequestInvalid("dp-noise-multiplier needs Opacus: pip install 'alignfed[privacy]'") from error
        self._hooked = GradSampleModule(model, loss_reduction="sum")
        self._parameters = {name: parameter for name, parameter in parameters.items() if parameter.requires_grad}

    def add_clipped(
        self, batch: Mapping[str, torch.Tensor], total: Factors, *, max_norm: float, part: TrainedPart, forward: Any
    ) -> list[float]:
        """Add the clipped gradients of a batch's sequences to `total` and return the sequences' losses.

        Args:
            batch: As `edge_agent.data.batches.collate` makes it.
            total: The sum so far of the trained parts, by name; changed in place.
            max_norm: Largest norm over all trained parts together that a sequence's gradient keeps.
            part: What of each parameter is trained.
            forward: Context in which the forward pass runs.

        Raises:
            NonFinite: A loss or a gradient is NaN or infinite.
        """
        with forward:
            logits = self._hooked(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
        losses = sequence_losses(logits, batch["labels"])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # token ids need no gradient, which torch finds worth saying
            losses.sum().backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        gradients = self._taken(part, names=total)
        norms = torch.stack([gradient.flatten(1).norm(dim=1) for gradient in gradients.values()]).norm(dim=0)
        values = [float(value) for value in losses.detach()]
        if not (torch.isfinite(norms).all() and all(map(math.isfinite, values))):
            raise NonFinite("a loss or a gradient is NaN or infinite: lower the plan's learning rate or check the data")
        factors = torch.clamp(max_norm / (norms * _ROUNDING).clamp(min=torch.finfo(norms.dtype).tiny), max=1.0)
        for name, gradient in gradients.items():
            total[name] += torch.tensordot(factors, gradient, dims=1)
        return values

    def _taken(self, part: TrainedPart, *, names: Factors) -> Factors:
        """Take the gradients off the parameters: the trained parts, `(n, *shape)` fp32 by name."""
        gradients = {}
        for name, parameter in self._parameters.items():
            sample = parameter.grad_sample  # type: ignore[attr-defined]  # Opacus' hooks leave it there
            parameter.grad, parameter.grad_sample = None, None  # type: ignore[attr-defined]
            if name in names:
                gradients[name] = torch.stack([part(name, gradient) for gradient in sample]).float()
        return gradients


def noisy_mean(
    total: Factors, *, noise_multiplier: float, max_norm: float, expected: float, normal: Normal = standard_normal
) -> Factors:
    """Return `(total + noise) / expected`: what an optimiser may see.

    Args:
        total: The sum of gradients of norm `max_norm` at most.
        noise_multiplier: The noise's standard deviation over `max_norm`.
        max_norm: See `total`.
        expected: How many sequences a step has on average. Not how many it had, which is a secret.
        normal: Draws standard normal values.
    """
    return {
        name: (gradient + noise_multiplier * max_norm * normal(gradient.shape).to(gradient)) / expected
        for name, gradient in total.items()
    }
