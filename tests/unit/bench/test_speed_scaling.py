"""The scaling table varies one thing at a time, and what a merge adds to memory is the sum, not the deltas."""

from __future__ import annotations

from bench.speed.scaling import Point, measure_point, scaling_table, sizes


def test_one_of_deltas_and_parameters_varies_at_a_time() -> None:
    assert sizes() == [
        *((deltas, 41_943_040) for deltas in (1, 4, 16, 64)),
        *((16, parameters) for parameters in (1_048_576, 10_485_760)),
    ]


def test_a_small_size_is_measured() -> None:
    point = measure_point(2, 8192, 1)
    assert point.seconds > 0
    assert point.ratio > 0
    assert point.delta_bytes == 2 * 8192 * 2


def test_the_table_has_a_line_for_each_size() -> None:
    point = Point(deltas=16, parameters=41_943_040, seconds=0.5, ratio=3.5, merge_bytes=170_000_000, delta_bytes=10**9)
    header, line = scaling_table([point]).splitlines()
    assert len(header) == len(line)
    assert line.split() == ["16", "41.9", "M", "0.500", "3.50", "1000", "MB", "170", "MB"]
