"""Programs and schedules that once failed, or that name a corner of the promises, each written out."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest

from alignfed.plan import Buffer
from coordinator.backends.memory import MemoryStore
from coordinator.worker.loop import Worker
from tests.model.program import FOREVER, Program, open_memory
from tests.support.factors import create_federation, merging_plan, send_delta
from tests.support.virtual_time import VirtualClock, VirtualTimeLoop
from tests.support.workers import NoProbes, settled, worker_context

Written = Callable[[Program], Awaitable[None]]


async def a_commit_that_slept_through_a_rollback(program: Program) -> None:
    await program.submit("agent-1")
    await program.acquire("worker-1")
    await program.claim("worker-1", 4)
    await program.merge("worker-1", 4, with_state=True)
    await program.commit("worker-1")
    await program.submit("agent-2")
    await program.claim("worker-1", 4)
    await program.merge("worker-1", 4, with_state=True)
    await program.roll_back(behind=1)
    await program.commit("worker-1")  # fenced
    await program.acquire("worker-1")
    await program.commit("worker-1")  # still fenced: the version carries the old token


async def a_requeued_dead_letter_and_the_worker_that_still_holds_its_old_claim(program: Program) -> None:
    await program.submit("agent-1")
    await program.acquire("worker-1")
    await program.claim("worker-1", 1)
    await program.bury("worker-1")
    await program.requeue(0)
    await program.merge("worker-1", 1, with_state=False)
    await program.commit("worker-1")  # refused: nobody has claimed the new entry
    await program.reject("worker-1", 1)  # ignored, for the same reason
    assert len(program.reference.queue) == 1


async def a_delta_claimed_again_by_a_worker_that_overslept_its_requeuing(program: Program) -> None:
    await program.submit("agent-1")
    await program.acquire("worker-2")
    await program.claim("worker-2", 1)
    await program.expire_lease()
    await program.acquire("worker-1")
    await program.reclaim("worker-1")
    await program.bury("worker-1")
    await program.requeue(0)
    await program.claim("worker-2", 1)
    await program.merge("worker-2", 2, with_state=False)
    await program.commit("worker-2")  # fenced, and about one delta, not the same one twice


async def a_version_whose_adapter_was_swept_before_its_commit(program: Program) -> None:
    await program.submit("agent-1")
    await program.acquire("worker-1")
    await program.claim("worker-1", 1)
    await program.merge("worker-1", 1, with_state=False)
    await program.sweep(before=FOREVER)
    await program.commit("worker-1")
    assert program.reference.head.number == 0


async def a_payload_swept_between_its_upload_and_its_acceptance(program: Program) -> None:
    await program.upload("agent-1", behind=0)
    await program.sweep(before=FOREVER)
    await program.accept(0)
    assert not program.acknowledged


async def two_rollbacks_and_a_delta_of_each_abandoned_branch(program: Program) -> None:
    await program.acquire("worker-1")
    for agent in ("agent-1", "agent-2"):
        await program.submit(agent)
        await program.claim("worker-1", 1)
        await program.merge("worker-1", 1, with_state=True)
        await program.commit("worker-1")
    await program.roll_back(behind=2)
    await program.submit("agent-1", behind=1)  # abandoned
    await program.roll_back(behind=1)  # abandoned too
    await program.submit("agent-1", behind=0)
    assert len(program.acknowledged) == 3


@pytest.mark.parametrize(
    "written",
    [
        a_commit_that_slept_through_a_rollback,
        a_requeued_dead_letter_and_the_worker_that_still_holds_its_old_claim,
        a_delta_claimed_again_by_a_worker_that_overslept_its_requeuing,
        a_version_whose_adapter_was_swept_before_its_commit,
        a_payload_swept_between_its_upload_and_its_acceptance,
        two_rollbacks_and_a_delta_of_each_abandoned_branch,
    ],
)
async def test_a_written_program_gets_the_answers_of_the_reference(written: Written) -> None:
    program = await Program.start(*open_memory())
    await written(program)
    await program.check()
    await program.settle()


def on_virtual_time(scenario: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(scenario)


def test_what_a_worker_that_overslept_its_lease_claims_is_settled_by_the_one_that_leads(one_thread: None) -> None:
    """Found by schedule 49: the claim of a worker that wakes up without its lease was left lying for ever."""

    async def scenario() -> None:
        clock = VirtualClock()
        store = MemoryStore(clock)
        plan = merging_plan(buffer=Buffer(size=2, timeout_seconds=20.0))
        await create_federation(store, plan, "agent-1")
        await store.federations.set_paused(plan.federation, True)
        stop = asyncio.Event()
        worker = Worker(worker_context(store, clock=clock), NoProbes())  # type: ignore[arg-type]
        leading = asyncio.create_task(worker.run(stop))
        try:
            await clock.sleep(1.0)
            deltas = [await send_delta(store, plan, 0.5) for _ in range(3)]
            await clock.sleep(1.0)  # the leader claims as many as its buffer holds
            (claimed,) = await store.deltas.claim(plan.federation, "worker-that-overslept", limit=5)
            assert claimed.delta == deltas[2]
            await store.federations.set_paused(plan.federation, False)
            async with asyncio.timeout(60.0):
                while (await store.deltas.depth(plan.federation)).queued:
                    await clock.sleep(1.0)
            await settled(store, *deltas)
        finally:
            stop.set()
            await leading

    on_virtual_time(scenario())
