"""A delta as one long vector, in blocks: small tensors are put together, because calls cost more than short sums."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch

BLOCK_ELEMENTS = 128 * 512


def blocks_of(factors: Mapping[str, torch.Tensor]) -> Iterator[torch.Tensor]:
    """Yield the elements of all tensors, by name, in fp32 blocks of `BLOCK_ELEMENTS`; the last one may be shorter."""
    held: list[torch.Tensor] = []
    room = BLOCK_ELEMENTS
    for name in sorted(factors):
        rest = factors[name].detach().reshape(-1)
        while len(rest) >= room:
            held.append(rest[:room])
            rest = rest[room:]
            yield torch.cat(held).float()
            held, room = [], BLOCK_ELEMENTS
        if len(rest):
            held.append(rest)
            room -= len(rest)
    if held:
        yield torch.cat(held).float()
