"""P5: a worker is stopped in mid-merge past its lease; another takes over; awake again it must be fenced."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import random
import re
import signal
import time
from pathlib import Path

from alignfed.plan import Buffer
from coordinator.backends.urls import open_store
from tests.chaos.harness.fleet import Fleet
from tests.chaos.harness.nursery import Child
from tests.chaos.harness.plan import federation_plan
from tests.chaos.harness.roles import ENDLESS, Role
from tests.chaos.harness.settling import journals, settle
from tests.chaos.verdict.evidence import gather, versions_of
from tests.chaos.verdict.oracle import judge
from tests.chaos.verdict.outcome import Outcome

WORKERS = 3
LEASE_SECONDS = 0.4
HOLD_SECONDS = 0.4
"""How long a worker waits at the place where it is to be stopped: time to see it there."""
PLACES = ("merge.aggregated", "merge.judged", "merge.stored", "store.versions.commit.before")
"""From here on a worker has made up its mind to commit."""
STREAMS, PAUSE_SECONDS = 3, 0.05
WAKE_SECONDS = 60.0
TELL_EVERY = 10

AT_ITS_PLACE = re.compile(r"^failpoint \S+ hit \d+ pid \d+: delay", re.MULTILINE)
LEADING = re.compile(r"leading with token (\d+)")
PUBLISHED = re.compile(r'"version published".*?"version": (\d+)')
FENCED = re.compile(r"no longer leads: .*superseded")

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Zombie:
    """What a worker that was stopped held: its fencing token, and the newest version when it was stopped."""

    token: int
    head: int


def run(folder: Path, *, seed: int, zombies: int, software: str = "valkey") -> Outcome:
    """Make `zombies` zombies, each of which must be fenced when it wakes up, then judge."""
    began = time.monotonic()
    rng = random.Random(seed)
    plan = federation_plan(folder, buffer=Buffer(size=4, timeout_seconds=0.2))

    def arm(role: Role) -> str:
        return f"{rng.choice(PLACES)}=delay({HOLD_SECONDS})" if role.kind == "worker" else ""

    with Fleet(folder, plan, software=software, arm=arm) as fleet:
        fleet.add_coordinators(1)
        fleet.add_workers(WORKERS, lease_seconds=LEASE_SECONDS)
        fleet.create_federation()
        fleet.add_sender("sender", count=ENDLESS, streams=STREAMS, pause_seconds=PAUSE_SECONDS)
        made: list[Zombie] = []
        late = unfenced = 0
        while len(made) < zombies:
            zombie, fenced = _one(fleet)
            if zombie is None:
                late += 1
                continue
            made.append(zombie)
            unfenced += not fenced
            if len(made) % TELL_EVERY == 0:
                logger.info("%d zombies, %d stopped too late", len(made), late)
        faults = settle(fleet)
        faults += [f"{unfenced} zombies woke up and were not told that they are fenced"] if unfenced else []
        faults += asyncio.run(_published_by(fleet.store.url, plan.federation, made))
        evidence = gather(fleet.store.url, plan.federation, agents=[], journals=journals(fleet))
        return Outcome(
            scenario="zombies",
            seed=seed,
            tally=fleet.tally,
            verdict=judge(evidence),
            seconds=time.monotonic() - began,
            further={"zombies": len(made), "fenced": len(made) - unfenced, "stopped_too_late": late},
            faults=(*faults, *fleet.accidents),
        )


def _one(fleet: Fleet) -> tuple[Zombie | None, bool]:
    """Stop the leader at its place, let another commit, wake it up; return it and whether it was fenced.

    None for one that had committed before it was stopped: nothing can be asked of it.
    """
    workers = [child for child in fleet.children.values() if child.kind == "worker"]
    before = {child.pid: len(child.output) for child in workers}
    leader: list[Child] = []

    def at_its_place() -> bool:
        leader[:] = [child for child in workers if AT_ITS_PLACE.search(child.output[before[child.pid] :])]
        return bool(leader)

    fleet.tend_until(at_its_place, what="a worker is about to commit")
    zombie = leader[0]
    zombie.signal(signal.SIGSTOP)
    said = zombie.output
    place = [*AT_ITS_PLACE.finditer(said)][-1].end()
    others = [child for child in workers if child is not zombie]
    heads = [int(number) for child in workers for number in PUBLISHED.findall(child.output)]
    try:
        if PUBLISHED.search(said[place:]):
            return None, False
        known = {child.pid: len(child.output) for child in others}
        fleet.tend_until(
            lambda: any(PUBLISHED.search(child.output[known[child.pid] :]) for child in others),
            what="another worker has taken over and published a version",
        )
    finally:
        zombie.signal(signal.SIGCONT)
    fleet.tend_until(
        lambda: bool(re.search(r"no longer leads|version published", zombie.output[place:])),
        what=f"the zombie {zombie.name} has tried to commit",
        timeout_seconds=WAKE_SECONDS,
    )
    after = zombie.output[place:]
    if re.search(r"version published", after.partition("no longer leads")[0]):
        return None, False  # stopped between its commit and the line that tells of it, or not fenced: the store knows
    token = int(LEADING.findall(said)[-1])
    return Zombie(token=token, head=max(heads, default=0)), bool(FENCED.search(after))


async def _published_by(url: str, federation: str, zombies: list[Zombie]) -> list[str]:
    """Return what zombies have published after they were stopped."""
    store = open_store(url)
    try:
        versions = await versions_of(store, federation)
    finally:
        await store.close()
    return [
        f"version {version.id.number} was published by a zombie with token {zombie.token}, stopped at {zombie.head}"
        for zombie in zombies
        for version in versions
        if version.id.epoch == zombie.token and version.id.number > zombie.head
    ]
