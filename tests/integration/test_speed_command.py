"""`alignfed bench speed` with deltas of a few chunks, too small to say anything: real servers, a real store, every goal measured."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.speed.goals import GOALS
from coordinator.cli.main import main


def test_every_goal_is_measured_and_its_figures_are_kept(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["bench", "speed", "--parameters", "1048576", "--rounds", "1", "--out", str(tmp_path), "--json"])
    printed = capfd.readouterr()
    assert not ended.value.code, printed.err
    figures = json.loads((tmp_path / "speed.json").read_text("utf-8"))
    assert json.loads(printed.out) == figures
    assert [goal["number"] for goal in figures["goals"]] == [goal.number for goal in GOALS]
    assert all(min(goal["ours"] + goal["ceilings"]) > 0 for goal in figures["goals"])
    for goal in GOALS:
        assert f"goal {goal.number}, round 1 of 1" in printed.err
