"""A minute and a half of a long life: nothing grows, and what would grow is found."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from tests.chaos.endurance.long_life import Sample, judge, live
from tests.chaos.endurance.slopes import trend

SECONDS = 90.0
AT_REST = Sample(
    seconds=0.0,
    versions=0,
    rss_bytes={"coordinator-1": 300_000_000},
    files={"coordinator-1": 20},
    threads={"coordinator-1": 8},
    store_keys=50,
    store_records=500,
    store_bytes=1_000_000,
)


def life(**growth_per_version: float) -> list[Sample]:
    """Return samples of a hundred versions, one a second, of which some figures grow by so much with each."""

    def grown(value: int | dict[str, int], by: float) -> int | dict[str, int]:
        return {name: round(it + by) for name, it in value.items()} if isinstance(value, dict) else round(value + by)

    return [
        dataclasses.replace(
            AT_REST,
            seconds=float(number),
            versions=number,
            **{name: grown(getattr(AT_REST, name), by * number) for name, by in growth_per_version.items()},
        )
        for number in range(100)
    ]


@pytest.mark.chaos
@pytest.mark.timeout(600)
def test_nothing_grows_in_a_long_life(tmp_path: Path) -> None:
    found = live(tmp_path, seconds=SECONDS)
    assert not found.faults, found.report()


def test_a_life_without_growth_is_found_sound_with_all_that_is_kept_of_a_version() -> None:
    trends, grew = judge(life(store_bytes=900))
    assert not grew
    assert trends["store_bytes"].slope == 900


@pytest.mark.parametrize(
    ("growth", "what"),
    [
        ({"rss_bytes": 100_000}, "memory of coordinator-1"),
        ({"files": 0.2}, "files of coordinator-1"),
        ({"threads": 0.2}, "threads of coordinator-1"),
        ({"store_keys": 1}, "store_keys"),
        ({"store_records": 4}, "store_records"),
        ({"store_bytes": 4000}, "the store"),
    ],
)
def test_what_grows_is_found(growth: dict[str, float], what: str) -> None:
    _, grew = judge(life(**growth))
    assert [fault.split(":")[0] for fault in grew] == [what]


def test_a_life_in_which_nothing_happened_proves_nothing() -> None:
    _, grew = judge([dataclasses.replace(sample, versions=sample.versions // 50) for sample in life()])
    assert any("too little" in fault for fault in grew)


def test_a_trend_is_not_bent_by_outliers() -> None:
    values = [float(number) for number in range(40)]
    values[7] = values[30] = 1e9
    assert trend(range(40), values).slope == pytest.approx(1.0, abs=0.05)
    with pytest.raises(ValueError, match="longer"):
        trend([1, 1], [2, 3])
