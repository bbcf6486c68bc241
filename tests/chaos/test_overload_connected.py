"""A thousand connected agents that poll and watch: not one error, and every one of them hears of every version.

The scalable form: `python -m tests.chaos.load.connected_agents --agents 10000 --processes 8 --seconds 3600`.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.load.connected_agents import run_connected

AGENTS = 1000
MOST_KIB = 150


@pytest.mark.chaos
@pytest.mark.timeout(600)
def test_connected_agents_see_no_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = run_connected(tmp_path, agents=AGENTS, processes=4, seconds=20.0)
    with capsys.disabled():
        print(f"\n{report.line()}")  # noqa: T201 - the run's figures
    assert report.errors == {}
    assert report.kib_per_agent < MOST_KIB, "a connected agent costs the coordinator more memory than it should"
    assert report.files_per_agent < 1.2, "a connected agent costs more than its connection"
