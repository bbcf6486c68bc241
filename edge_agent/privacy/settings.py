"""What the agent's owner asks of local differential privacy."""

from __future__ import annotations

import dataclasses
import math

from alignfed.errors import RequestInvalid
from alignfed.plan import FederationPlan


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class DpSettings:
    """How private training is.

    Attributes:
        noise_multiplier: Standard deviation of the noise added to each step's gradient, over `max_grad_norm`.
        max_grad_norm: The gradient of each sequence is scaled down to this norm.
        delta: Probability with which the bound may fail; well below one over the number of sequences.
        max_epsilon: Training ends before the privacy loss would exceed it; None to go on for ever.
    """

    noise_multiplier: float
    max_grad_norm: float = 1.0
    delta: float = 1e-5
    max_epsilon: float | None = None

    def __post_init__(self) -> None:
        """Refuse what means nothing.

        Raises:
            RequestInvalid: Names the setting and what it must be.
        """
        if not 0 < self.noise_multiplier < math.inf:
            raise RequestInvalid(f"dp-noise-multiplier {self.noise_multiplier} must be above 0")
        if not 0 < self.max_grad_norm < math.inf:
            raise RequestInvalid(f"dp-max-grad-norm {self.max_grad_norm} must be above 0")
        if not 0 < self.delta < 1:
            raise RequestInvalid(f"dp-delta {self.delta} must be above 0 and below 1")
        if self.max_epsilon is not None and not 0 < self.max_epsilon < math.inf:
            raise RequestInvalid(f"dp-max-epsilon {self.max_epsilon} must be above 0")

    def check_against(self, plan: FederationPlan, *, sequences: int) -> None:
        """Check what can be checked once the plan and the data are known.

        Raises:
            RequestInvalid: The plan's loss is not a sum over sequences, or delta allows giving away a whole sequence.
        """
        if plan.training.representation_penalty:
            raise RequestInvalid(
                "the plan's training.representation_penalty does not go with dp-noise-multiplier: join without it, or "
                "ask the operator for a federation without the penalty"
            )
        if self.delta * sequences >= 1:
            raise RequestInvalid(
                f"dp-delta {self.delta:g} with {sequences} sequences may give one away: set it well below "
                f"{1 / sequences:.1g}"
            )
