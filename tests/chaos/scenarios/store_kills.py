"""P2: SIGKILL of the store under `appendfsync always`, again and again, while deltas flow and merges run."""

from __future__ import annotations

import logging
import random
import time
from pathlib import Path

from alignfed.plan import Buffer
from tests.chaos.harness.fleet import Fleet
from tests.chaos.harness.plan import federation_plan
from tests.chaos.harness.roles import ENDLESS
from tests.chaos.harness.settling import journals, settle, state_directories
from tests.chaos.verdict.evidence import gather
from tests.chaos.verdict.oracle import judge
from tests.chaos.verdict.outcome import Outcome

UP_SECONDS = (0.05, 1.2)
"""How long the store lives; the least is less than a merge takes."""
DOWN_SECONDS = (0.0, 0.4)
SENDERS, STREAMS, PAUSE_SECONDS = 2, 4, 0.02
AGENTS = 2
PROGRESS_EVERY = 10
"""After so many deaths the store lives until something was merged: a store that is never there shows nothing."""

logger = logging.getLogger(__name__)


def run(folder: Path, *, seed: int, kills: int, software: str = "valkey") -> Outcome:
    """Kill the store `kills` times, then judge."""
    began = time.monotonic()
    rng = random.Random(seed)
    plan = federation_plan(folder, buffer=Buffer(size=8, timeout_seconds=0.3))
    with Fleet(folder, plan, software=software) as fleet:
        fleet.add_coordinators(2)
        fleet.add_workers(2)
        fleet.create_federation()
        for number in range(AGENTS):
            fleet.add_agent(f"agent-{number}", outlier_every=9)
        for number in range(SENDERS):
            fleet.add_sender(f"sender-{number}", count=ENDLESS, streams=STREAMS, pause_seconds=PAUSE_SECONDS)
        for number in range(1, kills + 1):
            fleet.tend_for(rng.uniform(*UP_SECONDS))
            if number % PROGRESS_EVERY == 0:
                _see_progress(fleet)
            fleet.store.kill()
            fleet.tally.count("store", "SIGKILL")
            fleet.tend_for(rng.uniform(*DOWN_SECONDS))
            fleet.store.start()
        faults = settle(fleet)
        evidence = gather(fleet.store.url, plan.federation, agents=state_directories(fleet), journals=journals(fleet))
        return Outcome(
            scenario="store-kills",
            seed=seed,
            tally=fleet.tally,
            verdict=judge(evidence),
            seconds=time.monotonic() - began,
            further={"store": software},
            faults=(*faults, *fleet.accidents),
        )


def _see_progress(fleet: Fleet) -> None:
    """Wait until a version is published."""
    log = fleet.nursery.folder
    logger.info("%d store kills", fleet.tally.by_kind["store"])
    before = _published(log)
    fleet.tend_until(lambda: _published(log) > before, what="something is merged between the store's deaths")


def _published(logs: Path) -> int:
    return sum(log.read_bytes().count(b'"version published"') for log in logs.glob("worker-*.log"))
