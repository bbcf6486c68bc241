"""`alignfed bench flower` with payloads that say nothing: a real SuperLink and ServerApp, and a deployment of ours."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bench.flower.goals import CONTESTS

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

FLOWER = os.environ.get("ALIGNFED_FLOWER_PYTHON") or ".venv-flower/bin/python"


needs_flower = pytest.mark.skipif(
    not Path(FLOWER).exists(),
    reason="Flower is not installed: `make bench-flower` does it, or ALIGNFED_FLOWER_PYTHON names an interpreter",
)


def run_quickly(folder: Path, *options: str) -> Any:
    """Run the command in a folder and return the figures that it prints; nothing of it is left running."""
    alignfed = str(Path(sys.executable).with_name("alignfed"))
    arguments = ["bench", "flower", "--quick", "--flower", str(Path(FLOWER).absolute()), "--json", *options]
    scratch = folder / "scratch"
    scratch.mkdir()
    done = subprocess.run(
        [alignfed, *arguments],
        cwd=folder,
        env={**os.environ, "TMPDIR": str(scratch)},
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert not _processes_in(scratch)
    return json.loads(done.stdout)


@needs_flower
def test_every_goal_is_measured_and_nothing_of_flower_is_left(tmp_path: Path) -> None:
    figures = run_quickly(tmp_path, "--clients", "2")
    assert json.loads((tmp_path / "runs" / "flower" / "flower.json").read_text("utf-8")) == figures
    wanted = sorted(goal.number for it in CONTESTS for goal in (it.upload, it.merge) if goal is not None)
    assert [goal["number"] for goal in figures["goals"]] == wanted
    assert all(min(goal["ours"] + goal["ceilings"]) > 0 for goal in figures["goals"])
    assert figures["flower"]["flwr"]


@needs_flower
def test_a_fleet_trains_for_flower_and_for_every_way_of_ours(tmp_path: Path) -> None:
    """The control does what Flower does, on the same rows in the same order: it comes to the same loss."""
    figures = run_quickly(tmp_path, "--fleet")
    assert json.loads((tmp_path / "runs" / "flower" / "fleet.json").read_text("utf-8")) == figures
    runs = {run["name"]: run for run in figures["runs"]}
    assert list(runs) == ["flower", "synchronous", "asynchronous", "default"]
    assert len({run["points"][0]["loss"] for run in runs.values()}) == 1
    theirs, ours = runs["flower"]["points"], runs["synchronous"]["points"]
    assert len(theirs) == figures["terms"]["rounds"] + 1
    assert [point["loss"] for point in ours] == pytest.approx([point["loss"] for point in theirs], abs=1e-3)
    assert theirs[-1]["loss"] < theirs[0]["loss"]
    assert len(runs["asynchronous"]["points"]) > 1
    assert [target["round"] for target in figures["targets"]] == [1, 2]


def _processes_in(folder: Path) -> list[str]:
    """Return the commands of processes whose environment or arguments name a folder of this test."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            told = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
        except OSError:  # it has ended, or is somebody else's
            continue
        if str(folder).encode() in told:
            found.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode())
    return found
