"""Break a federation of real processes on purpose and hold it to account; see `--help`."""

from __future__ import annotations

import argparse
import logging
import random
import shutil
import sys
import tempfile
from pathlib import Path

from tests.chaos.scenarios import SCENARIOS, Amount
from tests.chaos.verdict.outcome import Outcome

KILLS_PER_ROUND = 500
SOFTWARE = ("valkey", "redis")


def main() -> None:
    """Run scenarios and print a line for each; the exit code says whether every promise was kept."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("scenario", choices=[*SCENARIOS, "soak"], help="soak: all of them, in their long form")
    parser.add_argument("--count", type=int, help="kills, deltas, zombies or rounds, whatever the scenario counts")
    parser.add_argument(
        "--kills", type=int, help="the same for `kills`, in rounds of 500, the first at every place; with soak too"
    )
    parser.add_argument("--chance", action="store_true", help="kills: leave the tour of every place out")
    parser.add_argument("--bounces", type=int, default=3, help="of each side, for exactly-once")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 31))
    parser.add_argument("--software", choices=SOFTWARE, default="valkey", help="the store")
    parser.add_argument("--folder", type=Path, help="where files go for the time being; default: the system's")
    parser.add_argument("--keep", action="store_true", help="keep everybody's files and logs")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    sound = True
    for name, amount, software in _plan(options):
        sound &= _run(name, amount, software, options).sound
    sys.exit(not sound)


def _plan(options: argparse.Namespace) -> list[tuple[str, Amount, str]]:
    """Return what to run: scenario, amount, store."""
    names = list(SCENARIOS) if options.scenario == "soak" else [options.scenario]
    plan: list[tuple[str, Amount, str]] = []
    for name in names:
        scenario = SCENARIOS[name]
        amount = scenario.long if options.scenario == "soak" else scenario.short
        wanted = options.kills if name == "kills" else None
        count = wanted or (options.count if options.scenario != "soak" else None) or amount.count
        seed = options.seed
        if name != "kills":
            bounces = amount.bounces if options.scenario == "soak" else options.bounces
            plan.append((name, Amount(count=count, bounces=bounces, seed=seed), options.software))
            continue
        for turn, start in enumerate(range(0, count, KILLS_PER_ROUND)):
            software = SOFTWARE[turn % 2] if shutil.which("redis-server") and turn else options.software
            some = min(KILLS_PER_ROUND, count - start)
            plan.append(
                (name, Amount(count=some, seed=seed + turn, every_place=turn == 0 and not options.chance), software)
            )
    return plan


def _run(name: str, amount: Amount, software: str, options: argparse.Namespace) -> Outcome:
    folder = Path(tempfile.mkdtemp(prefix="alignfed-chaos-", dir=options.folder))
    logging.getLogger(__name__).info("%s with seed %d on %s, in %s", name, amount.seed, software, folder)
    try:
        outcome = SCENARIOS[name].run(folder, amount, software)
        print(outcome.report(), flush=True)
        return outcome
    finally:
        if not options.keep:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
