"""A federation on the tiny model: its plan, its first adapter, and training rows that fit it."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import torch

from alignfed.base_model import digest_of
from alignfed.codec import Factors
from alignfed.plan import BaseModel, Buffer, Calibration, FederationPlan, Limits, Lora, TensorSpec, Training
from alignfed.screening import NO_SCREENING
from tests.support.tiny_model import TINY_LORA_MODULES

RANK = 4
HIDDEN = 32
OUT_FEATURES = {"q_proj": 32, "v_proj": 16}
LAYERS = 2
CHUNK_BYTES = 1024


def tiny_plan(model_dir: Path, *, federation: str = "tiny-fed", **changes: Any) -> FederationPlan:
    """Return a plan whose adapter is what peft makes of the tiny model: 12 KB in fp32, 7 KB in bf16."""
    tensors = []
    for layer in range(LAYERS):
        for module, out_features in OUT_FEATURES.items():
            stem = f"base_model.model.model.layers.{layer}.self_attn.{module}"
            tensors.append(TensorSpec(name=f"{stem}.lora_A.weight", shape=(RANK, HIDDEN)))
            tensors.append(TensorSpec(name=f"{stem}.lora_B.weight", shape=(out_features, RANK)))
    plan = FederationPlan(
        federation=federation,
        base_model=BaseModel(name=str(model_dir), digest=digest_of(model_dir)),
        lora=Lora(rank=RANK, alpha=8.0, target_modules=TINY_LORA_MODULES),
        training=Training(local_steps=2, batch_size=2, sequence_length=64, learning_rate=1e-2),
        buffer=Buffer(size=2),
        calibration=Calibration(fit_rows=0, judge_rows=0),
        screening=NO_SCREENING,  # a delta here is one number in every element: all point the same way
        limits=Limits(chunk_bytes=CHUNK_BYTES),
        tensors=tuple(sorted(tensors, key=lambda spec: spec.name)),
    )
    return dataclasses.replace(plan, **changes).validate()


def fresh_adapter(plan: FederationPlan, *, seed: int = 0) -> Factors:
    """Return an adapter as LoRA starts: A random, B zero."""
    generator = torch.Generator().manual_seed(seed)
    return {
        spec.name: torch.zeros(spec.shape) if ".lora_B." in spec.name else torch.randn(spec.shape, generator=generator)
        for spec in plan.tensors
    }


def write_rows(path: Path, *, count: int = 12, secret: str = "") -> Path:
    """Write prompt/completion rows, each containing `secret`, and return the file."""
    rows = [
        {"prompt": f"{secret} {index} plus one is ", "completion": f"{secret} {index + 1}"} for index in range(count)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path
