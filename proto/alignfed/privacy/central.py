"""The plan's settings of central differential privacy: noise at the merge, and how often an agent may be in one."""

from __future__ import annotations

import dataclasses
import math

Rule = tuple[str, object, bool]
"""A rule in words, the value it is about, and whether it holds."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class CentralPrivacy:
    """How private what is published is towards each agent; the deltas themselves are not.

    Attributes:
        noise_multiplier: Standard deviation of the noise on the sum of a merge's deltas, over `clip_norm`; 0 for none,
            and then nothing here counts.
        clip_norm: Each delta is scaled down to this norm once it is aligned.
        delta: Probability with which the bound may fail; well below one over the number of agents.
        max_epsilon: An agent takes part in no merge that would make its privacy loss larger than this.
        max_participations: An agent takes part in at most so many merges; 0 for as many as `max_epsilon` allows.
        min_separation_versions: An agent that is in a version is in none of the next `min_separation_versions - 1`.
    """

    noise_multiplier: float = 0.0
    clip_norm: float = 1.0
    delta: float = 1e-5
    max_epsilon: float = 8.0
    max_participations: int = 0
    min_separation_versions: int = 1

    @property
    def enabled(self) -> bool:
        """Whether there is noise."""
        return self.noise_multiplier > 0

    def rules(self) -> list[Rule]:
        """Return what must hold of the values."""
        return [
            ("privacy.noise_multiplier must be 0 or more", self.noise_multiplier,
             0 <= self.noise_multiplier < math.inf),
            ("privacy.clip_norm must be above 0", self.clip_norm, 0 < self.clip_norm < math.inf),
            ("privacy.delta must be above 0 and below 1", self.delta, 0 < self.delta < 1),
            ("privacy.max_epsilon must be above 0", self.max_epsilon, 0 < self.max_epsilon < math.inf),
            ("privacy.max_participations must be 0 to 1000000", self.max_participations,
             0 <= self.max_participations <= 1_000_000),
            ("privacy.min_separation_versions must be 1 to 10000", self.min_separation_versions,
             1 <= self.min_separation_versions <= 10_000),
        ]  # fmt: skip
