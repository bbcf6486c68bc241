"""The command reads its options, and says what is wrong with them before it starts anything."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from bench.cli.fleet import fleet_command


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--coordinator", "127.0.0.1:1"], "--operator"),
        (["--coordinator", "nowhere", "--operator", "127.0.0.1:1"], "nowhere"),
        (["--tiers", "fast"], "SLOWDOWN:SHARE"),
        (["--agents", "0"], "--agents"),
    ],
)
def test_options_that_mean_nothing_are_refused_in_words(arguments: list[str], said: str) -> None:
    done = CliRunner().invoke(fleet_command, arguments)
    assert done.exit_code != 0
    assert said in done.output


def test_paper_sums_are_printed_without_running_anything(tmp_path: Path) -> None:
    costs = tmp_path / "costs.json"
    costs.write_text(json.dumps({"plan": {"cycle_seconds": 100.0}}), "utf-8")
    done = CliRunner().invoke(fleet_command, ["--plan", "1000", "--plan", "2000", "--costs", str(costs)])
    assert done.exit_code == 0, done.output
    assert "| | 1,000 | 2,000 |" in done.output
    assert "every 100 s" in done.output
    costs.write_text("[", "utf-8")
    assert CliRunner().invoke(fleet_command, ["--plan", "1000", "--costs", str(costs)]).exit_code != 0
