"""Clocks that jump by a day, on real processes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.scenarios.clock_jumps import run_clock_jumps

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(2400)]


def test_clocks_that_jump_by_a_day_change_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outcome = run_clock_jumps(tmp_path, rounds=1, seed=41)
    with capsys.disabled():
        print(f"\n{outcome.line()}")  # noqa: T201  # the run's figures
    assert outcome.sound, outcome.report()
    assert outcome.further["jumps"] == 20
    assert outcome.verdict.merged > 0
