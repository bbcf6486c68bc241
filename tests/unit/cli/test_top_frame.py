"""What a frame of `alignfed top` says, and that it fits."""

from __future__ import annotations

import dataclasses

import pytest

from coordinator.cli.operator_views import AgentView, FederationView, VersionView
from coordinator.cli.top.figures import fairness, merges_per_minute, staleness_counts, weight_shares
from coordinator.cli.top.frame import Line, Order, Screen, frame
from coordinator.cli.top.snapshot import Snapshot, Summary
from coordinator.domain import AgentRecord, Contribution, Head, VersionId, VersionKind
from tests.support.stores import NOW, new_plan


def version(number: int, *, age: float, loss: float | None = 2.0, abandoned: bool = False) -> VersionView:
    return VersionView(
        id=VersionId(epoch=1, number=number, digest="ab" * 32),
        kind=VersionKind.MERGE if number else VersionKind.INITIAL,
        parent=number - 1 if number else None,
        created_at=NOW - age,
        abandoned=abandoned,
        serves_average=False,
        deltas=2 if number else 0,
        calibration_loss=loss,
    )


def agent(
    agent_id: str, *, merged: int = 1, weight: float = 1.0, seen: float = 5.0, revoked: bool = False
) -> AgentView:
    record = AgentRecord(agent_id=agent_id, registered_at=NOW, last_seen_at=NOW - seen, tier="slow", revoked=revoked)
    return AgentView(agent=record, contribution=Contribution(merged=merged, weight=weight))


def summary(name: str = "demo", *, head: int = 6, paused: bool = False, dead: int = 0) -> Summary:
    versions = tuple(
        version(number, age=10.0 * (head - number), loss=2.0 - number / 100) for number in range(head, -1, -1)
    )
    view = FederationView(
        plan=new_plan(name),
        head=Head(id=versions[0].id, oldest_retained=0, paused=paused),
        queued=3, pending=1, dead=dead, agents=3, created_at=NOW - 60, oldest_queued_at=NOW - 12,
    )  # fmt: skip
    return Summary(view=view, versions=versions)


SNAPSHOT = Snapshot(
    at=NOW,
    summaries=(summary(),),
    chosen="demo",
    staleness=(0, 1, 2, 3, 9, 40),
    agents=(agent("a"), agent("b", weight=3)),
)
SCREEN = Screen(address="127.0.0.1:7301", width=110, now=NOW)


def text(snapshot: Snapshot = SNAPSHOT, screen: Screen = SCREEN) -> str:
    return "\n".join(line.text for line in frame(snapshot, screen))


def big(agents: int = 1000) -> Snapshot:
    fleet = tuple(agent(f"agent-{index:04}", merged=index % 7, weight=index / 10) for index in range(agents))
    others = tuple(summary(f"federation-with-a-rather-long-name-{index}") for index in range(4))
    return dataclasses.replace(SNAPSHOT, summaries=(summary(dead=2, paused=True), *others), agents=fleet, more=3)


def test_a_frame_tells_head_queue_fairness_staleness_fleet_and_versions() -> None:
    shown = text()
    for expected in (
        "demo  version 6, 0 s old, merging, 6.0 merges/min",
        "queue 3 of 10000 (1 claimed), oldest 12 s",
        "merges Jain 1.00 Gini 0.00   weight Jain 0.80 Gini 0.25",
        "staleness of the last 6 merged deltas",
        "75.0 %",
        "-0.0100",
    ):
        assert expected in shown


@pytest.mark.parametrize(("width", "height"), [(80, 24), (60, 16), (100, 50), (160, 24), (220, 60), (30, 10), (1, 1)])
@pytest.mark.parametrize("lost_at", [None, NOW - 30])
def test_every_frame_fits_its_terminal(width: int, height: int, lost_at: float | None) -> None:
    screen = dataclasses.replace(
        SCREEN, width=width, height=height, lost_at=lost_at, trouble="no coordinator answers " * 9, keys=True
    )
    for snapshot in (SNAPSHOT, big(), Snapshot(at=NOW)):
        lines = frame(snapshot, screen)
        assert len(lines) <= height
        assert max(len(line.text) for line in lines) <= width


