"""Fills a store with a federation such as operators see: three tiers, dozens of versions, a rollback, odds and ends."""

from __future__ import annotations

import dataclasses
import math
import random

from alignfed.plan import FederationPlan
from coordinator.domain import (
    AgentRecord,
    Commit,
    Head,
    MergedDelta,
    MergeRecord,
    QueuedDelta,
    Rejection,
    VersionId,
    VersionKind,
    VersionRecord,
)
from coordinator.ports import Store
from tests.support.stores import new_agent, new_delta, new_plan, seed_federation, store_blob, take_lease

DEVICES = {"fast": "cuda NVIDIA Orin", "medium": "cpu x86_64", "slow": "cpu Cortex-A72"}
SPEEDS = {"fast": 8.0, "medium": 3.0, "slow": 1.0}
LARGEST_STALENESS = {"fast": 1, "medium": 3, "slow": 9}
WORKER = "worker-1"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """What the federation has been through.

    Attributes:
        name: The federation's.
        now: When it is, in Unix seconds; the newest version is two minutes old.
        agents: How many there are.
        versions: Number of the head.
        buffer_size: Deltas per version.
        rolled_back: By the number of the rollback, the version it went back to.
        seed: Of the random choices.
    """

    name: str
    now: float
    agents: int = 24
    versions: int = 40
    buffer_size: int = 6
    rolled_back: tuple[tuple[int, int], ...] = ((19, 14), (31, 28))
    seed: int = 7


async def seed_plausible(store: Store, history: History) -> FederationPlan:
    """Fill `store` through its ports and return the federation's plan."""
    return await _Seeding(store, history).run()


class _Seeding:
    def __init__(self, store: Store, history: History) -> None:
        self._store = store
        self._h = history
        self._random = random.Random(history.seed)
        self._agents = [self._agent(i) for i in range(history.agents)]
        self._live: list[VersionRecord] = []  # what the head came from, and the head

    async def run(self) -> FederationPlan:
        store, name = self._store, self._h.name
        plan = await seed_federation(store, new_plan(name, buffer_size=self._h.buffer_size), agents=())
        for agent in self._agents:
            await store.agents.register(name, agent)
        self._live = [await store.versions.get(name, 0)]
        back_to = dict(self._h.rolled_back)
        for number in range(1, self._h.versions + 1):
            if number in back_to:
                await store.versions.roll_back(name, back_to[number], at=self._at(number))
                self._live = [version for version in self._live if version.id.number <= back_to[number]]
                self._live.append(await store.versions.get(name, number))
            else:
                await self._merge(number)
        await self._odds_and_ends()
        return plan

    def _agent(self, i: int) -> AgentRecord:
        tier = ("fast", "medium", "slow", "slow")[i % 4]
        silent = self._random.expovariate(1 / 900) if i % 11 else 3 * 86_400.0 + i
        return dataclasses.replace(
            new_agent(f"{tier}-{i + 1:03d}", registered_at=self._h.now - 5 * 86_400),
            last_seen_at=self._h.now - silent,
            device=DEVICES[tier],
            tier=tier,
        )

    def _at(self, number: int) -> float:
        return self._h.now - 120 - (self._h.versions - number) * 420

    async def _merge(self, number: int) -> None:
        store, name = self._store, self._h.name
        head: Head = await store.versions.head(name)
        weights = [SPEEDS[agent.tier] for agent in self._agents[:-1]]  # the last agent is never served
        for agent in self._random.choices(self._agents[:-1], weights, k=self._h.buffer_size):
            behind = min(self._random.randint(0, LARGEST_STALENESS[agent.tier]), len(self._live) - 1)
            base = self._live[-1 - behind].id
            await store.deltas.accept(
                await new_delta(store, name, agent_id=agent.agent_id, base=base, accepted_at=self._at(number) - 60)
            )
        token = await take_lease(store, name, WORKER)
        claimed = await store.deltas.claim(name, WORKER, limit=self._h.buffer_size)
        if number % 9 == 0:  # one delta is refused now and then
            refused, claimed = claimed[0], claimed[1:]
            await store.deltas.reject(
                name, token, [Rejection(queued=refused, reason="NON_FINITE", detail="the delta holds NaN")]
            )
        adapter = await store_blob(store, name)
        version = VersionRecord(
            id=VersionId(epoch=token, number=number, digest=adapter.sha256),
            kind=VersionKind.MERGE,
            parent=head.id.number,
            adapter=adapter,
            merge=self._record(head.id.number, number, claimed),
            created_at=self._at(number),
        )
        await store.versions.commit(
            Commit(federation=name, token=token, expected_head=head.id, version=version, merged=tuple(claimed))
        )
        self._live.append(version)

    def _record(self, head: int, number: int, claimed: list[QueuedDelta]) -> MergeRecord:
        fresh = [1 / math.sqrt(1 + head - queued.delta.base.number) for queued in claimed]
        deltas = tuple(
            MergedDelta(
                delta_id=queued.delta.delta_id,
                agent_id=queued.delta.agent_id,
                base=queued.delta.base,
                staleness_versions=head - queued.delta.base.number,
                examples=queued.delta.examples,
                freshness=freshness,
                fairness=1.0,
                weight=freshness / sum(fresh),
                coefficient=freshness,
                cosine=0.4,
                norm=1.0,
            )
            for queued, freshness in zip(claimed, fresh, strict=True)
        )
        parent = self._live[-1].merge
        before = parent.calibration_loss_after if parent and parent.calibration_loss_after else self._loss(head)
        after = self._loss(number)
        return MergeRecord(
            recipe="alignfed",
            server_learning_rate=1.0,
            deltas=deltas,
            groups=(),
            calibration_loss_before=before,
            calibration_loss_after=after,
            calibration_loss_served=after + 0.03 * math.exp(-number / 30),
        )

    def _loss(self, number: int) -> float:
        doomed = any(back < number < rollback for rollback, back in self._h.rolled_back)
        noise = self._random.uniform(-0.008, 0.008)
        return 2.35 + 0.9 * math.exp(-number / 13) + noise + (0.18 if doomed else 0.0)

    async def _odds_and_ends(self) -> None:
        """Leave deltas in the queue, some claimed, one dead letter, and a revoked agent."""
        store, name = self._store, self._h.name
        for i in range(5):
            agent = self._agents[i]
            await store.deltas.accept(
                await new_delta(store, name, agent_id=agent.agent_id, accepted_at=self._h.now - 10 * (i + 1))
            )
        token = await take_lease(store, name, WORKER)
        dead, _ = await store.deltas.claim(name, WORKER, limit=2)
        await store.deltas.bury(name, token, dead, detail="failed five times", at=self._h.now - 5)
        await store.agents.revoke(name, self._agents[5].agent_id)
