"""One delta, prepared: everything an agent knows of it, and its payload in a file."""

from __future__ import annotations

import dataclasses
import uuid
from pathlib import Path

import torch

from alignfed.chunks import sha256_of
from alignfed.codec import encode
from alignfed.plan import FederationPlan
from edge_agent.domain import DeltaMeta, GlobalVersion


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
    payload = bytes(encode(drawn, plan.delta_encoding))
    file = folder / "delta"
    file.write_bytes(payload)
    meta = DeltaMeta(
        delta_id="",
        sequence=0,
        base=GlobalVersion(epoch=0, number=0, digest="0" * 64),
        base_model_digest=plan.base_model.digest,
        examples=1,
        local_steps=1,
        encoding=plan.delta_encoding,
        rank=plan.lora.rank,
        tensors=plan.tensors,
        total_bytes=len(payload),
        sha256=sha256_of(payload),
    )
    return Delta(meta=meta, file=file)
