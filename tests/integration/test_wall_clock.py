"""A worker whose wall clock jumps by days at every look at it merges when it should: neither early nor late."""

from __future__ import annotations

import itertools
import time

from alignfed.plan import Buffer
from coordinator.clock import SystemClock
from coordinator.domain import DeltaState
from tests.support.factors import create_federation, merging_plan, send_delta
from tests.support.stores import open_memory_store, receipt_of
from tests.support.workers import running_worker, settled

DAY_SECONDS = 86_400.0
TIMEOUT_SECONDS = 0.8


class JumpingClock(SystemClock):
    """The real clock, but for its wall time: a day ahead, then a day behind, and so on."""

    def __init__(self) -> None:
        self._days = itertools.cycle((1, -1, 0, 30, -30))

    def now(self) -> float:
        return super().now() + next(self._days) * DAY_SECONDS


async def test_a_buffer_timeout_is_as_long_as_the_plan_says_for_a_delta_from_weeks_ago() -> None:
    clock = JumpingClock()
    store = open_memory_store(clock)
    plan = merging_plan(buffer=Buffer(size=2, timeout_seconds=TIMEOUT_SECONDS))
    await create_federation(store, plan, "agent-1")
    delta = await send_delta(store, plan, 1.0)
    assert time.time() - delta.accepted_at > DAY_SECONDS
    began = time.monotonic()
    async with running_worker(store, clock=clock):
        await settled(store, delta)
    assert time.monotonic() - began >= TIMEOUT_SECONDS
    assert (await receipt_of(store, delta)).state is DeltaState.MERGED


async def test_many_merges_go_on_under_a_jumping_clock_and_nothing_is_swept_that_is_needed() -> None:
    clock = JumpingClock()
    store = open_memory_store(clock)
    plan = merging_plan(buffer=Buffer(size=2, timeout_seconds=30.0))
    await create_federation(store, plan, "agent-1", "agent-2")
    for _ in range(3):
        deltas = [await send_delta(store, plan, 1.0, agent_id=f"agent-{number}") for number in (1, 2)]
        async with running_worker(store, clock=clock):  # each start sweeps
            await settled(store, *deltas)
        assert {(await receipt_of(store, delta)).state for delta in deltas} == {DeltaState.MERGED}
