"""A program over a store: each step does the same to the store and to the reference, and compares what they say.

After every step `check` holds what the store says of itself against the promises; `settle` ends a program.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

from alignfed.chunks import sha256_of
from alignfed.errors import AlignFedError
from alignfed.plan import Retention
from coordinator.backends.memory import MemoryStore
from coordinator.backends.redis.keys import FederationKeys
from coordinator.backends.redis.store import RedisStore
from coordinator.domain import BlobRef, Commit, DeltaRecord, QueuedDelta, Rejection, VersionId
from coordinator.ports import Store
from tests.model.promises import check_promises
from tests.model.reference import FEDERATION, Reference
from tests.support.owners import stored_blobs, unowned
from tests.support.stores import NOW, new_commit, new_delta, new_plan, seed_federation, store_blob

AGENTS = ("agent-1", "agent-2", "agent-3")
WORKERS = ("worker-1", "worker-2")
KEEP_VERSIONS, KEEP_DELTAS, MAX_QUEUE = 3, 1, 6
FOREVER = NOW + 1e9
TTL_SECONDS = 1000.0
OTHER_DIGEST = "00" * 32


class Clock:
    """A clock that only the program moves; it ends the leases of a memory store."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> float:
        return NOW + self.seconds

    def monotonic(self) -> float:
        return self.seconds

    async def sleep(self, seconds: float) -> None:
        self.seconds += seconds


@dataclasses.dataclass(slots=True)
class WorkerMemory:
    """What a worker process knows; a crash loses it."""

    token: int = 0
    claimed: list[QueuedDelta] = dataclasses.field(default_factory=list)
    prepared: Commit | None = None


