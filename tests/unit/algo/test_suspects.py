"""Suspects: whom a merge is tried again without."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.algo.suspects import suspects


@pytest.mark.parametrize(
    ("losses", "left_out"),
    [
        ({"a": 1.0, "b": 1.05, "c": 9.0}, ["c"]),
        ({"a": 1.0, "b": math.nan, "c": 9.0, "d": 1.0}, ["b", "c"]),
        ({"a": 1.0, "b": 1.05, "c": 1.01}, ["b"]),
        ({"a": 1.0, "b": 1.05, "c": 1.01, "d": 0.9}, ["b", "c"]),
        ({"a": 9.0, "b": 8.0}, []),
        ({"a": 1.0}, []),
        ({"a": 9.0}, []),
    ],
)
def test_guilty_ones_are_left_out_else_the_worst_third_and_never_everybody(
    losses: dict[str, float], left_out: list[str]
) -> None:
    assert suspects(losses, 1.0, 0.1) == left_out


@given(st.dictionaries(st.text("abcdef", min_size=1), st.floats(0.1, 10.0), min_size=2, max_size=12))
def test_whoever_is_left_out_is_no_better_than_whoever_stays(losses: dict[str, float]) -> None:
    left_out = suspects(losses, 1.0, 0.1)
    stays = [loss for name, loss in losses.items() if name not in left_out]
    assert stays
    assert all(losses[name] >= max(stays) for name in left_out)
