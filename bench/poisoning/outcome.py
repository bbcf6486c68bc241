"""What one trial leaves behind: frozen values that go to JSON and back. Pure."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Self

from alignfed.plain import from_plain
from bench.results import Losses
from bench.simulator.scenario import Settled

HONEST = "honest"
"""Name of the attack that is none: the clean run."""


class Placement(enum.StrEnum):
    """Which machines the attackers have: as the fleet does, the fastest, or the slowest."""

    EVEN = "even"
    FAST = "fast"
    SLOW = "slow"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What to run; `share` of the agents attack, `attack` is `honest` and `share` 0 in a clean run."""

    attack: str
    share: float
    placement: Placement
    defence: str
    seed: int

    @property
    def clean(self) -> bool:
        """Whether nobody attacks."""
        return self.attack == HONEST

    @property
    def name(self) -> str:
        """The trial in a few words, fit for a file's name."""
        return f"{self.attack}_{self.share:g}_{self.placement}_{self.defence}_seed{self.seed}"


def clean_trial(defence: str, seed: int) -> Trial:
    """Return the clean run of a defence."""
    return Trial(attack=HONEST, share=0.0, placement=Placement.EVEN, defence=defence, seed=seed)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Fates:
    """What became of deltas: how many were merged, with which sum of coefficients, and rejected, by reason."""

    merged: int = 0
    coefficient: float = 0.0
    rejected: Mapping[str, int] = dataclasses.field(default_factory=dict)

    @property
    def rejections(self) -> int:
        """How many were rejected."""
        return sum(self.rejected.values())

    @property
    def settled(self) -> int:
        """How many were merged or rejected."""
        return self.merged + self.rejections


def fates_of(settled: Iterable[Settled]) -> Fates:
    """Return what became of these deltas."""
    merged, coefficient = 0, 0.0
    rejected: dict[str, int] = {}
    for delta in settled:
        if delta.reason:
            rejected[delta.reason] = rejected.get(delta.reason, 0) + 1
        else:
            merged += 1
            coefficient += delta.coefficient
    return Fates(merged=merged, coefficient=coefficient, rejected=dict(sorted(rejected.items())))


def together(fates: Sequence[Fates]) -> Fates:
    """Return the sums."""
    reasons = sorted({reason for each in fates for reason in each.rejected})
    return Fates(
        merged=sum(each.merged for each in fates),
        coefficient=sum(each.coefficient for each in fates),
        rejected={reason: sum(each.rejected.get(reason, 0) for each in fates) for reason in reasons},
    )


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One finished trial.

    Attributes:
        trial: Which.
        base: Losses before anything was merged.
        served: Losses of what is served at the end.
        backdoor_by_loss: Share of triggered held-out prompts on which the attacker's target is likelier than the true
            answer, per token.
        backdoor_greedy: Share of them on which greedy decoding gives the target, word for word.
        fresh: Deltas of honest agents whose base was the head.
        stale: Those of honest agents whose base was older.
        attackers: Deltas of attackers.
        merges: Versions published.
        gated: Candidates that were not published.
        guard_seconds: Real seconds that went into looking at deltas before they were merged.
        merge_seconds: Real seconds of merging in all, the guards' included.
    """

    trial: Trial
    base: Losses
    served: Losses
    backdoor_by_loss: float
    backdoor_greedy: float
    fresh: Fates
    stale: Fates
    attackers: Fates
    merges: int
    gated: int
    guard_seconds: float
    merge_seconds: float

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Build an outcome from its plain JSON values.

        Raises:
            PlainValueError: A key is unknown or missing, or a value has the wrong type.
        """
        return from_plain(cls, values)
