"""What a run shows while it goes on."""

from __future__ import annotations

import dataclasses
import io

import pytest
from rich.console import Console

from coordinator.domain import Contribution
from coordinator.local.progress import LiveProgress, Pace, PlainProgress, agent_table, clock, headline
from coordinator.local.run_record import AgentSpec
from coordinator.local.watch import Snapshot, agent_state
from tests.unit.local.test_report import version

SPEC = AgentSpec(agent_id="agent-1", domain="email", slowdown=2.0, data="d")
STATUS = {"state": "training", "base_version": 1, "step": 2, "steps": 6, "loss": 2.5, "unknown": "ignored"}


def snapshot(number: int = 2) -> Snapshot:
    agent = agent_state(SPEC, Contribution(merged=3, weight=1.5), 2.0, STATUS)
    newest = version(number, ("agent-1", 1, 0.5), ("agent-1", 0, 0.5))
    return Snapshot(newest=newest, losses={0: 3.0, number: 2.9}, queued=4, agents=(agent,))


def test_an_agent_without_status_file_is_starting() -> None:
    state = agent_state(SPEC, Contribution(), 0.0, {})
    assert (state.activity, state.base_version, state.weight_share) == ("starting", None, 0.0)


def test_the_headline_tells_version_staleness_loss_queue_and_time() -> None:
    line = headline(snapshot(), Pace(first=0, target=8))
    for part in ("version 2/8", "last merge 1, 0", "2.900 (-0.100)", "queue 4", "elapsed"):
        assert part in line


def test_the_time_left_follows_from_what_was_published_since_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1_000.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    pace = Pace(first=4, target=8)
    now += 30.0
    assert pace.left_seconds(4) is None
    assert pace.left_seconds(5) == pytest.approx(90.0)
    assert pace.left_seconds(7) == pytest.approx(10.0)
    assert pace.left_seconds(9) == 0.0


def test_the_table_tells_what_each_agent_does_and_has_contributed() -> None:
    console = Console(width=120, file=io.StringIO())
    console.print(agent_table(snapshot()))
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    for part in ("agent-1", "email", "2x", "training", "2/6", "2.500", "75%"):
        assert part in shown


def test_the_live_table_is_redrawn_in_place_and_stays() -> None:
    console = Console(width=120, file=io.StringIO(), force_terminal=True)
    with LiveProgress(Pace(first=0, target=8), console) as progress:
        progress.show(snapshot(1))
        progress.show(snapshot(2))
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert shown.rindex("version 2/8") > shown.find("version 1/8")
    assert "agent-1" in shown


def test_plain_progress_says_each_version_once(capsys: pytest.CaptureFixture[str]) -> None:
    with PlainProgress(Pace(first=0, target=8)) as progress:
        for number in (1, 1, 1, 2, 2):
            progress.show(dataclasses.replace(snapshot(number)))
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" | ")[0] for line in lines] == ["version 1/8", "version 2/8"]


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (65, "1:05"), (59.6, "1:00"), (600, "10:00")])
def test_time_is_in_minutes_and_seconds(seconds: float, text: str) -> None:
    assert clock(seconds) == text
