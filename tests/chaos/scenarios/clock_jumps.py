"""Wall clocks that jump by a day, forward and back, on each machine alone and on all at once, under a working fleet.

    python -m tests.chaos clock-jumps --count 5 --seed 3         # rounds of 20 jumps

After each jump both workers are killed, so that a lease that nobody gives up must run out in the time it was taken for;
then agents, coordinator, worker and store must go on at their usual pace, and nothing may be lost or doubled.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from alignfed.plan import Buffer
from tests.chaos.faults.wall_clocks import DAY_SECONDS, WallClocks
from tests.chaos.harness.fleet import Fleet
from tests.chaos.harness.plan import federation_plan
from tests.chaos.harness.roles import Role
from tests.chaos.harness.settling import come_to_rest
from tests.chaos.verdict.aftermath import read_agents, read_log
from tests.chaos.verdict.evidence import gather
from tests.chaos.verdict.oracle import judge
from tests.chaos.verdict.outcome import Outcome

AGENTS = ("agent-1", "agent-2")
WORKERS = ("worker-1", "worker-2")
MACHINES = ("store", "coordinator", "worker", "agent")
DELTA_SECONDS = 0.2
BUFFER_SECONDS = 0.5
PROGRESS_SECONDS = 90.0
"""How long it may take until new versions are out after a jump: a busy machine takes seconds, a wrong clock a day."""
NEW_VERSIONS = 2


class ClockedFleet(Fleet):
    """A fleet whose processes live by the clock of their kind, and whose store by one of its own."""

    clocks: WallClocks

    def _start(self, role: Role) -> None:
        environment = self.clocks.environment(role.kind)
        self.children[role.name] = self.nursery.spawn(
            role.kind, role.name, role.settings, failpoints=self.arm(role), environment=environment
        )


def run_clock_jumps(folder: Path, *, rounds: int, seed: int) -> Outcome:
    """Let every machine's clock, and all of them, jump a day forward and back and back and forward, in random order."""
    began = time.monotonic()
    chance = random.Random(f"clocks {seed}")
    clocks = WallClocks(folder / "clocks")
    slowest = 0.0
    jumps = 0
    with _preloaded(clocks.environment("store")):
        plan = federation_plan(folder, buffer=Buffer(size=4, timeout_seconds=BUFFER_SECONDS))
        fleet = ClockedFleet(folder, plan, software="redis")
        fleet.clocks = clocks
        with fleet:
            fleet.add_coordinators(1)
            fleet.create_federation()
            fleet.add_workers(len(WORKERS))
            for name in AGENTS:
                fleet.add_agent(name, seconds=DELTA_SECONDS)
            _await_progress(fleet, "at the start")
            for machines, days in _schedule(chance, rounds):
                for name in WORKERS:
                    fleet.kill(name)
                for machine in machines:
                    clocks.set(machine, days * DAY_SECONDS)
                what = f"after the clock of {' and '.join(machines)} was set to {days:+d} days"
                slowest = max(slowest, _await_progress(fleet, what))
                jumps += 1
            come_to_rest(fleet, AGENTS)
            evidence = gather(
                fleet.store.url,
                plan.federation,
                agents=[folder / "agents" / name for name in AGENTS],
                derive_every=0,
            )
    refused = read_agents(folder, AGENTS).refused
    return Outcome(
        scenario="clock-jumps",
        seed=seed,
        tally=fleet.tally,
        verdict=judge(evidence),
        seconds=time.monotonic() - began,
        further={"jumps": jumps, "slowest_seconds": f"{slowest:.1f}", "refused": len(refused)},
        faults=(*fleet.accidents, *(f"a delta was refused: {reason}" for reason in refused.values())),
    )


def _schedule(chance: random.Random, rounds: int) -> Iterator[tuple[tuple[str, ...], int]]:
    """Yield who jumps and how many days its clock is off then; nobody's clock is off when another one's jumps."""
    for _ in range(rounds):
        parties = [(machine,) for machine in MACHINES] + [MACHINES]
        chance.shuffle(parties)
        for machines in parties:
            first = chance.choice((1, -1))
            for days in (first, 0, -first, 0):
                yield machines, days


def _await_progress(fleet: Fleet, what: str) -> float:
    """Wait until versions are published that were not begun before, and return how many seconds that took."""
    began = time.monotonic()
    before = _published(fleet)
    fleet.tend_until(
        lambda: _published(fleet) >= before + NEW_VERSIONS,
        what=f"versions are published {what}",
        timeout_seconds=PROGRESS_SECONDS,
    )
    return time.monotonic() - began


def _published(fleet: Fleet) -> int:
    logs = [read_log(fleet.folder / "processes" / f"{name}.log") for name in WORKERS]
    return sum(line["message"] == "version published" for lines in logs for line in lines)


@contextmanager
def _preloaded(variables: dict[str, str]) -> Iterator[None]:
    """Set variables for the processes that are started meanwhile; this one has started and is not touched by them."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
