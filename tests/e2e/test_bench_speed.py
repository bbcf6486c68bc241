"""`alignfed bench speed --quick`, whose ratios say nothing: real servers, a real store, real training, every goal."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bench.speed.goals import GOALS, MEMORY, MEMORY_GROWTH, WATCHER_MEMORY

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

ABSOLUTE = (MEMORY, MEMORY_GROWTH, WATCHER_MEMORY)
"""Figures of one look, not of rounds."""


def test_every_goal_is_measured_and_its_figures_are_kept(tmp_path: Path) -> None:
    alignfed = str(Path(sys.executable).with_name("alignfed"))
    arguments = ["bench", "speed", "--quick", "--out", "out", "--json"]
    done = subprocess.run(
        [alignfed, *arguments], cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    figures = json.loads((tmp_path / "out" / "speed.json").read_text("utf-8"))
    assert json.loads(done.stdout) == figures
    assert [goal["number"] for goal in figures["goals"]] == [goal.number for goal in GOALS]
    assert all(min(goal["ours"] + goal["ceilings"]) > 0 for goal in figures["goals"])
    assert done.stderr.count("round 1 of 1: ") == len(GOALS) - len(ABSOLUTE)
    assert "64 uploads of 2 MB at once" in done.stderr
