"""The plan's settings against poisoning: what keeps a delta out of a merge, and a merge from being published."""

from __future__ import annotations

import dataclasses
import math

Rule = tuple[str, object, bool]
"""A rule in words, the value it is about, and whether it holds."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Screening:
    """What is asked of a delta before it is merged, and what happens when a merge makes the calibration loss jump.

    The usual norm is the median over the buffer and the last merges.

    Attributes:
        min_delta_norm_ratio: A delta whose norm is below so many usual norms is rejected; 0 accepts every one.
        clip_norm_ratio: A delta whose norm is above so many usual norms is scaled down to them; 0 for no clipping.
        max_duplicate_cosine: A delta whose cosine with an earlier one of the buffer or of the last merges is above this
            is rejected; 0 looks for no copies.
        reference_rows: Calibration rows, not those that judge, for the direction that deltas are compared with; 0
            compares with none.
        max_suspicion: Deltas of an agent are rejected while the evidence against it is above this, in usual cosines.
        gate_tries: How many times a merge whose candidate may not be published is tried again without suspects.
        hold_after_gated: The federation is paused after so many merges in a row of which nothing could be published; 0
            never pauses it.
    """

    min_delta_norm_ratio: float = 0.001
    clip_norm_ratio: float = 1.5
    max_duplicate_cosine: float = 0.95
    reference_rows: int = 6
    max_suspicion: float = 3.0
    gate_tries: int = 2
    hold_after_gated: int = 3

    def rules(self) -> list[Rule]:
        """Return what must hold of the values."""
        s = self
        return [
            ("screening.min_delta_norm_ratio must be in [0, 1)", s.min_delta_norm_ratio,
             0 <= s.min_delta_norm_ratio < 1),
            ("screening.clip_norm_ratio must be 0 (no clipping) or at least 1", s.clip_norm_ratio,
             s.clip_norm_ratio == 0 or 1 <= s.clip_norm_ratio < math.inf),
            ("screening.max_duplicate_cosine must be in [0, 1]", s.max_duplicate_cosine,
             0 <= s.max_duplicate_cosine <= 1),
            ("screening.reference_rows must be 0 to 1000000", s.reference_rows, 0 <= s.reference_rows <= 1_000_000),
            ("screening.max_suspicion must be above 0", s.max_suspicion, 0 < s.max_suspicion < math.inf),
            ("screening.gate_tries must be 0 to 100", s.gate_tries, 0 <= s.gate_tries <= 100),
            ("screening.hold_after_gated must be 0 to 1000000", s.hold_after_gated,
             0 <= s.hold_after_gated <= 1_000_000),
        ]  # fmt: skip


NO_SCREENING = Screening(
    min_delta_norm_ratio=0.0,
    clip_norm_ratio=0.0,
    max_duplicate_cosine=0.0,
    reference_rows=0,
    gate_tries=0,
    hold_after_gated=0,
)
"""Everything off: for experiments that are about something else."""
