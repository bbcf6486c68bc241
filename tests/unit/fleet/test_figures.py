"""Figures add up over processes, subtract over time, and say how news spread."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from bench.fleet.figures import Durations, Figures, summed
from bench.fleet.spread import spread_of, spreads, typical


def test_quantiles_are_right_within_two_percent() -> None:
    durations = Durations()
    for milliseconds in range(1, 1001):
        durations.add(milliseconds / 1000)
    assert durations.quantile(0.5) == pytest.approx(0.5, rel=0.02)
    assert durations.quantile(0.99) == pytest.approx(0.99, rel=0.02)
    assert durations.quantile(1.0) == pytest.approx(1.0, rel=0.02)
    assert Durations().quantile(0.5) is None


def test_no_duration_is_too_short_to_count() -> None:
    durations = Durations()
    durations.add(0.0)
    assert durations.count == 1


def figures(polls: int, seconds: float) -> Figures:
    found = Figures()
    found.counts["polls"] += polls
    found.refusals["QUEUE_FULL"] += polls
    found.took("polls", seconds)
    found.learnt("f", 1, 3, at=100.0)
    return found


def test_figures_survive_the_way_between_processes() -> None:
    sent = figures(2, 0.1)
    assert Figures.from_plain(json.loads(json.dumps(sent.to_plain()))).to_plain() == sent.to_plain()
    assert sent.to_plain(with_news=False)["news"] == []


def test_processes_add_up_and_time_subtracts() -> None:
    both = summed([figures(2, 0.1), figures(3, 0.2)])
    assert both.counts["polls"] == both.refusals["QUEUE_FULL"] == 5
    assert both.durations["polls"].count == 2
    assert both.news == {("f", 2): Counter({20_000: 2}), ("f", 3): Counter({20_000: 2})}
    later = summed([both, figures(1, 0.4)]).since(both)
    assert later.counts == {"polls": 1}
    assert later.durations["polls"].quantile(0.5) == pytest.approx(0.4, rel=0.02)


def test_an_agent_that_skips_a_version_has_learnt_of_it_too() -> None:
    assert figures(1, 0.1).news == {("f", 2): Counter({20_000: 1}), ("f", 3): Counter({20_000: 1})}


def test_news_spread_from_the_making_and_from_the_first_who_knew() -> None:
    ticks = Counter({20_000: 1, 20_100: 98, 20_400: 1})
    spread = spread_of(("f", 3), ticks, made_at=99.5)
    assert (spread.told, spread.p50, spread.p99, spread.last) == (100, 1.0, 1.0, 2.5)
    assert (spread.fanned_p50, spread.fanned_p99, spread.fanned_last) == (0.5, 0.5, 2.0)


def test_a_version_that_few_have_heard_of_says_nothing() -> None:
    news = {("f", 1): Counter({20_000: 90}), ("f", 2): Counter({20_000: 10}), ("g", 1): Counter({20_000: 95})}
    heard = spreads(news, {("f", 1): 99.0, ("f", 2): 99.0}, least_told=50)
    assert [(spread.federation, spread.version) for spread in heard] == [("f", 1)]
    assert typical(heard, lambda spread: spread.last) == 1.0
    assert typical([], lambda spread: spread.last) is None
