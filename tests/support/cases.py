"""How many random cases a test tries, and which: few and always the same ones unless the environment asks for more."""

from __future__ import annotations

import os
import random


def cases(default: int) -> int:
    """Return the number of random cases: `ALIGNFED_CASES`, or `default` when that is not set."""
    return int(os.environ.get("ALIGNFED_CASES", default))


def steps(default: int) -> int:
    """Return the length of a random program: `ALIGNFED_STEPS`, or `default` when that is not set."""
    return int(os.environ.get("ALIGNFED_STEPS", default))


def seed_of(variable: str) -> int:
    """Return what random cases follow from: the environment's `variable`, 1 when that is not set, a new one for `new`.

    The same for everybody unless asked for: a change must not fail for a case that only chance brought up. Long runs
    (`make chaos`, `make soak`, `make fuzz`) draw new ones, and what they find is kept as a case of its own.
    """
    given = os.environ.get(variable, "1")
    return random.SystemRandom().randrange(1, 2**32) if given == "new" else int(given)
