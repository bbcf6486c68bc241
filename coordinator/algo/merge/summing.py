"""Weighted sums of many deltas: several are added to each block of the sum while it is in the cache.

Added one delta after the other, the sum is read and written again for each: three times the bytes of the delta. Here
it leaves the cache once for a handful. Every element still takes the same additions in the same order, so the bits are
those of the plain form, `copy_of` and then `add_scaled` for each delta, however many are added at a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import torch

from alignfed.codec import Factors
from coordinator.algo.factors import check_same_shapes, copy_of
from coordinator.algo.values import Load

AT_ONCE_BYTES = 1 << 30
"""Deltas that are added at the same time are so large together at most: six of 42 M parameters in fp32, twelve in bf16.
More gain little: six save 5/6 of the passes over the sum."""

SUM_BLOCK_ELEMENTS = 128 * 1024
"""Elements per block: 512 KiB of the sum and as much of a delta's converted block fit into a core's second-level cache;
smaller ones show the overhead of calls."""

_EXACT_IN_FP32 = (torch.bfloat16, torch.float16)


def plus_scaled(start: Mapping[str, torch.Tensor], terms: Iterable[tuple[float, Load]]) -> Factors:
    """Return `start + sum of scale * delta` in new contiguous fp32 tensors, added in the order of `terms`.

    In memory are the sum, deltas of `AT_ONCE_BYTES` or a single larger one while they are loaded, and a block.

    Error per element against exact arithmetic, with n terms and to first order:
    `n * 2**-24 * (|start| + sum |scale * delta|)`, where scales are rounded to fp32.

    Args:
        start: Any floating dtype; left as it is.
        terms: What each delta is multiplied by (finite), and how it is loaded: tensors of the names and shapes of
            `start`, any floating dtype.

    Raises:
        ManifestMismatch: A delta's name or shape differs.
    """
    total: Factors = {}
    for deltas in _at_once(terms, start):
        for name, first in start.items():
            scaled = [(scale, delta[name].detach().reshape(-1)) for scale, delta in deltas]
            if name in total:
                _add(total[name].view(-1), scaled)
            else:
                total[name] = torch.empty(first.shape, dtype=torch.float32)
                _add(total[name].view(-1), scaled, start=first.detach().reshape(-1))
    return total or copy_of(start)


def _at_once(
    terms: Iterable[tuple[float, Load]], like: Mapping[str, torch.Tensor]
) -> Iterator[Sequence[tuple[float, Factors]]]:
    """Load deltas in order and yield them by the handful; a handful is empty again when the next one is asked for."""
    held: list[tuple[float, Factors]] = []
    room = AT_ONCE_BYTES
    for scale, load in terms:
        held.append((scale, load()))
        check_same_shapes(held[-1][1], like, what="the delta")
        nbytes = sum(tensor.nbytes for tensor in held[-1][1].values())
        room -= nbytes
        if room < nbytes:  # the next one is as large, presumably
            yield held
            held.clear()
            room = AT_ONCE_BYTES
    if held:
        yield held


def _add(
    total: torch.Tensor, deltas: Sequence[tuple[float, torch.Tensor]], *, start: torch.Tensor | None = None
) -> None:
    """Add scaled vectors to `total`, or to `start` into `total`, block by block; all of one length."""
    blocks = [(scale, torch.split(delta, SUM_BLOCK_ELEMENTS)) for scale, delta in deltas]
    starts = None if start is None else torch.split(start, SUM_BLOCK_ELEMENTS)
    converted = total.new_empty(min(SUM_BLOCK_ELEMENTS, total.numel()))
    for number, into in enumerate(torch.split(total, SUM_BLOCK_ELEMENTS)):
        if starts is not None:
            into.copy_(starts[number])
        for scale, of_delta in blocks:
            block = of_delta[number]
            if block.dtype in _EXACT_IN_FP32:  # else torch converts into memory that it takes anew each time
                block = converted[: len(block)].copy_(block)
            into.add_(block, alpha=scale)
