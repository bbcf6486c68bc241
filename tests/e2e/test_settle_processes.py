"""`alignfed bench settle` over several processes: whatever ends it, finished runs are kept, no process is."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.processes import START_SECONDS, RunningCommand, is_running, running
from tests.support.small_contest import REGIME, results, write_contest
from tests.support.waiting import wait_until

pytestmark = pytest.mark.e2e

ENDS_WITHIN_SECONDS = 20.0


@pytest.fixture
def arguments(tmp_path: Path, tiny_model_dir: Path) -> list[str]:
    """The command on two domains and two recipes."""
    return write_contest(tmp_path, tiny_model_dir)


@contextmanager
def settling(arguments: list[str], folder: Path) -> Iterator[RunningCommand]:
    """The command as a process with two worker processes."""
    with running(["alignfed", *arguments, "--jobs", "2"], folder) as command:
        yield command


def test_ctrl_c_keeps_finished_runs_and_leaves_no_process(arguments: list[str], tmp_path: Path) -> None:
    with settling([*arguments, "--seeds", "500"], tmp_path) as command:
        command.wait_for(r"\[2/1000\]")
        family = command.family()
        assert len(family) >= 3
        os.killpg(command.process.pid, signal.SIGINT)  # as a terminal does: workers get it too
        assert command.process.wait(ENDS_WITHIN_SECONDS) == 1
        wait_until(lambda: not any(map(is_running, family)), what=f"{family} are gone", timeout_seconds=2.0)
        output = command.output
    assert "Traceback" not in output
    assert "Go on with: alignfed bench settle --data sums=sums.jsonl" in output
    kept = results(tmp_path)
    assert len(kept) == output.count("/1000] ")
    with running(["alignfed", *arguments, "--report-only"], tmp_path) as report:
        assert report.process.wait(START_SECONDS) == 0
    assert f"| runs | {len(kept)} |" in (tmp_path / "out" / "report.md").read_text("utf-8")


def test_a_run_that_fails_ends_the_contest_with_its_name(arguments: list[str], tmp_path: Path) -> None:
    (tmp_path / "small.toml").write_text(REGIME.replace("agents = 2", "agents = 90"), "utf-8")
    failing = [*arguments, "--seeds", "500"]
    with settling(failing, tmp_path) as command:
        wait_until(
            lambda: len(command.family()) > 0 and command.process.poll() is not None,
            what="the command ends",
            timeout_seconds=START_SECONDS,
        )
        family = command.family()
        assert len(family) >= 3
        assert command.process.returncode == 1
        wait_until(lambda: not any(map(is_running, family)), what=f"{family} are gone", timeout_seconds=2.0)
        output = command.output
    assert "Traceback" not in output
    assert "error: small/tied participation eta 1 seed 0: " in output
    assert "too few for its agents" in output
    assert "[DATA_UNUSABLE]" in output


def test_a_worker_that_is_killed_ends_the_contest_with_advice(arguments: list[str], tmp_path: Path) -> None:
    with settling([*arguments, "--seeds", "500"], tmp_path) as command:
        command.wait_for(r"\[1/1000\]")
        family = command.family()
        (victim, *_) = [pid for pid in family if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]
        os.kill(victim, signal.SIGKILL)
        assert command.process.wait(ENDS_WITHIN_SECONDS) == 1
        wait_until(lambda: not any(map(is_running, family)), what=f"{family} are gone", timeout_seconds=2.0)
        output = command.output
    assert "Traceback" not in output
    assert "a worker process died" in output
    assert results(tmp_path)
