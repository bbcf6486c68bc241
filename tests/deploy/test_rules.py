"""Prometheus' own tool accepts configuration and rules, and every alert fires when it should and only then."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest
import yaml

from tests.support.promql import PROMETHEUS, alerts

UNIT_TESTS = sorted((PROMETHEUS / "tests").glob("*.yml"))


@pytest.fixture(scope="module")
def promtool() -> str:
    """The tool's path; skips where it is not installed, except in CI."""
    found = shutil.which("promtool")
    if found is None:
        assert os.environ.get("CI") != "true", "promtool is missing in CI: .ci/run installs Debian's package prometheus"
        pytest.skip("no promtool on PATH: install Debian's package prometheus to test rules")
    return found


def run(promtool: str, *arguments: str) -> str:
    done = subprocess.run(
        [promtool, *arguments], cwd=PROMETHEUS, capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_the_configuration_is_valid(promtool: str) -> None:
    assert "is valid prometheus config" in run(promtool, "check", "config", "prometheus.yml")


def test_rules_are_valid_and_free_of_duplicates(promtool: str) -> None:
    files = [str(file) for file in sorted((PROMETHEUS / "rules").glob("*.yml"))]
    assert "SUCCESS" in run(promtool, "check", "rules", "--lint=all", "--lint-fatal", *files)


@pytest.mark.parametrize("file", UNIT_TESTS, ids=lambda file: file.stem)
def test_alerts_fire_when_they_should(promtool: str, file: object) -> None:
    assert "SUCCESS" in run(promtool, "test", "rules", str(file))


def samples_expected() -> list[str]:
    """Return what the unit tests expect to fire, and that something was expected silent beside it."""
    fired = []
    for file in UNIT_TESTS:
        for test in yaml.safe_load(file.read_text("utf-8"))["tests"]:
            for query in test.get("promql_expr_test", []):
                fired += [sample["labels"] for sample in query["exp_samples"]]
    return fired


def test_every_alert_is_seen_firing_and_silent_in_the_unit_tests() -> None:
    fired = samples_expected()
    for alert in alerts():
        name = alert["alert"]
        assert any(f'alertname="{name}",alertstate="firing"' in labels for labels in fired), f"{name} never fires"
    silent = yaml.safe_load((PROMETHEUS / "tests" / "quiet.yml").read_text("utf-8"))
    assert len(silent["rule_files"]) == len(list((PROMETHEUS / "rules").glob("*.yml"))), "quiet.yml loads all rules"
    quiet = [q["exp_samples"] for test in silent["tests"] for q in test["promql_expr_test"] if q["expr"] == "ALERTS"]
    assert quiet
    assert not any(quiet)
