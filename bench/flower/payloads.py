"""What both sides carry: the same tensors in fp32, and so the same bytes but for each side's own framing."""

from __future__ import annotations

import dataclasses

from alignfed.plan import Aggregation, Buffer, Encoding, FederationPlan, Retention, TensorSpec
from bench.speed.started import RANK, plan_of

ELEMENT_BYTES = 4
RECIPE = "fedbuff"
"""A mean of the deltas, as FedAvg's of equal weights is; needs neither base model nor calibration set."""
NEVER_SECONDS = 86_400.0
NEVER_DELTAS = 10_000
KEPT_VERSIONS = 2
"""Each is as large as a delta: what is measured does not need them."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Payload:
    """`pairs` LoRA pairs of rank 16, `A (16, width)` and `B (width, 16)`."""

    name: str
    pairs: int
    width: int

    @property
    def tensors(self) -> tuple[TensorSpec, ...]:
        """Return the tensors, sorted by name."""
        return tuple(
            TensorSpec(name=f"layers.{pair:02}.q_proj.lora_{factor}.weight", shape=shape)
            for pair in range(self.pairs)
            for factor, shape in (("A", (RANK, self.width)), ("B", (self.width, RANK)))
        )

    @property
    def total_bytes(self) -> int:
        """Return the bytes of all elements."""
        return self.pairs * 2 * RANK * self.width * ELEMENT_BYTES

    def plan(self, federation: str, *, merged_at_once: int) -> FederationPlan:
        """Return the plan of a federation whose deltas are such payloads.

        Args:
            federation: Its name.
            merged_at_once: Deltas of a merge; 0 for a federation that merges nothing.
        """
        form = plan_of(self.pairs * 2 * RANK * self.width)
        return dataclasses.replace(
            form,
            federation=federation,
            delta_encoding=Encoding.FP32,
            buffer=Buffer(size=merged_at_once or NEVER_DELTAS, timeout_seconds=NEVER_SECONDS),
            aggregation=Aggregation(recipe=RECIPE),
            retention=Retention(versions=KEPT_VERSIONS, delta_versions=0),
            tensors=self.tensors,
        ).validate()


SMALL = Payload(name="small", pairs=1, width=14_400)
LARGE = Payload(name="large", pairs=1, width=655_360)
MANY_TENSORS = Payload(name="many-tensors", pairs=60, width=240)


def tiny(payload: Payload) -> Payload:
    """Return a payload of the same form that takes no time: to try things out, not to measure."""
    return dataclasses.replace(payload, width=min(payload.width, 16 * RANK))
