"""What a failover costs when nobody waits for replicas: the same scenario, with clients that trust the primary alone.

    python -m tests.chaos.scenarios.without_waiting --failovers 30 --seed 20

Deltas are lost then, now and then: those whose agents were told *merged* by a primary that was cut off. With
`wait_replicas=1`, as `python -m tests.chaos failovers` has it, none may be.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from tests.chaos.scenarios.failovers import run_failovers


def main() -> None:
    """Run it and print the figures; whatever they are, the exit code is 0, because nothing is promised."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--failovers", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="alignfed-failovers-") as folder:
        outcome = run_failovers(Path(folder), failovers=options.failovers, seed=options.seed, wait_replicas=0)
    sys.stdout.write(f"{outcome.report()}\n")


if __name__ == "__main__":
    main()
