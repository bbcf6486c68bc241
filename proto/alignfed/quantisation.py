"""Signed 8-bit elements under fp32 scales, one per row or per group of elements (needs torch).

Source: block-wise quantisation, Dettmers et al. 2021, arXiv 2110.02861. Deviates: levels are evenly spaced.
"""

from __future__ import annotations

import torch

from alignfed.layout import GROUP_ELEMENTS, groups_of

_INT8_MAX = 127


def quantise_rows(tensor: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return int8 elements in the shape of `tensor` (fp32) and fp32 scales `(rows,)`, a row being one first index.

    `elements * scale` is nearest to `tensor`; rows of zeros are kept.
    """
    elements, scales = _quantise(tensor.reshape(tensor.shape[0], -1))
    return elements.reshape(tensor.shape), scales


def dequantise_rows(elements: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
    """Return new fp32 `elements * scale` of int8 elements and their rows' scales."""
    return elements.to(torch.float32).mul_(scales.reshape(-1, *([1] * (elements.dim() - 1))))


def quantise_groups(tensor: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return int8 elements in the shape of `tensor` (fp32) and fp32 scales `(groups,)`.

    A group is 256 elements that follow one another row after row; the last may have fewer. Groups of zeros are kept.
    """
    flat = tensor.reshape(-1)
    padded = flat.new_zeros(groups_of(flat.numel()) * GROUP_ELEMENTS)
    padded[: flat.numel()] = flat
    elements, scales = _quantise(padded.reshape(-1, GROUP_ELEMENTS))
    return elements.reshape(-1)[: flat.numel()].reshape(tensor.shape), scales


def dequantise_groups(elements: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
    """Return new fp32 `elements * scale` of int8 elements and their groups' scales."""
    flat = elements.reshape(-1).to(torch.float32, copy=True)
    if not flat.numel():
        return flat.reshape(elements.shape)
    whole = flat.numel() // GROUP_ELEMENTS * GROUP_ELEMENTS
    flat[:whole].view(-1, GROUP_ELEMENTS).mul_(scales[: whole // GROUP_ELEMENTS].unsqueeze(1))
    flat[whole:].mul_(scales[-1])
    return flat.reshape(elements.shape)


def _quantise(blocks: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    scales = blocks.abs().amax(dim=1) / _INT8_MAX
    divisor = torch.where(scales > 0, scales, torch.ones_like(scales))
    elements = (blocks / divisor.unsqueeze(1)).round().clamp(-_INT8_MAX, _INT8_MAX).to(torch.int8)
    return elements, scales
