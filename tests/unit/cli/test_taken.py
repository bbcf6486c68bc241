"""What a merge took of a delta, against an even share, and the reasons that are named."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.cli.taken import in_words, taken
from coordinator.domain import MergedDelta, VersionId

BASE = VersionId(epoch=1, number=4, digest="ab")


def part(**changes: float) -> MergedDelta:
    figures = {"examples": 10, "freshness": 1.0, "fairness": 1.0, "weight": 0.5, "coefficient": 0.5} | changes
    return MergedDelta(
        delta_id="d", agent_id="a", base=BASE, staleness_versions=2, cosine=0.5, norm=1.0,
        **figures,  # type: ignore[arg-type]
    )  # fmt: skip


def test_equal_deltas_have_an_even_share_and_no_cause() -> None:
    merged = [part(), part()]
    found = taken(merged[0], merged)
    assert (found.even_share, found.of_even_share, found.causes) == (0.5, 1.0, ())
    assert in_words(found) == "taken with the weight of an even share"


def test_a_stale_delta_is_said_to_be_stale() -> None:
    stale, fresh = part(freshness=0.5, weight=1 / 3, coefficient=1 / 3), part(weight=2 / 3, coefficient=2 / 3)
    said = in_words(taken(stale, [stale, fresh]))
    assert said == (
        "taken with 0.67 of the weight an even share would have had, because it is staler than the average (x 0.67)"
    )


def test_an_agent_that_was_merged_seldom_is_said_to_gain() -> None:
    rare, usual = part(fairness=3.0, weight=0.75, coefficient=0.75), part(weight=0.25, coefficient=0.25)
    assert "its agent has been merged less often than the others (x 1.50)" in in_words(taken(rare, [rare, usual]))


def test_few_examples_are_named() -> None:
    small, large = part(examples=10, weight=0.25, coefficient=0.25), part(examples=30, weight=0.75, coefficient=0.75)
    assert "fewer examples than the merge's average (x 0.50)" in in_words(taken(small, [small, large]))


def test_the_fit_and_the_step_of_the_merge_are_told_apart() -> None:
    favoured, other = part(coefficient=0.3), part(coefficient=0.1)
    causes = {cause.words: cause.ratio for cause in taken(favoured, [favoured, other]).causes}
    assert causes == {
        "the calibration rows favoured it": pytest.approx(1.5),
        "the whole merge took a smaller step": pytest.approx(0.4),
    }


@pytest.mark.parametrize(
    ("coefficient", "said"), [(0.0, "nothing of it was taken"), (-0.25, "taken against its own direction, with 0.50")]
)
def test_nothing_and_less_than_nothing_have_words(coefficient: float, said: str) -> None:
    odd = part(coefficient=coefficient)
    assert in_words(taken(odd, [odd, part()])).startswith(said)


factors = st.floats(0.05, 20)


@given(st.lists(st.tuples(st.integers(1, 500), factors, factors, factors), min_size=1, max_size=6))
def test_the_named_and_unnamed_ratios_multiply_to_what_was_taken(rows: list[tuple[int, float, float, float]]) -> None:
    total = math.fsum(examples * freshness * fairness for examples, freshness, fairness, _ in rows)
    merged = [
        part(examples=examples, freshness=freshness, fairness=fairness, coefficient=coefficient,
             weight=examples * freshness * fairness / total)
        for examples, freshness, fairness, coefficient in rows
    ]  # fmt: skip
    for delta in merged:
        found = taken(delta, merged)
        named = math.prod(cause.ratio for cause in found.causes)
        unnamed = 6 - len(found.causes)
        assert found.of_even_share == pytest.approx(delta.coefficient * len(merged))
        assert 0.95**unnamed * 0.999 <= found.of_even_share / named <= 1.05**unnamed * 1.001
