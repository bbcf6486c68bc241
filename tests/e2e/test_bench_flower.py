"""`alignfed bench flower` with payloads that say nothing: a real SuperLink and ServerApp, and a deployment of ours."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench.flower.goals import CONTESTS

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

FLOWER = os.environ.get("ALIGNFED_FLOWER_PYTHON") or ".venv-flower/bin/python"


@pytest.mark.skipif(
    not Path(FLOWER).exists(),
    reason="Flower is not installed: `make bench-flower` does it, or ALIGNFED_FLOWER_PYTHON names an interpreter",
)
def test_every_goal_is_measured_and_nothing_of_flower_is_left(tmp_path: Path) -> None:
    alignfed = str(Path(sys.executable).with_name("alignfed"))
    arguments = ["bench", "flower", "--quick", "--clients", "2", "--flower", str(Path(FLOWER).absolute()), "--json"]
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    done = subprocess.run(
        [alignfed, *arguments],
        cwd=tmp_path,
        env={**os.environ, "TMPDIR": str(scratch)},
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    figures = json.loads((tmp_path / "runs" / "flower" / "flower.json").read_text("utf-8"))
    assert json.loads(done.stdout) == figures
    wanted = sorted(goal.number for it in CONTESTS for goal in (it.upload, it.merge) if goal is not None)
    assert [goal["number"] for goal in figures["goals"]] == wanted
    assert all(min(goal["ours"] + goal["ceilings"]) > 0 for goal in figures["goals"])
    assert figures["flower"]["flwr"]
    assert not _processes_in(scratch)


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
