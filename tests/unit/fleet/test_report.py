"""A report says all that a run has found, for people and for machines, also of a deployment that is elsewhere."""

from __future__ import annotations

import dataclasses
import json
import os
import resource
from collections import Counter

import pytest

from alignfed.errors import RequestInvalid
from bench.fleet.account import Account, MergedOne
from bench.fleet.balance import accepted_in, process_of
from bench.fleet.figures import Figures
from bench.fleet.knee import Knee
from bench.fleet.machine import Usage, allow_files, usage_of
from bench.fleet.records import Published
from bench.fleet.report import summary
from bench.fleet.run import Outcome, Part
from bench.fleet.settings import FleetSettings
from bench.fleet.stretch import Look, Stretch
from bench.fleet.wording import markdown, text


def look(at: float, polls: int, *, local: bool) -> Look:
    figures = Figures(counts=Counter(polls=polls, acknowledged=polls, watch_events=polls))
    figures.refusals["QUEUE_FULL"] += polls
    if polls:
        figures.took("polls", 0.002)
        figures.learnt("f", 0, 1, at=2.5)
        figures.learnt("f", 0, 1, at=3.0)
    usage = Usage(cpu_seconds=polls / 10, waited_seconds=polls / 20, resident_bytes=polls << 20)
    return Look(
        at=at,
        figures=figures,
        busiest_seconds=at / 2,
        usages=dict.fromkeys(("coordinator", "worker", "store"), usage) if local else {},
        queued=0,
    )


def part(federation: str) -> Part:
    return Part(
        federation=federation,
        leader="worker-2",
        account=Account(acknowledged=2, merged=2, rejected=0, queued=0, lost=0, doubled=0, unanswered=0),
        published=Published(
            made_at={(federation, 1): 2.0},
            sizes={(federation, 1): 2},
            merged=(MergedOne(delta_id="x", agent_id="light-0", version=1, staleness_versions=1),),
        ),
    )


def outcome(*, local: bool, knee: Knee | None = None, federations: tuple[str, ...] = ("f",)) -> Outcome:
    alone, before, after = look(0.0, 0, local=local), look(1.0, 1, local=local), look(11.0, 11, local=local)
    steps = (Stretch(factor=1.0, before=before, after=after),) * (2 if knee else 1)
    return Outcome(
        settings=FleetSettings(agents=2),
        registered=2,
        alone=alone,
        stretches=steps,
        knee=knee,
        whole=steps[0],
        parts=tuple(part(name) for name in federations),
        accepted_by={"coordinator": 1, "coordinator-2": 1} if local else {},
        tier_of={"light-0": "1x", "light-1": "4x"},
    )


def test_a_summary_is_plain_and_says_what_was_found() -> None:
    found = summary(outcome(local=True))
    assert json.loads(json.dumps(found))["settings"]["agents"] == 2
    (step,) = found["stretches"]
    assert step["acknowledged_per_second"] == 1.0
    assert step["merged_per_second"] == 0.2
    assert step["loads"]["coordinator"] == 0.1
    assert step["fullness"]["coordinator"] == pytest.approx(0.15)
    assert found["news"]["medians"]["last"] == 1.0
    assert found["costs"]["coordinator_cpu_seconds_per_thousand_polls"] == pytest.approx(100.0)
    assert found["costs"]["coordinator_kib_per_agent"] == 512.0
    assert found["staleness_versions"] == {"1": 1}


@pytest.mark.parametrize("local", [True, False])
def test_people_are_told_the_same(local: bool) -> None:
    found = summary(outcome(local=local))
    told = text(found)
    for part in ("lost 0, doubled 0", "QUEUE_FULL 11", "p50 1, p95 1, most 1", "virtual CPUs"):
        assert part in told
    assert ("per connected agent" in told) is local
    assert markdown(found, command="alignfed bench fleet").startswith("# Fleet report\n\n`alignfed bench fleet`")


def test_several_federations_are_told_apart_and_added_up() -> None:
    found = summary(outcome(local=True, federations=("f", "g")))
    assert found["account"]["acknowledged"] == 4
    assert [(it["federation"], it["leader"], it["versions"]) for it in found["federations"]] == [
        ("f", "worker-2", 1),
        ("g", "worker-2", 1),
    ]
    told = text(found)
    assert "deltas accepted, by coordinator: coordinator 1, coordinator-2 1" in told
    assert ["g", "worker-2", "1", "2", "2", "0", "0"] in [line.split() for line in told.splitlines()]


def test_processes_of_a_role_cost_together() -> None:
    usage = Usage(cpu_seconds=1.0, waited_seconds=0.0, resident_bytes=0)
    names = ("coordinator", "coordinator-2", "worker", "store")
    after = dataclasses.replace(look(1.0, 0, local=False), usages=dict.fromkeys(names, usage))
    assert Stretch(factor=1.0, before=after, after=after).processes("coordinator") == ["coordinator", "coordinator-2"]


def test_a_worker_is_known_by_its_process() -> None:
    assert process_of("host-name-4711-abc123", {"worker-2": 4711}) == "worker-2"
    assert process_of("host-name-4712-abc123", {"worker-2": 4711}) == "host-name-4712-abc123"


def test_accepted_deltas_are_read_from_metrics() -> None:
    lines = [
        'alignfed_uploads_total{federation="f",outcome="accepted"} 3.0',
        'alignfed_uploads_total{federation="g",outcome="accepted"} 4.0',
        'alignfed_uploads_total{federation="f",outcome="duplicate"} 9.0',
    ]
    assert accepted_in("\n".join(lines)) == 7


def test_a_knee_is_told_with_its_reason() -> None:
    told = text(summary(outcome(local=True, knee=Knee(index=0, why="it did not pay", limit="the machine"))))
    assert "knee at 1x, 1.0 deltas/s: after it it did not pay" in told
    assert "full then: the machine" in told


def test_a_process_tells_what_it_takes() -> None:
    usage = usage_of(os.getpid())
    assert usage.cpu_seconds > 0
    assert usage.resident_bytes > 1 << 20


def test_more_connections_than_the_system_allows_are_refused_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    set_to: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _kind: (256, 1024))
    monkeypatch.setattr(resource, "setrlimit", lambda _kind, limits: set_to.append(limits))
    with pytest.raises(RequestInvalid, match="ulimit"):
        allow_files(10_000)
    allow_files(8)
    assert set_to == []
    allow_files(500)
    assert set_to == [(628, 1024)]
