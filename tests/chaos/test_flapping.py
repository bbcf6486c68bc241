"""Agents behind a flapping link, behind one that breaks every upload, and away for longer than versions are kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.outcome import Outcome
from tests.chaos.scenarios.flapping import Link, run_flapping, run_offline

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(900)]


def assert_sound(outcome: Outcome, capsys: pytest.CaptureFixture[str]) -> None:
    with capsys.disabled():
        print(f"\n{outcome.line()}")  # noqa: T201  # the run's figures
    assert outcome.sound, outcome.report()
    assert outcome.verdict.merged > 0


def test_a_flapping_link_loses_nothing_and_doubles_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert_sound(run_flapping(tmp_path, Link(phases=20), seed=31), capsys)


def test_uploads_go_on_where_they_broke_off(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outcome = run_flapping(tmp_path, Link(phases=4, kinds=("broken",), longest_seconds=4.0), seed=32)
    assert_sound(outcome, capsys)
    assert outcome.further["resets"] > 2 * 4 + 2, "hardly an upload was broken off"
    assert float(outcome.further["sent_ratio"]) < 1.5


def test_an_agent_that_was_away_for_too_long_is_told_so_and_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outcome = run_offline(tmp_path, away_versions=6, seed=33)
    assert_sound(outcome, capsys)
    assert outcome.further["too_old"] > 0
