"""Measuring two things in turn, so that what disturbs the machine disturbs both."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from bench.speed.goals import Goal, Row


def compare(
    goal: Goal, ours: Callable[[], float], ceiling: Callable[[], float], *, rounds: int, say: Callable[[str], None]
) -> Row:
    """Measure ours and the ceiling `rounds` times in turn, after one round that does not count.

    Args:
        goal: What the figures are for.
        ours: Measures once; returns a figure of the goal's unit.
        ceiling: The same for the ceiling.
        rounds: How often.
        say: Told each round.
    """
    ours()
    ceiling()
    figures: list[tuple[float, float]] = []
    for number in range(1, rounds + 1):
        figures.append((ours(), ceiling()))
        mine, best = figures[-1]
        say(f"goal {goal.number}, round {number} of {rounds}: {mine:.4g} {goal.unit}, ceiling {best:.4g} {goal.unit}")
    return Row(goal=goal, ours=tuple(mine for mine, _ in figures), ceilings=tuple(best for _, best in figures))


async def compare_awaited(
    goal: Goal,
    ours: Callable[[], Coroutine[Any, Any, float]],
    ceiling: Callable[[], Coroutine[Any, Any, float]],
    *,
    rounds: int,
    say: Callable[[str], None],
) -> Row:
    """Do as `compare` does with two coroutines that share this event loop and what is open in it."""
    loop = asyncio.get_running_loop()

    def waited(measure: Callable[[], Coroutine[Any, Any, float]]) -> Callable[[], float]:
        return lambda: asyncio.run_coroutine_threadsafe(measure(), loop).result()

    return await asyncio.to_thread(compare, goal, waited(ours), waited(ceiling), rounds=rounds, say=say)
