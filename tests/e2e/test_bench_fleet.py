"""`alignfed bench fleet` with twenty agents for a few seconds: real processes, and every delta accounted for."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

AGENTS = 20


def test_a_small_fleet_is_served_and_every_delta_is_accounted_for(tmp_path: Path) -> None:
    alignfed = str(Path(sys.executable).with_name("alignfed"))
    arguments = [
        "bench", "fleet", "--agents", str(AGENTS), "--ramp", "1", "--seconds", "4", "--train-seconds", "0.5",
        "--tiers", "1:1,4:1", "--offline-seconds", "1", "--dropouts", "0.1", "--buffer-seconds", "1",
        "--downloads", "0.2", "--connections", "2", "--json", "fleet.json", "--report", "fleet.md",
    ]  # fmt: skip
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    done = subprocess.run(
        [alignfed, *arguments], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr + done.stdout
    found = json.loads((tmp_path / "fleet.json").read_text("utf-8"))
    account, (stretch,) = found["account"], found["stretches"]
    assert found["registered"] == AGENTS
    assert account["acknowledged"] > 0
    assert account["lost"] == account["doubled"] == 0
    assert account["merged"] + account["rejected"] + account["queued"] == account["acknowledged"]
    assert stretch["acknowledged_per_second"] > 0
    assert stretch["merged_per_second"] > 0
    assert stretch["per_second"]["downloads"] >= 0
    assert stretch["per_second"]["watch_events"] > 0
    assert stretch["durations"]["uploads"]["p99"] > 0
    assert found["news"]["versions"] > 0
    assert set(stretch["loads"]) == {"coordinator", "worker", "store"}
    assert {"all", "1x", "4x"} == set(found["sharing"])
    assert sum(found["staleness_versions"].values()) >= account["merged"]
    assert "lost 0, doubled 0" in done.stdout
    assert "# Fleet report" in (tmp_path / "fleet.md").read_text("utf-8")
    assert list(tmp_path.glob("alignfed-*")) == [], "a folder of the run was left behind"
