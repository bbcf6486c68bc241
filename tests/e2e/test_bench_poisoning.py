"""`alignfed bench poisoning --quick`: the tiny model, two attacks, two defences; and the same command goes on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]


def bench(folder: Path, *more: str) -> tuple[str, str]:
    """Run the quick form and return its output and what it says beside it."""
    alignfed = str(Path(sys.executable).with_name("alignfed"))
    done = subprocess.run(
        [alignfed, "bench", "poisoning", "--quick", "--out", "out", *more],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=800,
        check=False,
    )
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout, done.stderr


def test_the_quick_form_tells_an_open_server_from_the_default_and_runs_nothing_twice(tmp_path: Path) -> None:
    out, said = bench(tmp_path, "--json")
    summary = json.loads(out)
    rows = {(row["attack"], row["defence"]): row for row in summary["rows"]}
    open_server, default = rows["scaled-10", "none"], rows["scaled-10", "screening"]
    assert open_server["loss"]["median"] > 0.1, "ten-fold deltas wreck a server that looks at nothing"
    assert default["loss"]["median"] < 0.05
    assert default["attackers_rejected"] > 0
    assert open_server["attackers_rejected"] == 0
    assert rows["honest", "screening"]["stale_rejected"] <= 0.02
    assert {check["result"] for check in summary["checks"]} >= {"pass", "not run"}
    assert "7 to do" in said

    again, said = bench(tmp_path, "--json")
    assert json.loads(again) == summary
    assert "0 to do" in said
    report = (tmp_path / "out" / "report.md").read_text("utf-8")
    assert "| scaled-10 | 20 % | even | screening |" in report
    assert list((tmp_path / "out" / "plots").glob("*.png"))
