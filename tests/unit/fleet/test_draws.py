"""Who the agents are is drawn from a seed and a number, and has the distributions that were asked for."""

from __future__ import annotations

import statistics

import pytest

from alignfed.errors import RequestInvalid
from bench.fleet.draws import Habits, arrival_seconds, share_of
from bench.fleet.settings import FleetSettings, tiers_of

FLEET = FleetSettings(agents=2000, seed=7)


def test_the_same_seed_and_number_draw_the_same_life() -> None:
    one, other = Habits(FLEET, 3), Habits(FLEET, 3)
    assert one.profile == other.profile
    assert [one.training_seconds() for _ in range(5)] == [other.training_seconds() for _ in range(5)]
    assert Habits(FLEET, 4).profile != one.profile


def test_tiers_have_their_shares_and_their_speeds() -> None:
    everybody = [Habits(FLEET, number) for number in range(FLEET.agents)]
    for tier in FLEET.tiers:
        members = [habits for habits in everybody if habits.profile.tier == tier]
        assert len(members) / FLEET.agents == pytest.approx(tier.share, abs=0.04)
        typical = statistics.median(habits.training_seconds() for habits in members)
        assert typical == pytest.approx(FLEET.train_seconds * tier.slowdown, rel=0.1)


def test_networks_are_log_normal_around_their_medians() -> None:
    profiles = [Habits(FLEET, number).profile for number in range(FLEET.agents)]
    assert statistics.median(it.latency_seconds for it in profiles) == pytest.approx(FLEET.latency_seconds, rel=0.1)
    assert statistics.median(it.bytes_per_second for it in profiles) == pytest.approx(FLEET.bytes_per_second, rel=0.1)
    assert max(it.latency_seconds for it in profiles) > 3 * FLEET.latency_seconds
    assert profiles[0].transfer_seconds(1_000_000) == 1_000_000 / profiles[0].bytes_per_second


def test_a_network_without_bandwidth_takes_no_time_of_its_own() -> None:
    assert Habits(FleetSettings(bytes_per_second=0.0), 0).profile.transfer_seconds(1 << 30) == 0.0


def test_arrivals_fill_the_ramp_evenly() -> None:
    times = [arrival_seconds(FLEET, number) for number in range(FLEET.agents)]
    assert 0 <= min(times) <= max(times) <= FLEET.ramp_seconds
    early = sum(at < FLEET.ramp_seconds / 2 for at in times)
    assert early / FLEET.agents == pytest.approx(0.5, abs=0.05)


def test_drop_outs_and_downloads_come_as_often_as_asked() -> None:
    habits = Habits(FleetSettings(dropout_ratio=0.25, download_ratio=0.75), 0)
    assert sum(habits.vanishes() for _ in range(4000)) / 4000 == pytest.approx(0.25, abs=0.03)
    assert sum(habits.downloads() for _ in range(4000)) / 4000 == pytest.approx(0.75, abs=0.03)
    away = statistics.mean(habits.offline_seconds() for _ in range(4000))
    assert away == pytest.approx(FLEET.offline_seconds, rel=0.1)


@pytest.mark.parametrize(("agents", "processes"), [(10, 3), (1, 4), (10_000, 8)])
def test_processes_share_all_agents_once(agents: int, processes: int) -> None:
    shares = [share_of(agents, processes, index) for index in range(processes)]
    assert [number for share in shares for number in share] == list(range(agents))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_tiers_read_as_they_are_written() -> None:
    assert [(tier.name, tier.slowdown, tier.share) for tier in tiers_of("1:0.5,16:2")] == [
        ("1x", 1.0, 0.5),
        ("16x", 16.0, 2.0),
    ]


@pytest.mark.parametrize("text", ["", "fast", "1:0", "-1:1", "1:0.5,1:0.5", "nan:1"])
def test_tiers_that_mean_nothing_are_refused(text: str) -> None:
    with pytest.raises(RequestInvalid):
        tiers_of(text)


def test_settings_travel_as_plain_values() -> None:
    assert FleetSettings.from_dict(FLEET.to_dict()) == FLEET


def test_the_buffer_grows_with_the_fleet_unless_it_is_set() -> None:
    assert FleetSettings(agents=20).merged_at_once == 4
    assert FleetSettings(agents=10_000).merged_at_once == 500
    assert FleetSettings(agents=10_000, buffer_size=16).merged_at_once == 16


def test_what_is_offered_is_the_sum_over_tiers() -> None:
    fleet = FleetSettings(agents=100, tiers=tiers_of("1:1,4:1"), train_seconds=10.0, train_sigma=0.0)
    assert fleet.offered_per_second == pytest.approx(50 / 10 + 50 / 40)
