"""Seeded schedules on virtual time: agents that send, two real workers that merge, crashes, pauses and takeovers.

The workers run their whole loop with its leases, buffer timeouts and real merges; only time is made up. Each schedule
ends when the disturbances end; then everything that was acknowledged must be settled, once, and nothing be left over.
A tenth of `ALIGNFED_CASES` is the number of schedules.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from typing import Any

import pytest

from alignfed.errors import AlignFedError
from alignfed.plan import Buffer
from coordinator.backends.memory import MemoryStore
from coordinator.domain import DeltaState
from coordinator.worker.loop import Worker
from tests.model.unreliable import ProcessStore
from tests.support.cases import cases
from tests.support.factors import create_federation, merging_plan, send_delta
from tests.support.owners import unowned
from tests.support.virtual_time import VirtualClock, VirtualTimeLoop
from tests.support.workers import NoProbes, worker_context

CASES = 60
CASES_PER_SCHEDULE = 10
"""A schedule takes as long as so many programs of the state machine."""

FAILED_SEEDS = (49,)
"""Once failed: 49 left a claim lying that a worker made after its lease had run out."""

AGENTS = ("agent-1", "agent-2", "agent-3")
SENT_EACH = 8
LEASE_SECONDS = 15.0
KILLING_SECONDS = 150.0
TROUBLE_SECONDS = 300.0
SETTLING_SECONDS = 3600.0
LOST_ANSWERS = 0.02


class Schedule:
    """One run: a store, what was acknowledged, and the chances that decide everything."""

    def __init__(self, seed: int) -> None:
        self.chances = random.Random(seed)
        self.clock = VirtualClock()
        self.store = MemoryStore(self.clock)
        self.plan = merging_plan(buffer=Buffer(size=3, timeout_seconds=20.0))
        self.acknowledged: set[str] = set()
        self.lives = 0
        self.epochs: list[tuple[int, int]] = []

    async def run(self) -> None:
        await create_federation(self.store, self.plan, *AGENTS)
        now = asyncio.get_running_loop().time()
        ends = {"kills_end": now + KILLING_SECONDS, "trouble_ends": now + TROUBLE_SECONDS}
        sending = [asyncio.create_task(self.send(agent)) for agent in AGENTS]
        working = [asyncio.create_task(self.work(name, **ends)) for name in ("worker-1", "worker-2")]
        watching = asyncio.create_task(self.watch_head())
        await asyncio.gather(*sending)
        try:
            async with asyncio.timeout(SETTLING_SECONDS):
                await asyncio.sleep(max(ends["trouble_ends"] - asyncio.get_running_loop().time(), 0))
                while await self.waiting():
                    await self.clock.sleep(1.0)
        except TimeoutError:
            raise AssertionError(f"{await self.store.deltas.depth(self.plan.federation)} is never settled") from None
        for task in (*working, watching):
            task.cancel()
        await asyncio.gather(*working, watching, return_exceptions=True)

    async def waiting(self) -> int:
        return (await self.store.deltas.depth(self.plan.federation)).queued

    async def send(self, agent: str) -> None:
        """Send deltas, each again and again until it is acknowledged, from whatever head was last seen."""
        for number in range(SENT_EACH):
            await asyncio.sleep(self.chances.expovariate(1 / 15))
            base = (await self.store.versions.head(self.plan.federation)).id
            await asyncio.sleep(self.chances.uniform(0, 20))
            delta_id = f"{agent}-{number}"
            through: Any = ProcessStore(self.store, self.chances, lost_answers=0.1)
            while delta_id not in self.acknowledged:
                with contextlib.suppress(AlignFedError):
                    await send_delta(through, self.plan, 0.01, agent_id=agent, base=base, delta_id=delta_id)
                    self.acknowledged.add(delta_id)
                await asyncio.sleep(self.chances.uniform(0, 5))

    async def work(self, name: str, *, kills_end: float, trouble_ends: float) -> None:
        """Live, die and begin again as a worker; the last life is only paused now and then, and then left alone."""
        while (left := kills_end - asyncio.get_running_loop().time()) > 0:
            await self.live(name, seconds=min(left, self.chances.uniform(0, 90)), trouble_ends=trouble_ends)
            await asyncio.sleep(self.chances.uniform(0, 30))
        await self.live(name, seconds=None, trouble_ends=trouble_ends)

    async def live(self, name: str, *, seconds: float | None, trouble_ends: float) -> None:
        """Run a worker and kill it after so many seconds; until the trouble ends it is paused now and then."""
        self.lives += 1
        through: Any = ProcessStore(self.store, self.chances, lost_answers=LOST_ANSWERS)
        context = worker_context(through, worker_id=f"{name}-{self.lives}", clock=self.clock)
        worker = Worker(context, NoProbes(), lease_ttl_seconds=LEASE_SECONDS)  # type: ignore[arg-type]
        stop = asyncio.Event()
        running = asyncio.create_task(worker.run(stop))
        try:
            async with asyncio.timeout(seconds):
                while asyncio.get_running_loop().time() < trouble_ends:
                    await asyncio.sleep(self.chances.uniform(0, 40))
                    await through.pause(self.chances.uniform(0, 3 * LEASE_SECONDS))
                through.lost_answers = 0.0
                await asyncio.Event().wait()
        except TimeoutError:
            pass
        finally:
            through.kill()  # from here on nothing that the process does reaches the store
            stop.set()
            await running

    async def watch_head(self) -> None:
        """Note how the head moves: neither its number nor its epoch may go back."""
        while True:
            head = (await self.store.versions.head(self.plan.federation)).id
            self.epochs.append((head.number, head.epoch))
            await asyncio.sleep(1.0)

    async def check(self) -> None:
        """Check that all that was acknowledged is settled once, and that nothing else is left."""
        name, store = self.plan.federation, self.store
        versions = await store.versions.list(name, before=None, limit=1000)
        merged_in = Counter(d.delta_id for v in versions if v.merge is not None for d in v.merge.deltas)
        receipts = {delta_id: await store.deltas.receipt(name, delta_id) for delta_id in self.acknowledged}
        states = {delta_id: receipt.state for delta_id, receipt in receipts.items() if receipt is not None}
        dead = {letter.delta.delta_id for letter in await store.deltas.dead_letters(name)}
        assert len(states) == len(AGENTS) * SENT_EACH
        assert set(merged_in.values()) == {1}
        assert set(merged_in) == {delta_id for delta_id, state in states.items() if state is DeltaState.MERGED}
        assert dead == {delta_id for delta_id, state in states.items() if state is DeltaState.QUEUED}
        contributions = (await store.agents.contributions(name)).values()
        assert sum(c.merged for c in contributions) == len(merged_in)
        assert sum(c.rejected for c in contributions) == len(states) - len(merged_in) - len(dead)
        assert self.epochs == sorted(self.epochs)
        assert [epoch for _, epoch in self.epochs] == sorted(epoch for _, epoch in self.epochs)
        await store.blobs.sweep(name, unclaimed_before=float("inf"))
        assert await unowned(store) == set()


@pytest.mark.parametrize("seed", sorted({*FAILED_SEEDS, *range(cases(CASES) // CASES_PER_SCHEDULE)}))
def test_whatever_happens_when_each_acknowledged_delta_is_settled_once(seed: int, one_thread: None) -> None:
    schedule = Schedule(seed)
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(schedule.run())
        runner.run(schedule.check())
