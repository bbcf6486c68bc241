"""What a delta looks like after its way to the server: encoded and decoded by the wire's own codec."""

from __future__ import annotations

import dataclasses
import math

import torch

from alignfed.codec import Factors, decode, encode, manifest_of
from alignfed.error_feedback import encode_with_residual
from alignfed.plan import Encoding
from coordinator.algo.values import Load


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class WireForm:
    """How deltas travel.

    Attributes:
        encoding: As in a plan.
        topk_ratio: As in a plan; for `topk` alone.
        feedback: Whether agents keep what `topk` leaves out and add it to the next delta.
    """

    encoding: Encoding = Encoding.BF16
    topk_ratio: float | None = None
    feedback: bool = False


class Wire:
    """Carries the deltas of one run, in the order in which each agent makes them, and keeps what agents owe.

    Args:
        form: How they travel.
        measures: Whether to take the error of each delta.
    """

    def __init__(self, form: WireForm, *, measures: bool = False) -> None:
        self._form = form
        self._measures = measures
        self._residuals: dict[str, Factors] = {}
        self.relative_errors: list[float] = []
        """Of each delta by itself, without a residual: norm of what the encoding changes over the delta's norm."""

    def carry(self, agent_id: str, load: Load) -> Factors:
        """Return an agent's delta as the server decodes it.

        One that is not finite is returned as it is, for the server to refuse.
        """
        delta = load()
        if not all(bool(torch.isfinite(factor).all()) for factor in delta.values()):
            return delta
        if self._form.encoding is Encoding.BF16:
            arrived = {name: factor.bfloat16().float() for name, factor in delta.items()}  # as the codec does it
        else:
            arrived = self._decoded(encode(delta, self._form.encoding, topk_ratio=self._form.topk_ratio), delta)
        if self._measures:
            self.relative_errors.append(_relative_error(arrived, delta))
        if not self._form.feedback or self._form.topk_ratio is None:
            return arrived
        payload, self._residuals[agent_id] = encode_with_residual(
            delta, self._residuals.get(agent_id), topk_ratio=self._form.topk_ratio
        )
        return self._decoded(payload, delta)

    def _decoded(self, payload: bytearray, delta: Factors) -> Factors:
        return decode(payload, manifest_of(delta), self._form.encoding, topk_ratio=self._form.topk_ratio)


def _relative_error(arrived: Factors, delta: Factors) -> float:
    changed = math.fsum(float((arrived[name] - factor).double().square().sum()) for name, factor in delta.items())
    size = math.fsum(float(factor.double().square().sum()) for factor in delta.values())
    return math.sqrt(changed / size) if size else 0.0
