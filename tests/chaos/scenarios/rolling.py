"""P14: coordinators behind one address are restarted in turn under load; no upload fails after the client's tries."""

from __future__ import annotations

import re
import signal
import time
from pathlib import Path

from alignfed.plan import Buffer
from tests.chaos.harness.fleet import Fleet
from tests.chaos.harness.journals import ACKNOWLEDGED, REFUSED, SENDING, read_events
from tests.chaos.harness.plan import federation_plan
from tests.chaos.harness.roles import ENDLESS
from tests.chaos.harness.sender import RETRIES
from tests.chaos.harness.settling import journals, settle
from tests.chaos.verdict.evidence import gather
from tests.chaos.verdict.oracle import judge
from tests.chaos.verdict.outcome import Outcome

SENDERS, STREAMS, PAUSE_SECONDS = 3, 4, 0.01
BETWEEN_SECONDS = 0.5
"""Load on both coordinators between two restarts."""
LONGEST_UPLOAD_SECONDS = 60.0
"""A restart costs an upload a few tries; far more means that it waited for something that never came."""
TOLD = re.compile(rf"{RETRIES} (\d+), longest upload ([0-9.]+) s")


def run(folder: Path, *, seed: int, rounds: int, software: str = "valkey") -> Outcome:
    """Restart each coordinator `rounds` times with SIGTERM, then judge. Nothing is drawn by chance: `seed` is noted."""
    began = time.monotonic()
    plan = federation_plan(folder, buffer=Buffer(size=50, timeout_seconds=0.5))
    with Fleet(folder, plan, software=software) as fleet:
        fleet.add_coordinators(2)
        fleet.add_workers(1)
        fleet.create_federation()
        fleet.wait_ready("coordinator-2")
        for number in range(SENDERS):
            fleet.add_sender(
                f"sender-{number}", count=ENDLESS, streams=STREAMS, pause_seconds=PAUSE_SECONDS, query_first=True
            )
        faults: list[str] = []
        drains: list[float] = []
        for _ in range(rounds):
            for name in ("coordinator-1", "coordinator-2"):
                fleet.tend_for(BETWEEN_SECONDS)
                drains.append(_restart(fleet, name, faults))
        fleet.tend_for(BETWEEN_SECONDS)
        faults += settle(fleet)
        told = [TOLD.search((fleet.nursery.folder / f"sender-{n}.log").read_text()) for n in range(SENDERS)]
        retries = sum(int(it[1]) for it in told if it)
        longest = max((float(it[2]) for it in told if it), default=0.0)
        failed = _failed(fleet)
        faults += [f"{len(failed)} uploads were given up: {failed[:5]}"] if failed else []
        faults += ["a sender did not end by itself"] if not all(told) else []
        if longest > LONGEST_UPLOAD_SECONDS:
            faults.append(f"an upload took {longest:.1f} s")
        evidence = gather(fleet.store.url, plan.federation, agents=[], journals=journals(fleet))
        return Outcome(
            scenario="rolling-restart",
            seed=seed,
            tally=fleet.tally,
            verdict=judge(evidence),
            seconds=time.monotonic() - began,
            further={
                "restarts": len(drains),
                "longest_drain_seconds": f"{max(drains):.2f}",
                "retries": retries,
                "longest_upload_seconds": f"{longest:.2f}",
                "failed_uploads": len(failed),
            },
            faults=(*faults, *fleet.accidents),
        )


def _restart(fleet: Fleet, name: str, faults: list[str]) -> float:
    """SIGTERM, wait for the end, start again; return how long the end took, in seconds."""
    child = fleet.children[name]
    asked = time.monotonic()
    child.signal(signal.SIGTERM)
    fleet.tend_until(lambda: child.code is not None, what=f"{name} has drained")
    took = time.monotonic() - asked
    if child.code != 0:
        faults.append(f"{name} ended with {child.code} on SIGTERM")
    fleet.wait_ready(name)
    return took


def _failed(fleet: Fleet) -> list[str]:
    """Return ids whose upload was begun and never acknowledged: senders finish what they have begun."""
    failed: set[str] = set()
    for journal in journals(fleet):
        events = read_events(journal)
        failed |= events.get(SENDING, {}).keys() - events.get(ACKNOWLEDGED, {}).keys() - events.get(REFUSED, {}).keys()
    return sorted(failed)
