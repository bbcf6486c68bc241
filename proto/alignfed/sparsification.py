"""The largest elements of a tensor alone, by place and value (needs torch).

Source: sparsification with memory, Stich et al. 2018, arXiv 1809.07599; the memory is the agent's
(`edge_agent.training.feedback`). Deviates: per tensor rather than over all, so that every length follows from the plan.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from alignfed.errors import IndicesInvalid


def largest(tensor: torch.Tensor, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the `count` elements of largest magnitude: places, ascending int32 `(count,)`, and values `(count,)`.

    Places count row after row. Of equal magnitudes the first ones are taken, so that a tensor has one result.

    Args:
        tensor: fp32 and finite, of `count` elements at least.
        count: How many, 1 or more.
    """
    flat = tensor.reshape(-1)
    sizes = flat.abs()
    least = torch.topk(sizes, count, sorted=False).values.min()
    chosen = sizes > least
    ties = (sizes == least).nonzero().squeeze(1)[: count - int(chosen.sum())]
    chosen[ties] = True
    places = chosen.nonzero().squeeze(1)
    return places.to(torch.int32), flat[places]


def scatter(indices: torch.Tensor, values: torch.Tensor, shape: Sequence[int], *, name: str) -> torch.Tensor:
    """Return a new fp32 tensor of `shape` that holds `values` at the places `indices`, and zeros elsewhere.

    Args:
        indices: int32 `(kept,)`, untrusted.
        values: `(kept,)`.
        shape: Of the tensor.
        name: Of the tensor, for messages.

    Raises:
        IndicesInvalid: A place is outside the tensor, or they do not ascend: one is repeated or out of order.
    """
    elements = math.prod(shape)
    places = indices.to(torch.int64)
    if places.numel() and (int(places[0]) < 0 or int(places[-1]) >= elements):
        raise IndicesInvalid(
            f"{name} names a place outside its {elements} elements: encode it with alignfed.codec.encode"
        )
    if bool((places[1:] <= places[:-1]).any()):
        raise IndicesInvalid(
            f"the places of {name} do not ascend, each named once: encode it with alignfed.codec.encode"
        )
    tensor = torch.zeros(elements)
    tensor[places] = values.to(torch.float32)
    return tensor.reshape(tuple(shape))