class Program:
    """A store, its reference, and what agents and workers have in their hands."""

    def __init__(self, store: Store, clock: Clock, reference: Reference) -> None:
        self.store = store
        self.clock = clock
        self.reference = reference
        self.workers = {name: WorkerMemory() for name in WORKERS}
        self.drafts: list[DeltaRecord] = []
        self.acknowledged: set[str] = set()
        self.blobs: list[BlobRef] = []
        self._serial = 0
        self.identity = (-1, -1)
        self.seen: Counter[str] = Counter()

    @classmethod
    async def start(cls, store: Store, clock: Clock) -> Program:
        """Create the federation in an empty store."""
        retention = Retention(versions=KEEP_VERSIONS, delta_versions=KEEP_DELTAS)
        await seed_federation(
            store, new_plan(FEDERATION, retention=retention, max_queue_deltas=MAX_QUEUE), agents=AGENTS
        )
        first = await store.versions.get(FEDERATION, 0)
        calibration = (await store.federations.get(FEDERATION)).calibration
        limits = {"keep_versions": KEEP_VERSIONS, "keep_deltas": KEEP_DELTAS, "max_queue": MAX_QUEUE}
        return cls(store, clock, Reference(first, calibration, AGENTS, **limits))

    # ---- agents and coordinators ----

    async def upload(self, agent: str, *, behind: int, foreign: bool = False) -> None:
        """Store a payload trained from the version `behind` the head; the coordinator dies before it is accepted."""
        number = self.reference.head.number - behind
        base = VersionId(epoch=0, number=number, digest=OTHER_DIGEST)
        if 0 <= number <= self.reference.head.number and not foreign:
            base = self.reference.versions[number].id
        delta = await new_delta(self.store, FEDERATION, agent_id=agent, base=base, delta_id=self._name("delta"))
        self._began(delta.payload)
        self.drafts.append(dataclasses.replace(delta, accepted_at=NOW + self._serial))

    async def submit(self, agent: str, *, behind: int = 0) -> None:
        """Upload a new delta and have it accepted."""
        await self.upload(agent, behind=behind)
        await self.accept(-1)

    async def accept(self, index: int) -> None:
        """Have an uploaded delta accepted: for the first time, or again after any fate it has met since."""
        if self.drafts:
            await self._accept(self.drafts[index % len(self.drafts)])

    async def impostor(self, index: int, *, agent: str, other_content: bool) -> None:
        """Send an accepted delta's id again, from a perhaps different agent and with perhaps different content."""
        if not self.acknowledged:
            return
        delta = dataclasses.replace(
            self.reference.accepted[sorted(self.acknowledged)[index % len(self.acknowledged)]], agent_id=agent
        )
        if other_content:
            delta = dataclasses.replace(delta, payload=await self._blob("other"))
        await self._accept(delta)

    async def _accept(self, delta: DeltaRecord) -> None:
        async def accept() -> str:
            receipt = await self.store.deltas.accept(delta)
            self.acknowledged.add(receipt.delta_id)
            return receipt.delta_id

        await self._same(lambda: self.reference.accept(delta), accept())

    # ---- workers ----

    async def acquire(self, worker: str) -> None:
        acquired = self.store.leases.acquire(FEDERATION, worker, ttl_seconds=TTL_SECONDS)
        token = await self._same(lambda: self.reference.acquire(worker), acquired)
        if token is not None:
            self.workers[worker].token = token

    async def renew(self, worker: str) -> None:
        token = self.workers[worker].token
        renewed = self.store.leases.renew(FEDERATION, worker, token, ttl_seconds=TTL_SECONDS)
        await self._same(lambda: self.reference.renew(worker, token), renewed)

    async def release(self, worker: str) -> None:
        token = self.workers[worker].token
        released = self.store.leases.release(FEDERATION, worker, token)
        await self._same(lambda: self.reference.release(worker, token), released)

    async def expire_lease(self) -> None:
        """Let the time of the lease run out, as a store sees it."""
        self.clock.seconds += TTL_SECONDS
        self.seen["leases expired"] += self.reference.holder is not None
        self.reference.holder = None
        if isinstance(self.store, RedisStore):  # its server has the clock
            await self.store._calls.command("PEXPIRE", FederationKeys(FEDERATION).lease, 0)

    async def claim(self, worker: str, limit: int) -> None:
        claimed = self.store.deltas.claim(FEDERATION, worker, limit=limit)
        delivered = await self._delivered(lambda: self.reference.claim(limit), claimed)
        again = {queued.delta.delta_id for queued in delivered}  # as a worker does with a delta that was requeued
        memory = self.workers[worker]
        memory.claimed = [queued for queued in memory.claimed if queued.delta.delta_id not in again] + delivered

    async def reclaim(self, worker: str) -> None:
        claimed = self.store.deltas.reclaim(FEDERATION, worker)
        self.workers[worker].claimed = await self._delivered(self.reference.reclaim, claimed)

    async def begin(self, worker: str, count: int) -> None:
        """Count an attempt for the first deltas at hand, as a worker does before each merge."""
        memory = self.workers[worker]
        chosen, rest = memory.claimed[:count], memory.claimed[count:]
        self.reference.count_attempt(chosen)
        counted = await self.store.deltas.count_attempt(FEDERATION, worker, chosen)
        assert [queued.attempts for queued in counted] == [queued.attempts + 1 for queued in chosen]
        memory.claimed = counted + rest

    async def merge(self, worker: str, count: int, *, with_state: bool) -> None:
        """Store the version that would contain the first deltas at hand: all of a merge but its commit."""
        memory = self.workers[worker]
        merged = [queued for queued in memory.claimed if queued.delta.delta_id in self.reference.accepted][:count]
        if not merged:
            return
        commit = await new_commit(self.store, FEDERATION, memory.token, merged, with_state=with_state)
        memory.prepared = commit
        for blob in (commit.version.adapter, commit.version.average, commit.version.state):
            if blob is not None:
                self._began(blob)

    async def commit(self, worker: str) -> None:
        """Commit the version that is stored, however long ago that was; twice, as after a lost answer.

        One that is refused counts against none of its deltas: the worker takes its attempt back.
        """
        memory = self.workers[worker]
        commit = memory.prepared
        if commit is None:
            return
        for _ in range(2):
            done = await self._same(lambda: self.reference.commit(commit), self.store.versions.commit(commit))
        if done is None:
            self.reference.forgive_attempt(commit.merged)
            await self.store.deltas.forgive_attempt(FEDERATION, commit.merged)
        memory.claimed = [queued for queued in memory.claimed if queued not in commit.merged]

    async def reject(self, worker: str, count: int) -> None:
        memory = self.workers[worker]
        chosen = memory.claimed[:count]
        rejections = [Rejection(queued=queued, reason="NON_FINITE", detail="NaN") for queued in chosen]
        rejected = self.store.deltas.reject(FEDERATION, memory.token, rejections)
        await self._same(lambda: self.reference.reject(memory.token, chosen, "NON_FINITE"), rejected)

    async def bury(self, worker: str) -> None:
        memory = self.workers[worker]
        for queued in memory.claimed[:1]:
            buried = self.store.deltas.bury(FEDERATION, memory.token, queued, detail="poison", at=NOW)
            before = len(self.reference.dead)
            await self._same(lambda: self.reference.bury(memory.token, queued), buried)  # noqa: B023 (called at once)
            self.seen["buried"] += len(self.reference.dead) - before

    async def crash(self, worker: str) -> None:
        """Kill a worker: what it had in memory is gone, its lease and its claims stay."""
        memory = self.workers[worker]
        self.seen["crashes with work in hand"] += bool(memory.claimed or memory.prepared)
        self.workers[worker] = WorkerMemory()

    # ---- operators and housekeeping ----

    async def requeue(self, index: int) -> None:
        delta_id = self._some_id(index)
        self.seen["requeued"] += delta_id in self.reference.dead
        requeued = self.store.deltas.requeue_dead(FEDERATION, delta_id)
        await self._same(lambda: self.reference.requeue_dead(delta_id), requeued)

    async def drop(self, index: int) -> None:
        delta_id = self._some_id(index)
        await self._same(lambda: self.reference.drop_dead(delta_id), self.store.deltas.drop_dead(FEDERATION, delta_id))

    async def roll_back(self, *, behind: int) -> None:
        number = self.reference.head.number - behind

        async def roll_back() -> int:
            return (await self.store.versions.roll_back(FEDERATION, number, at=NOW)).id.number

        await self._same(lambda: self.reference.roll_back(number), roll_back())

    async def pause(self, paused: bool) -> None:
        self.reference.paused = paused
        await self.store.federations.set_paused(FEDERATION, paused)

    async def revoke(self, agent: str) -> None:
        self.reference.revoked[agent] = True
        await self.store.agents.revoke(FEDERATION, agent)

    async def sweep(self, *, before: float) -> None:
        unclaimed = len(self.reference.unclaimed)
        self.reference.sweep(before)
        self.seen["uploads expired"] += unclaimed - len(self.reference.unclaimed)
        await self.store.blobs.sweep(FEDERATION, unclaimed_before=before)

    # ---- what must be true ----

    async def check(self) -> None:
        """Hold what the store says against the promises and against the reference."""
        await check_promises(self)

    async def settle(self) -> None:
        """End the program as a worker does that has all the time in the world, and check that nothing is left over."""
        await self.expire_lease()
        last, memory = WORKERS[0], self.workers[WORKERS[0]]
        for delta_id in sorted(self.reference.dead):
            await self.store.deltas.requeue_dead(FEDERATION, delta_id)
            self.reference.requeue_dead(delta_id)
        await self.acquire(last)
        await self.reclaim(last)
        await self.claim(last, 1000)
        memory.prepared = None
        await self.merge(last, 1000, with_state=False)
        await self.commit(last)
        assert set(self.reference.merged) | set(self.reference.rejected) == self.acknowledged
        await self.sweep(before=FOREVER)
        await self.check()
        for version in self.reference.versions[self.reference.oldest :]:
            assert await self._digest(version.adapter) == version.adapter.sha256
        assert await stored_blobs(self.store) == self.reference.needed_blobs(), (
            "a payload leaked, or was swept too early"
        )
        assert await unowned(self.store) == set()

    async def _digest(self, blob: BlobRef) -> str:
        parts = [await self.store.blobs.get_part(blob.blob_id, index) for index in range(blob.parts)]
        return sha256_of(b"".join(parts))

    # ---- both sides of a step ----

    async def _same(self, expected: Callable[[], Any], answer: Awaitable[Any]) -> Any:
        """Return the store's answer, which must be the reference's, or None when both refuse alike."""
        try:
            wanted: Any = expected()
        except AlignFedError as error:
            wanted = type(error)
        try:
            got: Any = await answer
        except AlignFedError as error:
            got = type(error)
        assert got == wanted
        self.seen["answers refused"] += isinstance(got, type)
        return None if isinstance(got, type) else got

    async def _delivered(
        self, expected: Callable[[], list[tuple[str, int]]], claim: Awaitable[list[QueuedDelta]]
    ) -> list[QueuedDelta]:
        """Return the deltas that a claim delivered, which must be those that the reference would."""
        wanted = expected()
        claimed = await claim
        assert [(queued.delta.delta_id, queued.attempts) for queued in claimed] == wanted
        for queued in claimed:
            assert queued.delta == self.reference.accepted[queued.delta.delta_id]
            self.reference.delivered(queued)
        return claimed

    def _some_id(self, index: int) -> str:
        """Return the id of a dead letter if there is any, of some other delta, or of none that ever was."""
        ids = sorted(self.reference.dead) or sorted(self.acknowledged) or ["never-sent"]
        return ids[index % len(ids)]

    async def _blob(self, kind: str) -> BlobRef:
        blob = await store_blob(self.store, FEDERATION, blob_id=self._name(kind))
        self._began(blob)
        return blob

    def _began(self, blob: BlobRef) -> None:
        self.reference.unclaimed[blob.blob_id] = NOW
        self.blobs.append(blob)

    def _name(self, kind: str) -> str:
        self._serial += 1
        return f"{kind}-{self._serial}"


def open_memory() -> tuple[MemoryStore, Clock]:
    """Return an empty memory store and the clock that ends its leases."""
    clock = Clock()
    return MemoryStore(clock), clock
