"""Failovers in mid-merge: a store whose primary is taken away again and again under a fleet of real processes.

    python -m tests.chaos failovers --count 500 --seed 7

A failover may take back what the old primary had acknowledged. What is promised then, and checked at the end:

- *lost* is an acknowledged delta that is neither merged in the history that leads to the head, nor refused with a
  reason (it was trained from a version that the failover took back), nor still in its agent's outbox;
- *doubled* is a delta that two versions of that history contain. A delta that was merged into a version which the
  failover took back, sent again, and merged into the surviving history is merged once;
- no two versions have the same epoch and number, no fencing token is given out twice, and the surviving history is one
  chain without a gap;
- a delta from a version that was taken back is refused with a reason that tells its agent to pull.
"""

from __future__ import annotations

import asyncio
import random
import re
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

from alignfed.errors import AlignFedError
from alignfed.plan import Buffer, Encoding
from coordinator.backends.redis.keys import FederationKeys
from coordinator.backends.redis.records import load_identity
from coordinator.backends.urls import open_store
from coordinator.domain import BlobRef, DeltaRecord, VersionId, VersionRecord
from coordinator.ports import Store
from tests.chaos.faults.replicated import KINDS, ReplicatedStore
from tests.chaos.harness.fleet import Fleet
from tests.chaos.harness.plan import FEDERATION, federation_plan
from tests.chaos.harness.roles import Role
from tests.chaos.harness.settling import come_to_rest
from tests.chaos.verdict.aftermath import AgentsEvidence, History, judge_failovers, read_agents, read_log
from tests.chaos.verdict.outcome import Outcome

COORDINATORS = WORKERS = 2
AGENTS = ("agent-1", "agent-2", "agent-3")
BUFFER_SIZE = 8
DELTA_SECONDS = 0.15
COMMIT_DELAY_SECONDS = 0.4
BEFORE_COMMIT = "store.versions.commit.before"
SAMPLE_SECONDS = 0.05
PAGE = 100
LEADING = re.compile(r"leading with token (\d+)")


ENOUGH = 9
"""In so many failovers, three of each kind, some must have taken something back, or they came at the wrong time."""


def run_failovers(folder: Path, *, failovers: int, seed: int, wait_replicas: int = 1) -> Outcome:
    """Run a fleet, fail its store over so many times, let it come to rest, and judge what is left."""
    began = time.monotonic()
    kinds = _schedule(failovers, seed)
    store = ReplicatedStore(wait_replicas=wait_replicas, seed=seed)
    fleet = Fleet(folder, federation_plan(folder, buffer=Buffer(size=BUFFER_SIZE, timeout_seconds=1.0)), arm=_arm)
    fleet.store = store  # type: ignore[assignment]  # it is failed over where the fleet's own is killed
    with fleet, _HeadsSeen(store) as seen:
        fleet.add_coordinators(COORDINATORS)
        fleet.create_federation()
        fleet.add_workers(WORKERS)
        for name in AGENTS:
            fleet.add_agent(name, seconds=DELTA_SECONDS)
        for kind in kinds:
            _await_merge(fleet)
            store.fail_over(kind)
            fleet.tend()
        store.wait_healthy()
        come_to_rest(fleet, AGENTS)
        agents = read_agents(folder, AGENTS)
        workers = [read_log(folder / "processes" / f"worker-{number}.log") for number in range(1, WORKERS + 1)]
        history = asyncio.run(_read_history(store.url, seen.identities))
    verdict = judge_failovers(agents, history, tokens=_tokens(workers), accidents=fleet.accidents)
    counted = Counter(kinds)
    return Outcome(
        scenario="failovers",
        seed=seed,
        tally=fleet.tally,
        verdict=verdict,
        seconds=time.monotonic() - began,
        further={
            "wait_replicas": wait_replicas,
            "failovers": f"{failovers} ({' '.join(f'{kind}={counted[kind]}' for kind in KINDS)})",
            "lost_by_store_and_resent": agents.resent,
            "versions_taken_back": len(history.taken_back),
            "tokens": len(_tokens(workers)),
        },
        faults=tuple(_came_to_nothing(agents, history)) if failovers >= ENOUGH else (),
    )


def _came_to_nothing(agents: AgentsEvidence, history: History) -> Iterator[str]:
    if not history.taken_back:
        yield "no failover took a version back: none came in a merge"
    if not agents.resent:
        yield "no failover took an acknowledgement back: none came while deltas were sent"


def _schedule(failovers: int, seed: int) -> list[str]:
    """Return the kinds of failover in their order, each as often as the others, give or take one."""
    kinds = [KINDS[number % len(KINDS)] for number in range(failovers)]
    random.Random(f"schedule {seed}").shuffle(kinds)
    return kinds


def _arm(role: Role) -> str:
    """Let workers linger just before each commit, where a failover hurts most."""
    return f"{BEFORE_COMMIT}=delay({COMMIT_DELAY_SECONDS})" if role.kind == "worker" else ""


def _await_merge(fleet: Fleet) -> None:
    """Wait until a worker is about to commit, after another merge that went through: the fleet is at work again."""
    before = _commits_begun(fleet)
    fleet.tend_until(lambda: _commits_begun(fleet) >= before + 2, what="a merge is about to be committed")


def _commits_begun(fleet: Fleet) -> int:
    children = [child for child in fleet.children.values() if child.kind == "worker"]
    return sum(child.output.count(f"failpoint {BEFORE_COMMIT} hit") for child in children)


class _HeadsSeen:
    """Looks at every server all the time and collects the identities of versions that were ever a head."""

    def __init__(self, store: ReplicatedStore) -> None:
        self.identities: set[VersionId] = set()
        self._store = store
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, name="heads-seen", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        key = FederationKeys(FEDERATION).federation
        while not self._over.wait(SAMPLE_SECONDS):
            self.identities |= {load_identity(head.encode()) for head in self._store.heads(key).values()}


async def _read_history(url: str, seen: set[VersionId]) -> History:
    """Read the history that leads to the head, and try a delta on each version that a failover took back."""
    store = open_store(url)
    try:
        versions: list[VersionRecord] = []
        before: int | None = None
        while page := await store.versions.list(FEDERATION, before=before, limit=PAGE):
            versions += page
            before = page[-1].id.number
        abandoned = seen - {version.id for version in versions}
        answers = {base: await _refusal(store, base) for base in abandoned}
        return History(versions=tuple(versions), taken_back=answers)
    finally:
        await store.close()


async def _refusal(store: Store, base: VersionId) -> str:
    """Return the reason with which a delta from `base` is refused; its payload was never stored."""
    payload = BlobRef(blob_id="never-stored", total_bytes=1, part_bytes=1, sha256="0" * 64)
    delta = DeltaRecord(
        federation=FEDERATION,
        agent_id=AGENTS[0],
        delta_id=str(uuid.uuid4()),
        base=base,
        examples=1,
        local_steps=1,
        encoding=Encoding.BF16,
        rank=1,
        payload=payload,
        accepted_at=0.0,
    )
    try:
        await store.deltas.accept(delta)
    except AlignFedError as error:
        return error.reason
    return "accepted"


def _tokens(workers: list[list[dict[str, Any]]]) -> list[int]:
    """Return every fencing token that a worker was given."""
    found = [LEADING.search(line["message"]) for lines in workers for line in lines]
    return [int(match[1]) for match in found if match]
