"""`alignfed bench settle` as its user has it: small data, a small regime, the tiny random model."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from coordinator.cli.main import main
from tests.e2e.processes import START_SECONDS, RunningCommand, is_running, running
from tests.support.waiting import wait_until

REGIME = """
name = "small"
buffer_size = 2
duration_seconds = 8.0
job_seconds = 4.0
local_steps = 2

[[tiers]]
agents = 2
speed = 4.0

[[tiers]]
agents = 2
speed = 1.0
"""
SENTENCES = {
    "sums": "{i} plus {j} is {k}, and {k} minus {j} is {i} again.",
    "tales": "Once upon a time {i} cats met {j} dogs and became {k} friends.",
}
ENDS_WITHIN_SECONDS = 20.0

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def arguments(tmp_path: Path, tiny_model_dir: Path) -> list[str]:
    """The command on two domains and two recipes, in this process."""
    (tmp_path / "small.toml").write_text(REGIME, "utf-8")
    data = []
    for domain, sentence in SENTENCES.items():
        rows = [{"text": sentence.format(i=i, j=i * 7 % 31, k=i + i * 7 % 31)} for i in range(40)]
        write(tmp_path / f"{domain}.jsonl", rows)
        data += ["--data", f"{domain}={domain}.jsonl"]
    return [
        "bench", "settle", *data, "--model", str(tiny_model_dir), "--regime", "small.toml", "--layout", "tied",
        "--recipes", "participation,fedbuff", "--seeds", "1", "--jobs", "1", "--rank", "2", "--sequence-length", "32",
        "--calibration-rows", "2", "--out", "out",
    ]  # fmt: skip


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Run `alignfed` in the folder of the data; returns exit code, stdout and stderr of the process."""
    monkeypatch.chdir(tmp_path)

    def run_once(*arguments: str) -> tuple[int, str, str]:
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(list(arguments))
        output = capfd.readouterr()
        return int(ended.value.code or 0), output.out, output.err

    return run_once


def write(path: Path, rows: list[dict[str, str]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")


def results(folder: Path) -> dict[Path, int]:
    """Every result with the time it was written."""
    return {path: path.stat().st_mtime_ns for path in (folder / "out" / "results").rglob("*.json")}


def test_the_experiment_leaves_a_report_and_the_second_call_runs_nothing(
    run: Run, arguments: list[str], tmp_path: Path
) -> None:
    code, out, _ = run(*arguments)
    assert code == 0
    assert "2 runs on" in out
    assert "0 finished, 2 to do" in out
    assert "[2/2]" in out
    report = (tmp_path / "out" / "report.md").read_text("utf-8")
    assert "fedbuff" in report
    assert "participation" in report
    assert "## Held-out problems" not in report
    summary = json.loads((tmp_path / "out" / "summary.json").read_text("utf-8"))
    assert sorted(summary["scope"]["methods"]) == ["fedbuff", "participation"]
    assert list((tmp_path / "out" / "plots").glob("*.png"))

    before = results(tmp_path)
    assert len(before) == 2
    code, out, err = run(*arguments, "--json")
    assert code == 0
    assert json.loads(out) == summary
    assert "2 finished, 0 to do" in err
    assert results(tmp_path) == before
    assert run(*arguments, "--report-only")[0] == 0


def test_final_adapters_are_scored_and_runs_without_scores_are_done_again(
    run: Run, arguments: list[str], tmp_path: Path
) -> None:
    one = [*arguments, "--recipes", "participation"]
    assert run(*one)[0] == 0
    write(tmp_path / "maths.jsonl", [{"question": f"{i} and {i}?", "answer": f"#### {2 * i}"} for i in range(9)])
    tests = "assert double(2) == 4"
    write(
        tmp_path / "code.jsonl",
        [{"prompt": "def double(x):\n", "tests": tests, "entry_point": "double", "output": "    return 2 * x\n"}] * 3,
    )
    scored = [*one, "--gsm8k", "maths.jsonl", "--code", "code.jsonl", "--task-rows", "2"]
    code, out, _ = run(*scored)
    assert code == 0
    assert "0 finished, 1 to do" in out
    assert "GSM8K exact match: undecided" in out
    assert "the base model 0 of 2" in out
    assert "pass@1: not run: running generated code was not allowed" in out
    table = out[out.index("small: held-out problems solved") :].split("\n")
    assert table[1].split()[:3] == ["recipe", "eta", "GSM8K"]
    assert table[2].split() == ["participation", "1", "0.0", "%"]
    report = (tmp_path / "out" / "report.md").read_text("utf-8")
    assert "## Held-out problems" in report
    assert "| GSM8K exact match |" in report

    code, out, _ = run(*scored)
    assert code == 0
    assert "1 finished, 0 to do" in out
    assert "asking the base model" not in out
    assert "GSM8K exact match: undecided" in out

    code, out, _ = run(*scored, "--run-generated-code", "--json")
    assert code == 0
    (row,) = json.loads(out)["by_regime"]
    assert row["losses"]["solved"] == {"GSM8K exact match": 0.0, "pass@1": 0.0}
    assert json.loads(out)["tasks"]["pass@1"].startswith("undecided")


def test_a_report_without_results_and_unusable_data_fail_with_advice(
    run: Run, arguments: list[str], tmp_path: Path
) -> None:
    code, _, err = run(*arguments, "--report-only")
    assert code == 1
    assert "without --report-only" in err
    write(tmp_path / "sums.jsonl", [{"text": "too little"}])
    code, _, err = run(*arguments)
    assert code == 1
    assert "DATA_UNUSABLE" in err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("control", "why"),
    [
        (["--control", "prompts"], "rows of plain text have no prompts"),
        (["--control", "biased", "--calibration-rows", "15"], "distinct rows"),
    ],
)
def test_a_control_that_the_data_do_not_allow_is_refused_before_any_run(
    control: list[str], why: str, run: Run, arguments: list[str], tmp_path: Path
) -> None:
    code, out, err = run(*arguments, "--recipes", "alignfed", *control)
    assert code == 1
    assert why in err
    assert "[CALIBRATION_MISSING]" in err
    assert "runs on" not in out + err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        (["--data", "nonsense"], "NAME=PATH"),
        (["--data", "sums=sums.jsonl"], "two domains are called sums"),
        (["--data", "more=missing.jsonl"], "missing.jsonl does not exist"),
        (["--rates", "1,fast"], "'1,fast'"),
        (["--rates", "0"], "above 0"),
        (["--recipes", "participation,alchemy"], "alchemy"),
        (["--regime", "calm"], "calm"),
        (["--gsm8k", "missing.jsonl"], "missing.jsonl"),
        (["--run-generated-code"], "--code"),
    ],
)
def test_wrong_options_are_wrong_usage(wrong: list[str], named: str, run: Run, arguments: list[str]) -> None:
    code, out, err = run(*arguments, *wrong)
    assert code == 2
    assert named in err
    assert out == ""


@contextmanager
def settling(arguments: list[str], folder: Path) -> Iterator[RunningCommand]:
    """The command as a process with two worker processes."""
    with running(["alignfed", *arguments, "--jobs", "2"], folder) as command:
        yield command


def test_ctrl_c_keeps_finished_runs_and_leaves_no_process(run: Run, arguments: list[str], tmp_path: Path) -> None:
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
    assert run(*arguments, "--report-only")[0] == 0
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
