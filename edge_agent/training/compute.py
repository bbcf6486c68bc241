"""Where and how precisely to train: device, dtype, memory."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import time
from contextlib import AbstractContextManager

import torch

from alignfed.errors import RequestInvalid

PROBE_SIZE = 512
"""Side of the matrices multiplied to compare precisions: large enough to be compute-bound, done in milliseconds."""
PROBE_REPEATS = 3
BF16_WORTH_RATIO = 1.25
"""bf16 halves the base model's memory, so it may be this much slower than fp32; without CPU support it is far more."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Compute:
    """A device, and the dtype in which the frozen base model is held and multiplied."""

    device: torch.device
    dtype: torch.dtype

    def autocast(self) -> AbstractContextManager[object]:
        """Return the context in which the forward pass runs: bf16 autocast over fp32 LoRA factors, or none."""
        if self.dtype is torch.bfloat16:
            return torch.autocast(self.device.type, dtype=torch.bfloat16)
        return contextlib.nullcontext()


def choose_compute(*, device: str = "auto", precision: str = "auto") -> Compute:
    """Choose where to train.

    Args:
        device: `auto`, `cpu` or `cuda`.
        precision: `bf16`, `fp32`, or `auto`: bf16 where the device is about as fast in it or faster.

    Raises:
        RequestInvalid: `cuda` was asked for and there is none.
    """
    has_cuda = torch.cuda.is_available()
    if device == "cuda" and not has_cuda:
        raise RequestInvalid("no CUDA device is available to this torch: pass --device cpu, or install torch for CUDA")
    chosen = torch.device("cuda" if device == "cuda" or (device == "auto" and has_cuda) else "cpu")
    if precision == "auto":
        fast = torch.cuda.is_bf16_supported() if chosen.type == "cuda" else _bf16_pays_on_cpu()
        precision = "bf16" if fast else "fp32"
    return Compute(device=chosen, dtype=torch.bfloat16 if precision == "bf16" else torch.float32)


def memory_bytes(device: torch.device) -> int:
    """Return how much memory `device` has in all."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _bf16_pays_on_cpu() -> bool:
    return _best_seconds(torch.bfloat16) <= BF16_WORTH_RATIO * _best_seconds(torch.float32)


def _best_seconds(dtype: torch.dtype) -> float:
    matrix = torch.ones(PROBE_SIZE, PROBE_SIZE, dtype=dtype)
    best = float("inf")
    for _ in range(PROBE_REPEATS):
        began = time.perf_counter()
        torch.mm(matrix, matrix)
        best = min(best, time.perf_counter() - began)
    return best
