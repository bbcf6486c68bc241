"""A few uploads at a time have a chunk in memory; agents that send slowly hold nobody up."""

from __future__ import annotations

import asyncio

import pytest

from coordinator.service.transfers import turns
from coordinator.service.transfers.turns import Turn, Turns


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> float:
    monkeypatch.setattr(turns, "PATIENCE_SECONDS", 0.05)
    return 0.05


async def one_chunk(turn: Turn, *, seconds: float = 0.0) -> None:
    async with turn.reading():
        await asyncio.sleep(seconds)
    async with turn.storing():
        await asyncio.sleep(0)


async def is_blocked(task: asyncio.Task[None], *, seconds: float = 0.02) -> bool:
    done, _ = await asyncio.wait({task}, timeout=seconds)
    return not done


async def test_no_more_than_the_active_ones_have_a_chunk_in_hand() -> None:
    shared = Turns(2)
    in_hand = most = 0

    async def upload() -> None:
        nonlocal in_hand, most
        with shared.turn() as turn:
            for _ in range(5):
                async with turn.reading():
                    await asyncio.sleep(0)
                in_hand += 1
                most = max(most, in_hand)
                async with turn.storing():
                    await asyncio.sleep(0)
                in_hand -= 1

    await asyncio.gather(*(upload() for _ in range(8)))
    assert most == 2


async def test_an_agent_that_takes_its_time_gives_way() -> None:
    shared = Turns(1)
    with shared.turn() as slow, shared.turn() as fast:
        waiting = asyncio.create_task(one_chunk(slow, seconds=10.0))
        await asyncio.sleep(0)
        other = asyncio.create_task(one_chunk(fast))
        assert await is_blocked(other, seconds=0.01)
        await asyncio.wait_for(other, timeout=5)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)


async def test_an_agent_known_to_be_slow_takes_no_turn_to_wait_for_its_next_chunk() -> None:
    shared = Turns(1)
    with shared.turn() as slow, shared.turn() as fast:
        await one_chunk(slow, seconds=0.1)
        async with slow.reading():
            await asyncio.wait_for(one_chunk(fast), timeout=0.04)


async def test_an_upload_that_ends_with_its_turn_gives_it_back() -> None:
    shared = Turns(1)
    with pytest.raises(ValueError, match="broken"), shared.turn() as turn:
        async with turn.reading():
            raise ValueError("broken")
    with shared.turn() as turn:
        await asyncio.wait_for(one_chunk(turn), timeout=5)
