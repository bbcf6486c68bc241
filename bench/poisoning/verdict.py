"""What is required of the default, checked against the rows. Pure."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Sequence

from bench.poisoning.outcome import Placement
from bench.poisoning.rows import Row

REQUIRED_ATTACKS = ("sign-flip", "scaled-10", "scaled-100")
REQUIRED_SHARE = 0.2
MOST_LOSS_CHANGE = 0.02
MOST_FALSE_REJECTIONS = 0.02
"""With a fifth of the fleet attacking: the held-out loss within 2 % of clean, under 2 % of stale honest deltas lost."""


class Result(enum.StrEnum):
    """How a check ended."""

    PASS = "pass"  # noqa: S105  # not a secret
    FAIL = "fail"
    NOT_RUN = "not run"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One demand on a defence: `measured` must be at most `bound`; None where nothing was measured."""

    attack: str
    defence: str
    demand: str
    bound: float
    measured: float | None

    @property
    def result(self) -> Result:
        """Whether it is met."""
        if self.measured is None:
            return Result.NOT_RUN
        return Result.PASS if self.measured <= self.bound else Result.FAIL


def check(rows: Sequence[Row], defence: str) -> tuple[Check, ...]:
    """Return the checks of one defence."""
    checks = []
    for attack in REQUIRED_ATTACKS:
        row = next((row for row in rows if _is_required(row, attack, defence)), None)
        loss = None if row is None else row.loss.median
        lost = None if row is None else row.stale_rejected
        common = {"attack": attack, "defence": defence}
        checks += [
            Check(**common, demand="loss against clean, median", bound=MOST_LOSS_CHANGE, measured=loss),
            Check(**common, demand="stale honest deltas rejected", bound=MOST_FALSE_REJECTIONS, measured=lost),
        ]
    return tuple(checks)


def _is_required(row: Row, attack: str, defence: str) -> bool:
    wanted = (attack, REQUIRED_SHARE, Placement.EVEN, defence)
    return (row.attack, row.share, row.placement, row.defence) == wanted
