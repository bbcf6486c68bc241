"""Deltas as an agent keeps them before it uploads them."""

from __future__ import annotations

import uuid

from alignfed.chunks import sha256_of
from alignfed.plan import Encoding, TensorSpec
from edge_agent.domain import DeltaMeta, GlobalVersion, PreparedDelta

BASE = GlobalVersion(epoch=1, number=4, digest="ab" * 32)


def prepared(sequence: int = 0, *, payload: bytes = b"payload", delta_id: str | None = None) -> PreparedDelta:
    """Return a delta for an outbox, which does not look into payloads."""
    meta = DeltaMeta(
        delta_id=delta_id or str(uuid.uuid4()),
        sequence=sequence,
        base=BASE,
        base_model_digest="cd" * 32,
        examples=3,
        local_steps=2,
        encoding=Encoding.BF16,
        rank=2,
        tensors=(TensorSpec(name="a", shape=(2, 3)),),
        total_bytes=len(payload),
        sha256=sha256_of(payload),
    )
    return PreparedDelta(meta=meta, payload=payload)
