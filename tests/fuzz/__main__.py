"""Fuzz every target in parallel: `python -m tests.fuzz --inputs 1000000`. Failing inputs go to tests/fuzz/corpus.

Inputs are guided by coverage where atheris is installed (`pip install -e '.[fuzz]'`); the report says which it was.
"""

from __future__ import annotations

import argparse
import random
import sys

from tests.fuzz.campaign import campaign
from tests.fuzz.guided import is_installed
from tests.fuzz.targets import SHARES


def main() -> int:
    """Run and return the exit code: 1 when an input broke a promise."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=20_000, help="inputs in all targets together")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--seed", type=int, default=None, help="to run a campaign again; a new one by default")
    parser.add_argument("--target", action="append", choices=sorted(SHARES), help="only this one; may be repeated")
    parser.add_argument("--mode", choices=["auto", "guided", "seeded"], default="auto", help="auto: guided if possible")
    given = parser.parse_args()
    seed = random.SystemRandom().randrange(1, 2**32) if given.seed is None else given.seed
    if given.mode == "guided" and not is_installed():
        parser.error("atheris is not installed here: pip install -e '.[fuzz]', or choose another mode")
    return campaign(
        inputs=given.inputs,
        processes=given.processes,
        seed=seed,
        names=given.target or list(SHARES),
        guided=given.mode != "seeded" and is_installed(),
    )


if __name__ == "__main__":
    sys.exit(main())
