"""Paper sums are sums: linear where they say so, and each part ends where its own figure says."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from alignfed.errors import RequestInvalid
from bench.fleet.scale import NEWS_SECONDS, Plan, UnitCosts, breaking_points, needs, regional, sums

PAGE = Path(__file__).parents[3] / "docs" / "scale.md"
COSTS = UnitCosts(
    watch_event_ms=0.1, long_poll_ms=0.5, delta_ms=5.0, upload_ms_per_mb=2.0, download_ms_per_mb=1.0, agent_kib=32.0,
    store_bytes_per_agent=1000.0, store_bytes_per_delta=1000.0, merge_ms_per_agent=0.1, merge_ms=4.0,
    merge_ms_per_mb=2.0,
)  # fmt: skip
PLAN = Plan(agents=6000, cycle_seconds=600.0, delta_bytes=1e6, adapter_bytes=2e6, version_seconds=60.0, kept_merges=8)


def test_sums_are_what_they_say() -> None:
    found = needs(PLAN, COSTS)
    assert found.deltas_per_second == 10.0
    assert found.deltas_per_merge == 600.0
    assert found.told_per_second == 100.0
    assert found.upload_bytes_per_second == 10e6
    assert found.download_bytes_per_second == 20e6
    # 100 tellings, 10 deltas, 10 MB up and 20 MB down each second
    assert found.coordinator_cores == pytest.approx((100 * 0.1 + 10 * 5.0 + 10 * 2.0 + 20 * 1.0) / 1000)
    assert found.worker_load == pytest.approx((10 * (4.0 + 2.0) + 100 * 0.1) / 1000)
    assert found.cpu_seconds_per_version == pytest.approx((0.1 + 0.07) * 60)
    assert found.moved_bytes_per_version == 1.8e9
    assert found.store_bytes == pytest.approx(6e6 + 1e9 + 600 * 9 * 1e6 + 64 * 2e6)


def test_agents_that_poll_cost_more_than_those_that_watch() -> None:
    polling = needs(dataclasses.replace(PLAN, watching_ratio=0.0, poll_seconds=30.0), COSTS)
    assert polling.told_per_second == 200.0
    assert polling.coordinator_cores == pytest.approx(needs(PLAN, COSTS).coordinator_cores + (200 * 0.5 - 10) / 1000)


def test_ten_times_the_agents_need_ten_times_the_processors() -> None:
    small, large = needs(PLAN, COSTS), needs(dataclasses.replace(PLAN, agents=60_000), COSTS)
    assert large.coordinator_cores == pytest.approx(10 * small.coordinator_cores)
    assert large.worker_load == pytest.approx(10 * small.worker_load)
    assert large.coordinators >= small.coordinators


def test_each_part_ends_where_its_figure_says() -> None:
    ends = breaking_points(PLAN, COSTS)
    assert list(ends.values()) == sorted(ends.values())
    assert ends[f"telling all within {NEWS_SECONDS:g} s"] == pytest.approx(20_000, abs=1)
    for name, agents in ends.items():
        assert needs(dataclasses.replace(PLAN, agents=agents), COSTS).breaks[name] <= 1
        assert needs(dataclasses.replace(PLAN, agents=agents + 1), COSTS).breaks[name] > 1


def test_the_first_to_give_way_is_the_fullest() -> None:
    found = needs(dataclasses.replace(PLAN, agents=1_000_000), COSTS)
    assert found.breaks[found.first] == max(found.breaks.values())


def test_regions_send_the_centre_one_delta_per_version() -> None:
    split = regional(dataclasses.replace(PLAN, agents=1_000_000), COSTS, agents_per_region=1000)
    assert split.regions == 1000
    assert split.centre.deltas_per_second == pytest.approx(1000 / PLAN.version_seconds)
    assert split.region.plan.agents == 1000
    assert regional(dataclasses.replace(PLAN, agents=10), COSTS, agents_per_region=1000).regions == 1


def test_the_tables_have_a_column_for_each_fleet() -> None:
    text = sums([10_000, 1_000_000], values={"costs": {"merge_ms": 1.0}}, agents_per_region=1000)
    assert "| | 10,000 | 1,000,000 |" in text
    assert "One of each is full at:" in text


@pytest.mark.parametrize("values", [{"costs": {"nonsense": 1.0}}, {"plan": {"cycle_seconds": "long"}}])
def test_costs_that_mean_nothing_are_refused(values: dict[str, dict[str, object]]) -> None:
    with pytest.raises(RequestInvalid):
        sums([1], values=values, agents_per_region=1)


def test_the_page_says_what_the_command_prints() -> None:
    printed = sums([10_000, 100_000, 1_000_000], values={}, agents_per_region=1000)
    assert printed in PAGE.read_text("utf-8"), "paste what `alignfed bench fleet --plan 10000 ...` prints"
