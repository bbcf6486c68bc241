"""P3, as Kafka tests its transactions: very many tiny deltas, each side bounced hard, input set equal to output set."""

from __future__ import annotations

import logging
import random
import time
from pathlib import Path

from alignfed.plan import Buffer
from tests.chaos.harness.fleet import Fleet
from tests.chaos.harness.plan import federation_plan
from tests.chaos.harness.sender import delta_id_of
from tests.chaos.harness.settling import journals, settle
from tests.chaos.verdict.evidence import gather
from tests.chaos.verdict.oracle import judge
from tests.chaos.verdict.outcome import Outcome

SENDERS, STREAMS = 4, 6
BUFFER = 500
LEASE_SECONDS = 4.0
"""Longer than a merge of so many deltas keeps a busy machine from renewing it: whoever loses it merges in vain."""
DERIVED = 20
"""About so many versions are derived again: each takes a second or so of one core."""
LINES_BYTES = len("sending \n") + len("acknowledged \n") + 2 * 36
"""What a journal holds of a delta that nothing happened to."""
SIDES = ("coordinator", "worker", "store", "sender")
LOOK_SECONDS = 0.25
TELL_SECONDS = 20.0

logger = logging.getLogger(__name__)


def run(folder: Path, *, seed: int, deltas: int, bounces: int, software: str = "valkey") -> Outcome:
    """Send `deltas`, bounce every process of each side `bounces` times on the way, then compare the sets."""
    began = time.monotonic()
    rng = random.Random(seed)
    plan = federation_plan(folder, buffer=Buffer(size=BUFFER, timeout_seconds=1.0))
    each = deltas // SENDERS
    with Fleet(folder, plan, software=software) as fleet:
        fleet.add_coordinators(2, "--log-level", "warning")
        fleet.add_workers(2, lease_seconds=LEASE_SECONDS, log_level="warning")
        fleet.create_federation()
        started = time.monotonic()
        senders = [fleet.add_sender(f"sender-{number}", count=each, streams=STREAMS) for number in range(SENDERS)]
        due = _bounces(rng, each * SENDERS, bounces)
        tell_at = 0.0
        while any(role.name in fleet.children for role in senders):
            fleet.tend_for(LOOK_SECONDS)
            sent = _sent(fleet)
            if due and sent >= due[0][0]:
                _bounce(fleet, due.pop(0)[1])
            if time.monotonic() > tell_at:
                tell_at = time.monotonic() + TELL_SECONDS
                logger.info("about %d sent, %.0f/s", sent, sent / (time.monotonic() - started))
        sent_seconds = time.monotonic() - started
        faults = settle(fleet)
        merged_seconds = time.monotonic() - started
        every = max(1, each * SENDERS // BUFFER // DERIVED)
        evidence = gather(fleet.store.url, plan.federation, agents=[], journals=journals(fleet), derive_every=every)
        wanted = {delta_id_of(role.name, number) for role in senders for number in range(each)}
        merged = {delta_id for version in evidence.versions for delta_id in version.delta_ids}
        faults += [f"{len(wanted - merged)} of the input are not in the output"] if wanted - merged else []
        faults += [f"{len(merged - wanted)} of the output are not in the input"] if merged - wanted else []
        faults += [f"{len(due)} bounces did not happen: {due}"] if due else []
        return Outcome(
            scenario="exactly-once",
            seed=seed,
            tally=fleet.tally,
            verdict=judge(evidence),
            seconds=time.monotonic() - began,
            further={
                "bounces": bounces,
                "input": len(wanted),
                "output": len(merged),
                "sent_per_second": f"{len(wanted) / sent_seconds:.0f}",
                "merged_per_second": f"{len(wanted) / merged_seconds:.0f}",
            },
            faults=(*faults, *fleet.accidents),
        )


def _bounces(rng: random.Random, deltas: int, bounces: int) -> list[tuple[int, str]]:
    """Return after how many deltas which side is bounced, in order: each once in every stretch of the way."""
    stretch = deltas / (bounces + 1)
    return sorted((int(stretch * (turn + rng.uniform(0.2, 0.95))), side) for turn in range(bounces) for side in SIDES)


def _bounce(fleet: Fleet, side: str) -> None:
    """Kill all processes of a side at once; what they are is started again."""
    logger.info("bouncing the %s side", side)
    if side == "store":
        fleet.store.kill()
        fleet.tally.count("store", "SIGKILL")
        fleet.store.start()
        return
    for child in list(fleet.children.values()):
        if child.kind == side:
            fleet.kill(child.name)


def _sent(fleet: Fleet) -> int:
    """Return about how many deltas are acknowledged, without reading all the journals all the time."""
    return sum(path.stat().st_size for path in journals(fleet)) // LINES_BYTES