def test_80_by_24_has_room_for_the_fleet_and_the_newest_versions() -> None:
    lines = text(big(), dataclasses.replace(SCREEN, width=80, height=24)).splitlines()
    assert any("more of 1000 agents, by weight share" in line for line in lines)
    assert sum(line.startswith("agent-") for line in lines) >= 2
    assert any(line.split()[:2] == ["6", "merge"] for line in lines)


def test_a_wide_terminal_shows_fleet_and_versions_side_by_side() -> None:
    lines = text(screen=dataclasses.replace(SCREEN, width=180, height=40)).splitlines()
    assert any("agent" in line and "version" in line and "loss" in line for line in lines)


def test_a_small_fleet_leaves_its_room_to_the_versions() -> None:
    snapshot = dataclasses.replace(SNAPSHOT, summaries=(summary(head=40),))
    lines = text(snapshot, dataclasses.replace(SCREEN, width=80, height=24)).splitlines()
    assert sum(line.split()[1:2] == ["merge"] for line in lines) >= 9
    assert len(lines) == 24


@pytest.mark.parametrize(
    ("order", "first"), [(Order.WEIGHT, "heavy"), (Order.SEEN, "awake"), (Order.REJECTED, "refused")]
)
def test_the_fleet_is_sorted_as_asked(order: Order, first: str) -> None:
    refused = dataclasses.replace(agent("refused"), contribution=Contribution(rejected=4))
    fleet = (agent("plain"), agent("heavy", weight=9), agent("awake", seen=0), refused)
    lines = text(dataclasses.replace(SNAPSHOT, agents=fleet), dataclasses.replace(SCREEN, order=order)).splitlines()
    assert lines[[line.split()[:1] for line in lines].index(["agent"]) + 1].startswith(first)


def test_what_needs_an_operator_stands_out() -> None:
    styles = {line.text.split()[0]: line.style for line in frame(big(), SCREEN) if line.text}
    assert (styles["dead"], styles["demo"]) == ("bad", "warn")
    lost: list[Line] = frame(SNAPSHOT, dataclasses.replace(SCREEN, lost_at=NOW - 30, trouble="it is gone"))
    [line] = [line for line in lost if "lost connection since" in line.text]
    assert line.style == "bad"
    assert "(30 s), trying again" in line.text


def test_no_federation_says_how_to_create_one() -> None:
    assert "alignfed federations create" in text(Snapshot(at=NOW))


def test_merges_per_minute_count_what_is_listed_over_its_own_span() -> None:
    all_recent = tuple(version(number, age=float(60 - number)) for number in range(60, 10, -1))
    assert merges_per_minute(all_recent, created_at=NOW - 9e6, now=NOW) == pytest.approx(60.0, rel=0.05)
    quiet = (version(3, age=60), version(2, age=7_000), version(1, age=8_000))
    assert merges_per_minute(quiet, created_at=NOW - 9_000, now=NOW) == pytest.approx(0.1)
    assert merges_per_minute((), created_at=NOW, now=NOW) == 0.0


def test_staleness_falls_into_the_classes_of_the_metrics() -> None:
    counts = dict(staleness_counts([0, 1, 2, 3, 4, 7, 8, 15, 16, 400]))
    assert counts == {"0": 1, "1": 1, "2-3": 2, "4-7": 2, "8-15": 2, "16+": 2}


def test_fairness_counts_active_agents_with_nothing_and_leaves_out_revoked_and_absent_ones() -> None:
    fleet = [agent("a"), agent("b", merged=0, weight=0.0), agent("c", revoked=True), agent("d", seen=90_000)]
    found = fairness(fleet, now=NOW)
    assert (found.active, found.unserved, found.merges_jain) == (2, 1, 0.5)


def test_shares_are_of_all_weight_merged() -> None:
    assert weight_shares([agent("a", weight=1), agent("b", weight=3)]) == {"a": 0.25, "b": 0.75}
    assert weight_shares([agent("a", weight=0)]) == {"a": 0.0}
