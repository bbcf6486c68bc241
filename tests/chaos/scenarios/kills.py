"""P1: SIGKILL of coordinators, workers and agents anywhere, every failpoint of theirs included."""

from __future__ import annotations

import logging
import random
import time
from pathlib import Path

from alignfed.plan import Buffer
from tests.chaos.faults.deaths import Deaths
from tests.chaos.harness.fleet import Fleet
from tests.chaos.harness.plan import federation_plan
from tests.chaos.harness.settling import journals, settle, state_directories
from tests.chaos.harness.visitors import Visitors
from tests.chaos.verdict.evidence import gather
from tests.chaos.verdict.oracle import judge
from tests.chaos.verdict.outcome import Outcome

AGENTS = 3
REJECTED = "agent-rejected"
LOOK_SECONDS = 0.02
TELL_SECONDS = 10.0
LONGEST_SECONDS = 1800.0

logger = logging.getLogger(__name__)


def run(
    folder: Path, *, seed: int, kills: int, every_place: bool = True, software: str = "valkey", files: bool = False
) -> Outcome:
    """Kill until `kills` processes have died and, with `every_place`, every failpoint had its turn, then judge.

    With `files` payloads are files, and not in the store.
    """
    began = tell_at = time.monotonic()
    rng = random.Random(seed)
    deaths = Deaths(rng, rejected=REJECTED, every_place=every_place)
    plan = federation_plan(folder, buffer=Buffer(size=4, timeout_seconds=0.5))
    with Fleet(folder, plan, software=software, payloads_in_files=files, arm=deaths.arm) as fleet:
        fleet.add_coordinators(2)
        fleet.add_workers(2)
        fleet.create_federation()
        deaths.enabled = True
        for number in range(AGENTS):
            fleet.add_agent(f"agent-{number}", outlier_every=7)
        fleet.add_agent(REJECTED, outlier_every=1)
        with Visitors(fleet, random.Random(seed + 1), deaths.wanted):
            while fleet.tally.crashes < kills or not deaths.exhausted:
                deaths.calm = fleet.tally.crashes >= kills
                deaths.tend(fleet)
                time.sleep(LOOK_SECONDS)
                if time.monotonic() > tell_at:
                    tell_at = time.monotonic() + TELL_SECONDS
                    waiting = sum(map(len, deaths.waiting.values()))
                    logger.info("%d crashes, %d places to go", fleet.tally.crashes, waiting)
                if time.monotonic() - began > LONGEST_SECONDS:
                    fleet.accidents.append(f"after {LONGEST_SECONDS:.0f} s only {fleet.tally.crashes} have died")
                    break
        faults = settle(fleet)
        states = state_directories(fleet)
        evidence = gather(
            fleet.store.url, plan.federation, agents=states, journals=journals(fleet), blob_url=fleet.blob_url
        )
        return Outcome(
            scenario="files" if files else "kills",
            seed=seed,
            tally=fleet.tally,
            verdict=judge(evidence),
            seconds=time.monotonic() - began,
            further={"every_place": f"{len(deaths.turns) - len(deaths.missed)}/{len(deaths.turns)}"}
            if every_place
            else {},
            faults=(*faults, *fleet.accidents, *(f"nobody died at {place}" for place in deaths.missed)),
        )
