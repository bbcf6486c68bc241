"""Fuzz every target in parallel: `python -m tests.fuzz --inputs 1000000`. Failing inputs go to tests/fuzz/corpus."""

from __future__ import annotations

import argparse
import os
import random
import sys

from tests.fuzz.campaign import campaign
from tests.fuzz.targets import SHARES


def main() -> int:
    """Run and return the exit code: 1 when an input broke a promise."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=20_000, help="inputs in all targets together")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--seed", type=int, default=None, help="to run a campaign again; a new one by default")
    parser.add_argument("--target", action="append", choices=sorted(SHARES), help="only this one; may be repeated")
    given = parser.parse_args()
    seed = random.SystemRandom().randrange(2**32) if given.seed is None else given.seed
    return campaign(inputs=given.inputs, processes=given.processes, seed=seed, names=given.target or list(SHARES))


if __name__ == "__main__":
    sys.exit(main())
