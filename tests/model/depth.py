"""How far programs get: what each one did and lived through, as a table over all of them."""

from __future__ import annotations

import dataclasses
from collections import Counter

from tests.model.program import Program

MEASURES = (
    "versions", "rollbacks", "versions abandoned", "deltas accepted", "stale deltas merged",
    "crashes with work in hand", "leases expired", "uploads expired", "buried", "requeued", "answers refused",
)  # fmt: skip


def depth_of(program: Program) -> Counter[str]:
    """Return how much of each measure a program saw."""
    reference = program.reference
    merged = reference.merged.items()
    stale = sum(reference.accepted[delta_id].base.number < number - 1 for delta_id, number in merged)
    seen: Counter[str] = Counter(
        {
            "versions": reference.head.number,
            "rollbacks": sum(version.merge is None for version in reference.versions[1:]),
            "versions abandoned": sum(version.abandoned for version in reference.versions),
            "deltas accepted": len(program.acknowledged),
            "stale deltas merged": stale,
        }
    )
    return seen + program.seen


@dataclasses.dataclass(slots=True)
class Depths:
    """What all programs of a run saw."""

    programs: list[Counter[str]] = dataclasses.field(default_factory=list)

    def median(self, measure: str) -> int:
        """Return the median over programs."""
        return sorted(seen[measure] for seen in self.programs)[len(self.programs) // 2]

    def share(self, measure: str) -> float:
        """Return the part of the programs that saw any."""
        return sum(seen[measure] > 0 for seen in self.programs) / len(self.programs)

    def __str__(self) -> str:
        count = len(self.programs)
        lines = [f"{count} programs; of each measure: median, 90th percentile, most, and in how many programs any"]
        for measure in MEASURES:
            values = sorted(seen[measure] for seen in self.programs)
            lines.append(
                f"  {measure:26} {values[count // 2]:3} {values[count * 9 // 10]:3} {values[-1]:3}  "
                f"{100 * self.share(measure):3.0f} %"
            )
        return "\n".join(lines)
