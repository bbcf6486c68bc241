"""When agents are asked to pause, how large a share of the queue is, and which deltas are still worth an upload."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alignfed.plan import Buffer, FederationPlan, Limits, Retention
from coordinator.domain import Head, VersionId
from coordinator.service import pace
from coordinator.service.pace import Level, Quota
from tests.support.stores import new_plan

COUNTS = st.integers(0, 5000)


def plan_of(*, size: int = 4, versions: int = 64, places: int = 10_000) -> FederationPlan:
    return dataclasses.replace(
        new_plan("fed"),
        buffer=Buffer(size=size),
        retention=Retention(versions=versions),
        limits=Limits(max_queue_deltas=places),
    )


def quota_of(plan: FederationPlan, **changes: int) -> Quota:
    budgets = {"payload_bytes": 10, "agent_deltas": 64, "agent_bytes": 10**9, "all_bytes": 10**9}
    return Quota.of(plan, **(budgets | changes))


def head_of(number: int, *, oldest: int = 0) -> Head:
    return Head(id=VersionId(epoch=1, number=number, digest="ab" * 32), oldest_retained=oldest)


@pytest.mark.parametrize("agents", [1, 2, 3, 5])
def test_greedy_agents_stop_at_equal_shares_and_leave_one_free(agents: int) -> None:
    plan = plan_of(size=2, places=120)
    quota, held = quota_of(plan, agent_deltas=1000), [0] * agents
    for _ in range(500):
        for agent in range(agents):
            held[agent] += held[agent] < quota.share(sum(held), least=2)
    assert held == [pytest.approx(120 / (agents + 1), abs=1)] * agents
    assert 120 - sum(held) == pytest.approx(120 / (agents + 1), abs=agents)


@given(held=COUNTS, size=st.integers(1, 100), places=st.integers(100, 5000))
def test_a_share_is_at_least_one_merge_and_never_above_its_bounds(held: int, size: int, places: int) -> None:
    plan = plan_of(size=size, places=places)
    quota = quota_of(plan)
    share = quota.share(held, least=size)
    assert size <= share <= max(size, 64)
    assert share <= max(size, places - held)


@pytest.mark.parametrize(
    ("budgets", "places", "most_of_one"),
    [
        ({}, 100, 64),
        ({"all_bytes": 500}, 50, 64),
        ({"agent_bytes": 200}, 100, 20),
        ({"agent_deltas": 7}, 100, 7),
        ({"all_bytes": 1, "agent_bytes": 1, "agent_deltas": 1}, 4, 4),  # one merge is always granted
    ],
)
def test_budgets_in_bytes_count_as_deltas(budgets: dict[str, int], places: int, most_of_one: int) -> None:
    assert quota_of(plan_of(size=4, places=100), **budgets) == Quota(places=places, most_of_one=most_of_one)


def test_agents_are_asked_to_pause_before_what_waits_is_stale() -> None:
    plan = plan_of(size=4, versions=64)
    quota = quota_of(plan)
    assert pace.comfortable(plan, quota) == 4 * 16
    assert pace.come_back_seconds(Level(queued=64, merged_per_second=2.0), plan, quota) == 0
    assert pace.come_back_seconds(Level(queued=84, merged_per_second=2.0), plan, quota) == 10
    assert pace.come_back_seconds(Level(queued=84), plan, quota) == pace.UNKNOWN_SECONDS


def test_agents_are_asked_to_pause_before_the_queue_is_full() -> None:
    plan = plan_of(size=4, places=20)
    quota = quota_of(plan)
    assert pace.come_back_seconds(Level(queued=10), plan, quota) == 0
    assert pace.come_back_seconds(Level(queued=11), plan, quota) > 0


@given(queued=COUNTS, more=COUNTS, speed=st.one_of(st.none(), st.floats(1e-6, 1e6)))
def test_more_that_waits_never_means_coming_back_sooner(queued: int, more: int, speed: float | None) -> None:
    plan = plan_of()
    quota = quota_of(plan)
    hints = [
        pace.come_back_seconds(Level(queued=count, merged_per_second=speed), plan, quota)
        for count in (queued, queued + more)
    ]
    assert hints[0] <= hints[1] <= pace.LONGEST_SECONDS
    assert all(hint == 0 or hint >= pace.SHORTEST_SECONDS for hint in hints)


@pytest.mark.parametrize(
    ("head", "queued", "oldest"),
    [
        pytest.param(head_of(5), 0, 0, id="nothing-waits"),
        pytest.param(head_of(20, oldest=13), 0, 13, id="nothing-waits-later"),
        pytest.param(head_of(20, oldest=13), 8, 15, id="two-merges-forget-two-versions"),
        pytest.param(head_of(20, oldest=13), 11, 15, id="a-started-merge-forgets-none"),
        pytest.param(head_of(20, oldest=13), 4000, 20, id="the-head-itself-is-always-wanted"),
        pytest.param(head_of(3), 20, 1, id="young"),
    ],
)
def test_a_delta_is_wanted_while_its_base_is_kept_until_its_turn(head: Head, queued: int, oldest: int) -> None:
    assert pace.oldest_wanted(head, Level(queued=queued), plan_of(size=4, versions=8)) == oldest
