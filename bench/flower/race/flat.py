"""An adapter as one flat array in a file, fp32, tensors one after the other by name: what crosses to Flower's side."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from alignfed.codec import Factors
from alignfed.plan import TensorSpec


def read_flat(file: Path, tensors: Sequence[TensorSpec]) -> Factors:
    """Return the factors that a file holds."""
    sizes = [math.prod(spec.shape) for spec in tensors]
    parts = torch.split(torch.from_numpy(np.fromfile(file, dtype=np.float32)), sizes)
    return {spec.name: part.view(spec.shape).clone() for spec, part in zip(tensors, parts, strict=True)}


def write_flat(file: Path, factors: Factors, tensors: Sequence[TensorSpec]) -> None:
    """Write factors to a file."""
    flat = torch.cat([factors[spec.name].detach().reshape(-1).to(torch.float32) for spec in tensors])
    flat.numpy().tofile(file)
