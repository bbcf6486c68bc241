"""Memory for uploads is never promised twice, nobody waits for nothing, and an agent has a few uploads at most."""

from __future__ import annotations

import asyncio
import random
from collections import Counter

import pytest

from alignfed.errors import AgentOverQuota, UploadsBusy, UploadStalled
from coordinator.service.transfers.gate import UploadGate
from tests.support.cases import cases

PATIENCE_SECONDS = 20.0


def gate_of(memory_bytes: int, *, line: int = 1000, per_agent: int = 1000, grace_seconds: float = 60.0) -> UploadGate:
    return UploadGate(memory_bytes=memory_bytes, line=line, per_agent=per_agent, grace_seconds=grace_seconds)


@pytest.mark.parametrize("seed", range(cases(20)))
async def test_memory_is_never_promised_twice_and_all_comes_back(seed: int) -> None:
    rng = random.Random(seed)
    gate = gate_of(100)
    served = Counter[str]()

    async def upload(nbytes: int, *, patience_seconds: float, lasts: int) -> None:
        try:
            async with gate.open(("fed", "agent"), nbytes, wait_seconds=patience_seconds):
                assert gate.held_bytes <= 100 or gate.held_bytes == nbytes, "memory is promised twice"
                for _ in range(lasts):
                    await asyncio.sleep(0)
                served["served"] += 1
        except UploadsBusy:
            served["busy"] += 1

    tasks = []
    for _ in range(200):
        nbytes = rng.choice([1, 10, 40, 100, 150])
        patience = rng.choice([0.0, 0.001, PATIENCE_SECONDS])
        tasks.append(asyncio.create_task(upload(nbytes, patience_seconds=patience, lasts=rng.randrange(5))))
        if rng.random() < 0.3:
            await asyncio.sleep(0)
        if rng.random() < 0.1:
            rng.choice(tasks).cancel()
    async with asyncio.timeout(PATIENCE_SECONDS):
        await asyncio.gather(*tasks, return_exceptions=True)
    assert not [task for task in tasks if not task.cancelled() and task.exception()], seed
    assert gate.held_bytes == 0, "memory is lost"
    assert served["served"] > 0
    async with gate.open(("fed", "agent"), 100, wait_seconds=0.1):
        pass


async def test_one_that_is_larger_than_all_memory_is_let_in_alone() -> None:
    gate = gate_of(10)
    async with gate.open(("fed", "a"), 1000, wait_seconds=1):
        with pytest.raises(UploadsBusy):
            async with gate.open(("fed", "b"), 1, wait_seconds=0.01):
                pass


async def test_the_uploads_of_one_agent_are_counted_also_while_they_wait() -> None:
    gate = gate_of(1, per_agent=2)
    async with gate.open(("fed", "a"), 1, wait_seconds=1):

        async def wait() -> None:
            async with gate.open(("fed", "a"), 1, wait_seconds=PATIENCE_SECONDS):
                pass

        waiting = asyncio.create_task(wait())
        await asyncio.sleep(0)
        with pytest.raises(AgentOverQuota):
            async with gate.open(("fed", "a"), 1, wait_seconds=1):
                pass
    await waiting
    async with gate.open(("fed", "a"), 1, wait_seconds=1):
        pass


async def test_hints_grow_with_the_line() -> None:
    gate = gate_of(1, line=4)
    hints = []
    async with gate.open(("fed", "a"), 1, wait_seconds=1):

        async def wait(number: int) -> None:
            try:
                async with gate.open(("fed", f"b-{number}"), 1, wait_seconds=0.05):
                    pass
            except UploadsBusy as error:
                hints.append(float(error.metadata["retry_after_seconds"]))

        await asyncio.gather(*(wait(number) for number in range(6)))
    assert len(hints) == 6
    assert max(hints) > min(hints), hints


async def test_patience_is_whole_while_nobody_waits_and_short_while_somebody_does() -> None:
    gate = gate_of(1, grace_seconds=0.05)
    ended = []

    async def stall() -> None:
        async with gate.open(("fed", "a"), 1, wait_seconds=1):
            with pytest.raises(UploadStalled):
                async with gate.awaiting_message(PATIENCE_SECONDS, lambda: UploadStalled("stalled")):
                    await asyncio.Event().wait()
            ended.append("a")

    stalling = asyncio.create_task(stall())
    await asyncio.wait({stalling}, timeout=0.2)
    assert not ended, "nobody waits, and it is cut"
    async with gate.open(("fed", "b"), 1, wait_seconds=PATIENCE_SECONDS):
        assert ended == ["a"]
    await stalling
