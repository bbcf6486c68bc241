"""What is to be reached against Flower. Plain values."""

from __future__ import annotations

import dataclasses

from bench.flower.payloads import LARGE, MANY_TENSORS, SMALL, Payload
from bench.speed.goals import Goal, Kind


def _uploads(letter: str, what: str, bound: float) -> Goal:
    return Goal(
        number=f"6{letter}",
        what=f"upload of {what}",
        ceiling="Flower's client pushing the same bytes",
        bound=bound,
        kind=Kind.RATE,
        unit="MB/s",
    )


def _merges(letter: str, what: str, bound: float) -> Goal:
    return Goal(
        number=f"7{letter}",
        what=f"uploads of {what} to the published merge",
        ceiling="Flower's pushes to its aggregate",
        bound=bound,
        kind=Kind.RATE,
        unit="MB/s",
    )


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Contest:
    """A payload and what is to be reached with it; None where it is not measured end to end."""

    payload: Payload
    upload: Goal
    merge: Goal | None


CONTESTS = (
    Contest(payload=SMALL, upload=_uploads("a", "1.8 MB", 10.0), merge=_merges("a", "1.8 MB", 12.0)),
    Contest(payload=LARGE, upload=_uploads("b", "84 MB", 4.0), merge=_merges("b", "84 MB", 8.0)),
    Contest(payload=MANY_TENSORS, upload=_uploads("c", "1.8 MB as 120 tensors", 100.0), merge=None),
)
