"""`alignfed bench settle` as its user has it: small data, a small regime, the tiny random model."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from coordinator.cli.main import main
from tests.support.small_contest import results, write_contest, write_rows

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def arguments(tmp_path: Path, tiny_model_dir: Path) -> list[str]:
    """The command on two domains and two recipes, in this process."""
    return write_contest(tmp_path, tiny_model_dir)


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
    write_rows(tmp_path / "maths.jsonl", [{"question": f"{i} and {i}?", "answer": f"#### {2 * i}"} for i in range(9)])
    tests = "assert double(2) == 4"
    write_rows(
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
    write_rows(tmp_path / "sums.jsonl", [{"text": "too little"}])
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
