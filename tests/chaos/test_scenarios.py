"""Every promise under real kills, in the form that CI sees; CHAOS_SEED=N repeats a run's chances."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from tests.chaos.scenarios import SCENARIOS, Amount

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(1800)]


@pytest.mark.parametrize("name", SCENARIOS)
def test_nothing_is_lost_and_nothing_counts_twice(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scenario = SCENARIOS[name]
    seed = int(os.environ.get("CHAOS_SEED") or random.SystemRandom().randrange(1 << 31))
    amount = Amount(count=scenario.short.count, bounces=scenario.short.bounces, seed=seed)
    with capsys.disabled():
        print(f"\n{name} with seed {seed}", flush=True)  # noqa: T201  # to run it again
    outcome = scenario.run(tmp_path, amount, "valkey")
    with capsys.disabled():
        print(outcome.report(), flush=True)  # noqa: T201  # the figures
    assert outcome.sound, outcome.report()
