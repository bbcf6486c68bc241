"""An adapter as one long vector: copies, in-place sums, inner products, in blocks so that no big temporaries arise."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import torch

from alignfed.codec import Factors, check_finite
from alignfed.errors import ManifestMismatch

BLOCK_ELEMENTS = 512 * 1024
"""Elements per block (2 MiB of fp32): below it the call overhead shows, above it blocks fall out of the cache."""


def copy_of(factors: Mapping[str, torch.Tensor]) -> Factors:
    """Return new contiguous fp32 tensors on the CPU with the values of `factors`."""
    return {name: tensor.detach().to("cpu", torch.float32, copy=True).contiguous() for name, tensor in factors.items()}


def zeros_like(factors: Mapping[str, torch.Tensor]) -> Factors:
    """Return fp32 zeros of the shapes of `factors`."""
    return {name: torch.zeros(tensor.shape, dtype=torch.float32) for name, tensor in factors.items()}


def check_same_shapes(factors: Mapping[str, torch.Tensor], reference: Mapping[str, torch.Tensor], *, what: str) -> None:
    """Check that `factors` has exactly the tensor names and shapes of `reference`.

    Raises:
        ManifestMismatch: Names the first tensor that is missing, unknown or of another shape.
    """
    for name in sorted(reference.keys() ^ factors.keys()):
        state = "lacks" if name in reference else "has an unknown"
        raise ManifestMismatch(f"{what} {state} tensor {name}: it must have exactly the adapter's tensors")
    for name, tensor in reference.items():
        if factors[name].shape != tensor.shape:
            raise ManifestMismatch(
                f"{what} has shape {tuple(factors[name].shape)} in {name}, the adapter has {tuple(tensor.shape)}"
            )


def add_scaled(accumulator: Factors, delta: Mapping[str, torch.Tensor], scale: float) -> None:
    """Add `scale * delta` to `accumulator` in place, in blocks.

    The same calls in the same order give the same bits, whatever the number of threads.

    Args:
        accumulator: Contiguous fp32 tensors, changed in place.
        delta: Tensors of the same names and shapes, any floating dtype, read only.
        scale: Finite.

    Raises:
        ManifestMismatch: A name or shape differs. Nothing was added.
    """
    check_same_shapes(delta, accumulator, what="the delta")
    for name, target in accumulator.items():
        for into, block in _blocks(target.view(-1), delta[name].reshape(-1)):
            into.add_(block, alpha=scale)


def inner(left: Mapping[str, torch.Tensor], right: Mapping[str, torch.Tensor]) -> float:
    """Return the inner product of two adapters, summed over blocks in double precision.

    Raises:
        ManifestMismatch: A name or shape differs.
    """
    check_same_shapes(right, left, what="the right factor")
    return math.fsum(
        float(torch.dot(a, b))
        for name, tensor in left.items()
        for a, b in zip(_fp32_blocks(tensor), _fp32_blocks(right[name]), strict=True)
    )


def norm(factors: Mapping[str, torch.Tensor]) -> float:
    """Return the Frobenius norm over all tensors; infinite when an element is not finite or its square overflows."""
    squares = [float(torch.dot(block, block)) for tensor in factors.values() for block in _fp32_blocks(tensor)]
    return math.sqrt(math.fsum(squares)) if all(map(math.isfinite, squares)) else math.inf


def check_all_finite(factors: Mapping[str, torch.Tensor], *, what: str) -> None:
    """Check that no tensor holds NaN or infinity: `check_finite` at a fraction of its cost where all is well.

    Raises:
        NonFinite: Names the first such tensor.
    """
    if not math.isfinite(norm(factors)):
        check_finite(factors, what=what)


def cosine(product: float, left_norm: float, right_norm: float) -> float:
    """Return the cosine `product / (left_norm * right_norm)`, in [-1, 1]; 0 when either vector is zero."""
    scale = left_norm * right_norm
    return max(-1.0, min(1.0, product / scale)) if scale > 0 else 0.0  # the clamp only takes off rounding


def _fp32_blocks(tensor: torch.Tensor) -> Iterator[torch.Tensor]:
    """Yield a tensor's elements in blocks, in fp32. Of other dtypes all in one place: look at one before the next."""
    flat = tensor.detach().reshape(-1)
    if flat.dtype is torch.float32:
        yield from torch.split(flat, BLOCK_ELEMENTS) if flat.numel() else ()
        return
    place = torch.empty(min(BLOCK_ELEMENTS, flat.numel()), dtype=torch.float32)  # memory taken anew costs more than use
    for start in range(0, flat.numel(), BLOCK_ELEMENTS):
        block = flat[start : start + BLOCK_ELEMENTS]
        yield place[: len(block)].copy_(block)


def _blocks(left: torch.Tensor, right: torch.Tensor) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    for start in range(0, left.numel(), BLOCK_ELEMENTS):
        yield left[start : start + BLOCK_ELEMENTS], right[start : start + BLOCK_ELEMENTS]
