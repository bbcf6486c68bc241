"""Five hundred uploads that stall cost healthy agents next to nothing, and bounded memory.

The scalable form: `python -m tests.chaos.load.stalled_uploads --stalled 2000 --rounds 20`.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.load.overload import MIB
from tests.chaos.load.stalled_uploads import BOUND_RATIO, CHUNK_BYTES, Size, run_stalled

STALLED = 500


@pytest.mark.chaos
@pytest.mark.timeout(900)
def test_stalled_uploads_hold_no_one_up(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = run_stalled(tmp_path, Size(stalled=STALLED, rounds=4, most_rounds=12, uploads=100))
    with capsys.disabled():
        print(f"\n{report.line()}")  # noqa: T201 - the run's figures
    assert report.upload_ratio < BOUND_RATIO, "healthy uploads notice those that stall"
    assert report.poll_ratio < BOUND_RATIO, "healthy polls notice uploads that stall"
    assert report.grown_bytes < STALLED * CHUNK_BYTES / 2 + 64 * MIB, "a stalled upload holds more than it has sent"
    assert report.cut >= STALLED, "uploads may stall for ever"
