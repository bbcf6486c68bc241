"""Ratios are of figures measured in turn, and a goal says which way is better."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.speed.goals import BARE_UPLOAD, GOALS, MEMORY, MERGE_FP32, UPLOAD, Goal, Row, Spread
from bench.speed.plot import draw, margin
from bench.speed.report import summary, table
from bench.speed.rounds import compare


def test_ratios_pair_the_figures_of_one_round() -> None:
    row = Row(goal=UPLOAD, ours=(60.0, 10.0, 90.0), ceilings=(100.0, 100.0, 100.0))
    assert row.ratio == Spread(median=0.6, low=0.1, high=0.9)
    assert row.reached


@pytest.mark.parametrize(
    ("goal", "ratio", "reached"),
    [(UPLOAD, 0.6, True), (UPLOAD, 0.59, False), (MERGE_FP32, 1.7, True), (MERGE_FP32, 1.71, False)],
)
def test_a_rate_must_be_high_and_a_time_low(goal: Goal, ratio: float, reached: bool) -> None:
    assert goal.reached_by(ratio) is reached


def test_ours_and_the_ceiling_take_turns_and_the_first_round_does_not_count() -> None:
    turns: list[str] = []
    values = iter([9.0, 9.0, 1.0, 2.0, 3.0, 4.0])

    def measured(name: str) -> float:
        turns.append(name)
        return next(values)

    told: list[str] = []
    row = compare(UPLOAD, lambda: measured("ours"), lambda: measured("ceiling"), rounds=2, say=told.append)
    assert turns == ["ours", "ceiling"] * 3
    assert (row.ours, row.ceilings) == ((1.0, 3.0), (2.0, 4.0))
    assert len(told) == 2


def test_reports_say_which_goals_fall_short() -> None:
    rows = [
        Row(goal=UPLOAD, ours=(50.0,), ceilings=(100.0,)),
        Row(goal=MERGE_FP32, ours=(1.5,), ceilings=(1.0,)),
    ]
    _, first, second = table(rows).splitlines()
    assert "0.50" in first
    assert ">= 0.6" in first
    assert "falls short" in first
    assert "1.50" in second
    assert "<= 1.7" in second
    assert "pass" in second
    goals = json.loads(json.dumps(summary(rows)))["goals"]
    assert [(goal["number"], goal["reached"]) for goal in goals] == [("1", False), ("4", True)]


def test_a_margin_is_above_one_where_a_goal_is_reached() -> None:
    upload = Row(goal=UPLOAD, ours=(90.0,), ceilings=(100.0,))
    merge = Row(goal=MERGE_FP32, ours=(3.4,), ceilings=(1.0,))
    assert margin(upload, 0.9) == pytest.approx(1.5)
    assert margin(merge, 3.4) == pytest.approx(0.5)


def test_figures_are_drawn(tmp_path: Path) -> None:
    rows = [
        Row(goal=UPLOAD, ours=(50.0, 70.0), ceilings=(100.0, 100.0)),
        Row(goal=MEMORY, ours=(190.0,), ceilings=(200.0,), curve=((1, 80.0), (8, 100.0), (64, 190.0))),
    ]
    draw(rows, tmp_path / "speed.png")
    assert (tmp_path / "speed.png").read_bytes().startswith(b"\x89PNG")
    draw([], tmp_path / "none.png")
    assert not (tmp_path / "none.png").exists()


def test_goals_have_numbers_of_their_own() -> None:
    assert len({goal.number for goal in GOALS}) == len(GOALS)


def test_a_figure_that_is_no_goal_neither_passes_nor_falls_short() -> None:
    row = Row(goal=BARE_UPLOAD, ours=(10.0,), ceilings=(100.0,))
    _, line = table([row]).splitlines()
    assert "0.10" in line
    assert "pass" not in line
    assert "falls short" not in line
    assert "=" not in line
