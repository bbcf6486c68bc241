"""Uploads go on where they broke off: behind a link on which no connection lives long enough for one delta."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.scenarios.flapping import Link, run_flapping


@pytest.mark.chaos
@pytest.mark.timeout(900)
def test_uploads_go_on_where_they_broke_off(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outcome = run_flapping(tmp_path, Link(phases=3, kinds=("broken",), longest_seconds=3.0), seed=32)
    with capsys.disabled():
        print(f"\n{outcome.line()}")  # noqa: T201  # the run's figures
    assert outcome.sound, outcome.report()
    assert outcome.verdict.merged > 0
    assert outcome.further["resets"] > 2 * 3 + 2, "hardly an upload was broken off"
    assert float(outcome.further["sent_ratio"]) < 1.5
