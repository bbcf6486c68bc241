"""What a scenario came to: one line of figures, and everything that speaks against it."""

from __future__ import annotations

import dataclasses
from typing import Any

from tests.chaos.harness.tally import Tally
from tests.chaos.verdict.oracle import Verdict


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One run of a scenario.

    Attributes:
        scenario: Its name.
        seed: What its chances were drawn from.
        tally: Deaths of processes; `further` holds what else it counts, in the order of the line.
        verdict: The oracle's.
        seconds: How long it took.
        faults: What went wrong besides what the oracle sees, such as a process that ended by itself.
    """

    scenario: str
    seed: int
    tally: Tally
    verdict: Verdict
    seconds: float
    further: dict[str, Any] = dataclasses.field(default_factory=dict)
    faults: tuple[str, ...] = ()

    @property
    def sound(self) -> bool:
        """Whether every promise was kept."""
        return not self.faults and self.verdict.sound

    def line(self) -> str:
        """Return the figures in one line."""
        kinds = " ".join(f"{kind}={count}" for kind, count in sorted(self.tally.by_kind.items()))
        places = len(self.tally.by_place.keys() - {"SIGKILL"})
        found = self.verdict
        values = {
            "seed": self.seed,
            "crashes": f"{self.tally.crashes} ({kinds}; at {places} places, {self.tally.by_place['SIGKILL']} anywhere)",
            **self.further,
            "acknowledged": found.acknowledged,
            "merged": found.merged,
            "rejected": found.rejected,
            "dead": found.dead,
            "lost": len(found.lost),
            "doubled": len(found.doubled),
            "versions": found.versions,
            "derived_again": found.derived,
            "seconds": f"{self.seconds:.0f}",
        }
        return f"{self.scenario} " + " ".join(f"{name}={value}" for name, value in values.items())

    def report(self) -> str:
        """Return the line and, below it, what speaks against the run."""
        against = [*self.verdict.faults, *self.faults]
        return "\n".join([self.line(), *(f"  AGAINST IT: {fault}" for fault in against)])
