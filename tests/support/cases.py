"""How many random cases a test tries: few by default, as many as the environment asks for in long runs."""

from __future__ import annotations

import os


def cases(default: int) -> int:
    """Return the number of random cases: `ALIGNFED_CASES`, or `default` when that is not set."""
    return int(os.environ.get("ALIGNFED_CASES", default))


def steps(default: int) -> int:
    """Return the length of a random program: `ALIGNFED_STEPS`, or `default` when that is not set."""
    return int(os.environ.get("ALIGNFED_STEPS", default))
