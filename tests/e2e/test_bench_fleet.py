"""`alignfed bench fleet` with twenty agents for a few seconds: real processes, and every delta accounted for."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

AGENTS = 20


def run_fleet(folder: Path, *more: str) -> tuple[dict[str, Any], str]:
    """Run the command for a few seconds and return its figures and what it says."""
    alignfed = str(Path(sys.executable).with_name("alignfed"))
    arguments = [
        "bench", "fleet", "--agents", str(AGENTS), "--ramp", "1", "--seconds", "4", "--train-seconds", "0.5",
        "--offline-seconds", "1", "--buffer-seconds", "1", "--json", "fleet.json", "--report", "fleet.md", *more,
    ]  # fmt: skip
    environment = {**os.environ, "TMPDIR": str(folder)}
    done = subprocess.run(
        [alignfed, *arguments], cwd=folder, env=environment, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr + done.stdout
    return json.loads((folder / "fleet.json").read_text("utf-8")), done.stdout


def test_a_small_fleet_is_served_and_every_delta_is_accounted_for(tmp_path: Path) -> None:
    found, told = run_fleet(
        tmp_path, "--tiers", "1:1,4:1", "--dropouts", "0.1", "--downloads", "0.2", "--connections", "2"
    )
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
    assert "lost 0, doubled 0" in told
    assert "# Fleet report" in (tmp_path / "fleet.md").read_text("utf-8")
    assert list(tmp_path.glob("alignfed-*")) == [], "a folder of the run was left behind"


def test_federations_spread_over_coordinators_and_workers_and_each_is_accounted_for(tmp_path: Path) -> None:
    """Coordinators share one port, and nothing but the store: a delta may come in by any, a receipt be asked of any."""
    found, _ = run_fleet(
        tmp_path, "--coordinators", "2", "--federations", "3", "--workers", "2", "--tiers", "1:1", "--dropouts", "0",
        "--processes", "1", "--connections", "16", "--buffer", "4",
    )  # fmt: skip
    assert set(found["stretches"][0]["loads"]) == {"coordinator", "coordinator-2", "worker", "worker-2", "store"}
    assert len(found["federations"]) == 3
    for part in found["federations"]:
        account = part["account"]
        assert account["acknowledged"] > 0
        assert account["lost"] == account["doubled"] == 0
        assert account["merged"] + account["rejected"] + account["queued"] == account["acknowledged"]
        assert part["versions"] > 0
        assert part["leader"] in {"worker", "worker-2"}
    assert found["account"]["acknowledged"] == sum(it["account"]["acknowledged"] for it in found["federations"])
    accepted = found["accepted_by"]
    assert sum(accepted.values()) >= found["account"]["acknowledged"]
    assert min(accepted.values()) > 0, "sixteen connections all to one of two coordinators: once in 32,768 runs"
