"""What is trained: a federation whose adapter is next to nothing, so that machines spend their time on dying."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file

from alignfed.base_model import digest_of
from alignfed.plan import (
    Aggregation,
    BaseModel,
    Buffer,
    Calibration,
    FederationPlan,
    Limits,
    Lora,
    Retention,
    TensorSpec,
)
from alignfed.screening import NO_SCREENING

FEDERATION = "chaos"
MOST_DELTAS = 1_000_000
KEEP_ALL = Retention(
    versions=MOST_DELTAS,
    delta_versions=MOST_DELTAS,
    receipt_versions=MOST_DELTAS,
    record_versions=MOST_DELTAS,
    dead_letters=MOST_DELTAS,
)


def federation_plan(folder: Path, *, buffer: Buffer, retention: Retention | None = None) -> FederationPlan:
    """Return the plan of a federation with one adapted module of rank 1; its base model is written to `folder`."""
    model = folder / "base-model"
    model.mkdir(parents=True, exist_ok=True)
    save_file({"weight": torch.zeros(4)}, model / "model.safetensors")
    return FederationPlan(
        federation=FEDERATION,
        base_model=BaseModel(name=str(model), digest=digest_of(model)),
        lora=Lora(rank=1, target_modules=("q_proj",)),
        buffer=buffer,
        aggregation=Aggregation(recipe="participation"),
        calibration=Calibration(fit_rows=0, judge_rows=0),
        screening=NO_SCREENING,
        limits=Limits(max_queue_deltas=MOST_DELTAS),
        retention=retention or KEEP_ALL,
        tensors=(
            TensorSpec(name="layer.q_proj.lora_A.weight", shape=(1, 8)),
            TensorSpec(name="layer.q_proj.lora_B.weight", shape=(8, 1)),
        ),
    ).validate()
