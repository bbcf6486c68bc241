"""LoRA adapters for tests on the tiny model."""

from __future__ import annotations

from pathlib import Path

import torch

from alignfed.codec import Factors
from alignfed.plan import Lora
from coordinator.worker.adapter import initial_adapter

LORA = Lora(rank=4, alpha=12.0, target_modules=("q_proj", "v_proj"))


def trained_adapter(model_dir: Path, *, lora: Lora = LORA, seed: int = 5) -> Factors:
    """An adapter whose B is not zero, as after training."""
    factors = initial_adapter(model_dir, lora, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    return {
        name: tensor if "lora_A" in name else 0.3 * torch.randn(tensor.shape, generator=generator)
        for name, tensor in factors.items()
    }
