"""2,000 random programs of 50 steps against the reference of a store in memory, and 150 against a real server's.

`ALIGNFED_CASES` is how many in memory, `ALIGNFED_STEPS` their length, `ALIGNFED_MODEL_SEED` what they follow from.
"""

from __future__ import annotations

import asyncio
import time

import pytest

from tests.model.test_state_machine import (
    ENOUGH_PROGRAMS,
    SEED,
    Opener,
    assert_deep,
    kind,
    opener,
    run_programs,
    runner,
)
from tests.support.cases import cases, steps

PROGRAMS = {"memory": 1.0, "valkey": 0.075}
"""Parts of `ALIGNFED_CASES`: a step on a server takes many times as long, and differs from memory in few places."""

LOOK_EVERY = {"memory": 1, "valkey": 10}
"""After how many steps all promises are checked: on a server that takes far longer than the steps."""

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(900 + cases(2000))]

__all__ = ["kind", "opener", "runner"]  # fixtures


def test_thousands_of_programs_get_the_answers_of_the_reference(
    kind: str, runner: asyncio.Runner, opener: Opener
) -> None:
    began = time.perf_counter()
    programs, length = max(round(cases(2000) * PROGRAMS[kind]), 1), steps(50)
    depths = run_programs(runner, opener, programs=programs, length=length, look_every=LOOK_EVERY[kind])
    seconds = time.perf_counter() - began
    print(f"{kind}: {programs} programs of {length} steps in {seconds:.1f} s, seed {SEED}\n{depths}")  # noqa: T201
    if programs >= ENOUGH_PROGRAMS:
        assert_deep(depths)
