"""One delta, prepared by the agent's own code: everything an agent knows of it, and its payload in a file."""

from __future__ import annotations

import dataclasses
import uuid
from pathlib import Path

import torch

from alignfed.plan import FederationPlan
from edge_agent.domain import DeltaMeta, GlobalVersion
from edge_agent.training.delta import BaseAdapter, prepare_delta
from edge_agent.training.trainer import TrainingResult


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Delta:
    """A delta that can be sent any number of times, each time as another one."""

    meta: DeltaMeta
    file: Path

    def as_another(self, base: GlobalVersion) -> DeltaMeta:
        """Return what announces it under a new id, as trained from `base`."""
        return dataclasses.replace(self.meta, delta_id=str(uuid.uuid4()), base=base)


def prepare(folder: Path, plan: FederationPlan) -> Delta:
    """Draw a delta of a plan and write its payload."""
    drawn = {spec.name: torch.randn(spec.shape).mul_(0.01) for spec in plan.tensors}
    zeros = BaseAdapter(
        version=GlobalVersion(epoch=0, number=0, digest="0" * 64),
        factors={name: torch.zeros_like(factor) for name, factor in drawn.items()},
    )
    result = TrainingResult(adapter=drawn, examples=1, steps=1, mean_loss=1.0)
    prepared = prepare_delta(result, zeros, plan, sequence=0)
    file = folder / "delta"
    file.write_bytes(prepared.payload)
    return Delta(meta=prepared.meta, file=file)
