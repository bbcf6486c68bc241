"""Every failpoint of the three kinds of process has somebody who dies there: by turns, or on a tour of its own."""

from __future__ import annotations

import random

from tests.chaos.faults.deaths import (
    ELSEWHERE,
    KINDS,
    OTHERS,
    OTHERS_OF_WORKERS,
    TARGETED,
    Deaths,
    left_out,
    listed,
)
from tests.chaos.harness.roles import Role
from tests.chaos.scenarios.corners import TOURS

REJECTED = "agent-rejected"


def aims(deaths: Deaths, kind: str, name: str, starts: int) -> set[str]:
    """Return the places that so many starts of a role are sent to."""
    role = Role(kind=kind, name=name, settings={})
    armed = {deaths.arm(role) for _ in range(starts)}
    return {setting.removesuffix(TARGETED) for setting in armed if setting.endswith(TARGETED)}


def test_every_place_gets_a_turn_or_has_a_tour() -> None:
    deaths = Deaths(random.Random(0), rejected=REJECTED)
    deaths.enabled = True
    all_places = {kind: {it.place for it in listed() if kind in it.processes} for kind in KINDS}
    for kind in KINDS:
        sent = aims(deaths, kind, f"{kind}-1", 2_000) | (
            aims(deaths, kind, REJECTED, 2_000) if kind == "agent" else set()
        )
        left = all_places[kind] - sent
        assert all(place.startswith(left_out(kind)) for place in left), left
        assert not any(place.startswith(left_out(kind)) for place in sent)


def test_tours_are_what_turns_leave_out() -> None:
    assert TOURS.keys() == ELSEWHERE.keys()
    names = [it.place for it in listed()]
    for prefix in (*ELSEWHERE, *OTHERS, *OTHERS_OF_WORKERS):
        assert any(name.startswith(prefix) for name in names), f"{prefix} names no place any more"


def test_nobody_dies_before_it_begins_nor_by_chance_once_it_is_calm() -> None:
    deaths = Deaths(random.Random(0), rejected=REJECTED, every_place=False)
    worker = Role(kind="worker", name="worker-1", settings={})
    assert {deaths.arm(worker) for _ in range(50)} == {""}
    deaths.enabled = True
    assert any("=crash@" in deaths.arm(worker) for _ in range(50))
    deaths.calm = True
    assert {deaths.arm(worker) for _ in range(50)} == {""}


def test_the_same_seed_sends_the_same_processes_to_the_same_places() -> None:
    def drawn(seed: int) -> list[str]:
        deaths = Deaths(random.Random(seed), rejected=REJECTED)
        deaths.enabled = True
        return [deaths.arm(Role(kind="worker", name="worker-1", settings={})) for _ in range(50)]

    assert drawn(7) == drawn(7)
    assert drawn(7) != drawn(8)
