"""Screening: what trained nothing, copies and agents that work against the calibration set are kept out of a merge."""

from __future__ import annotations

import dataclasses
import functools
import random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from alignfed.codec import Factors
from alignfed.errors import DeltaAgainstCalibration, DeltaDuplicated, DeltaNearZero
from alignfed.screening import NO_SCREENING, Screening
from coordinator.algo.factors import norm
from coordinator.algo.screening.evidence import Evidence, weighed
from coordinator.algo.screening.references import References
from coordinator.algo.screening.screening import KEPT_SKETCHES, Memory, Standard, after_merge, screen
from coordinator.algo.screening.sketch import sketch
from coordinator.algo.values import DeltaInput
from coordinator.domain import VersionId
from tests.unit.algo.support import make_delta, make_factors, quick

NOTHING = Standard(usual_norm=None, references=None)


def scaled(factors: Factors, scale: float) -> Factors:
    return {name: scale * tensor for name, tensor in factors.items()}


def wide(seed: int) -> Factors:
    """A delta of 5,000 elements: sketches of tiny ones say little."""
    generator = torch.Generator().manual_seed(seed)
    return {f"{part}.weight": torch.randn(50, 50, generator=generator) for part in "ab"}


def sent(seed: int, factors: Factors, *, agent: str | None = None) -> DeltaInput:
    return make_delta(seed, factors=factors, agent=agent)


# ---- near zero -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("scale", "kept"), [(0.0, False), (0.0009, False), (0.0011, True), (1.0, True)])
def test_a_delta_that_is_nearly_zero_is_refused(scale: float, kept: bool) -> None:
    base = wide(1)
    found = screen(
        [sent(1, scaled(base, scale))], Memory(), Screening(), dataclasses.replace(NOTHING, usual_norm=norm(base))
    )
    assert bool(found.kept) == kept
    if not kept:
        assert isinstance(found.refused["delta-0001"], DeltaNearZero)
        assert "screening.min_delta_norm_ratio" in found.refused["delta-0001"].message


def test_before_anything_is_usual_only_zero_is_near_zero() -> None:
    found = screen([sent(1, scaled(wide(1), 1e-9)), sent(2, scaled(wide(2), 0.0))], Memory(), Screening(), NOTHING)
    assert set(found.refused) == {"delta-0002"}


# ---- copies ----------------------------------------------------------------------------------------------------------


@quick
@given(seed=st.integers(0, 10_000), scale=st.floats(0.1, 10), noise=st.floats(0, 0.2))
def test_a_disguised_copy_is_found_and_the_earlier_one_stays(seed: int, scale: float, noise: float) -> None:
    original, other = wide(seed), wide(seed + 20_000)
    copy = {name: scale * (original[name] + noise * other[name]) for name in original}
    found = screen([sent(2, original), sent(1, copy)], Memory(), Screening(), dataclasses.replace(NOTHING, seed=seed))
    assert [delta.delta_id for delta in found.kept] == ["delta-0002"]
    assert isinstance(found.refused["delta-0001"], DeltaDuplicated)
    assert "delta-0002" in found.refused["delta-0001"].message


@quick
@given(seed=st.integers(0, 10_000))
def test_unlike_deltas_are_no_copies_even_when_they_agree_a_good_deal(seed: int) -> None:
    common, deltas = wide(seed), []
    for number in range(6):
        own = wide(seed + 1 + number)
        deltas.append(sent(number, {name: common[name] + 0.8 * own[name] for name in own}))
    assert not screen(deltas, Memory(), Screening(), dataclasses.replace(NOTHING, seed=seed)).refused


def test_copies_of_published_deltas_are_found_and_the_same_delta_again_is_none() -> None:
    original, unpublished = sent(1, wide(1)), sent(2, wide(2))
    first = screen([original, unpublished], Memory(), Screening(), NOTHING)
    memory = after_merge(Memory(), first, {original.delta_id})

    again = screen([original, sent(3, wide(1)), sent(4, wide(2))], memory, Screening(), NOTHING)

    assert [delta.delta_id for delta in again.kept] == ["delta-0001", "delta-0004"]
    assert set(again.refused) == {"delta-0003"}


def test_the_memory_of_copies_is_bounded() -> None:
    memory = Memory()
    for number in range(KEPT_SKETCHES + 10):
        delta = sent(number, {"a": torch.nn.functional.one_hot(torch.tensor([number % 500]), 512).float()})
        found = screen([delta], dataclasses.replace(memory, sketches={}), Screening(), NOTHING)
        memory = after_merge(memory, found, {delta.delta_id})
    assert len(memory.sketches) == KEPT_SKETCHES
    assert "delta-0009" not in memory.sketches
    assert "delta-0010" in memory.sketches


def test_sketches_keep_inner_products_of_any_length() -> None:
    for size in (3, 512, 65_536, 65_536 * 2 + 777):
        generator = torch.Generator().manual_seed(size)
        left = torch.randn(size, generator=generator)
        right = left + torch.randn(size, generator=generator)
        wanted = float(torch.nn.functional.cosine_similarity(left, right, dim=0))
        errors = [
            abs(float(sketch({"x": left}, seed=seed) @ sketch({"x": right}, seed=seed)) - wanted) for seed in range(20)
        ]
        assert sum(errors) / len(errors) < 0.05
    assert not sketch({"x": torch.zeros(10)}, seed=1).any()


# ---- against the calibration set -------------------------------------------------------------------------------------


def drawn(agents: dict[str, float], *, deltas: int, seed: int) -> dict[str, list[bool]]:
    """Feed cosines drawn with each agent's mean in turn, and say which deltas were above the bound."""
    generator = random.Random(seed)
    evidence = Evidence()
    rejected: dict[str, list[bool]] = {agent: [] for agent in agents}
    for _ in range(deltas):
        for agent, mean in agents.items():
            evidence = weighed(evidence, agent, generator.gauss(mean, 0.07), bound=3.0)
            rejected[agent].append(evidence.suspicion.get(agent, 0.0) > 3.0)
    return rejected


def test_honest_agents_with_noisy_cosines_are_left_alone_and_turned_ones_caught() -> None:
    """As measured on unlike data: a mean of 0.04, a spread of 0.07, so that a third of honest deltas point uphill."""
    agents = {f"honest-{i}": 0.04 for i in range(8)} | {f"turned-{i}": -0.04 for i in range(2)}
    honest: list[bool] = []
    turned: list[bool] = []
    late: list[bool] = []
    for seed in range(20):
        for agent, flags in drawn(agents, deltas=50, seed=seed).items():
            (honest if agent.startswith("honest") else turned).extend(flags)
            if agent.startswith("turned"):
                late += flags[20:]
    assert sum(honest) / len(honest) < 0.02
    assert sum(turned) / len(turned) > 0.75
    assert sum(late) / len(late) > 0.95


def test_an_agent_that_mends_its_ways_is_heard_again_soon() -> None:
    evidence = Evidence(suspicion={"agent": 1e9}, mean_square=0.0025, seen=100)
    levels = []
    for _ in range(8):
        evidence = weighed(evidence, "agent", 0.05, bound=3.0)
        levels.append(evidence.suspicion.get("agent", 0.0))
    assert levels == sorted(levels, reverse=True)
    assert levels[0] == pytest.approx(6.0)
    assert levels[-1] == 0.0


def test_one_huge_cosine_neither_convicts_by_itself_nor_blinds_the_evidence() -> None:
    evidence = Evidence(mean_square=0.0025, seen=100)
    once = weighed(evidence, "agent", -1.0, bound=3.0)
    assert once.suspicion["agent"] <= 3.0
    assert once.mean_square < 1.2 * evidence.mean_square


def test_each_delta_is_compared_at_its_own_base_and_every_base_is_computed_once() -> None:
    asked: list[int] = []
    directions = {number: make_factors(number) for number in (8, 9, 10)}

    def gradient_at(base: VersionId) -> Factors:
        asked.append(base.number)
        return directions[base.number]

    standard = dataclasses.replace(NOTHING, references=References(gradient_at))
    settings = dataclasses.replace(NO_SCREENING, reference_rows=4)
    deltas = [
        make_delta(i, staleness=staleness, factors=scaled(directions[10 - staleness], -0.1))
        for i, staleness in enumerate([0, 1, 2, 0, 1, 2])
    ]
    found = screen(deltas, Memory(), settings, standard)
    assert all(cosine == pytest.approx(1.0, abs=0.01) for cosine in found.cosines.values())
    assert len(found.kept) == 6
    assert sorted(asked) == [8, 9, 10]


def test_an_agent_that_turns_its_deltas_round_is_refused_with_the_reason() -> None:
    direction = make_factors(3)
    standard = dataclasses.replace(NOTHING, references=References(lambda _base: direction))
    settings = dataclasses.replace(NO_SCREENING, reference_rows=4)
    memory, refused = Memory(), []
    for number in range(40):
        bad = number % 4 == 0
        own = make_factors(100 + number)
        factors = {name: (1 if bad else -1) * direction[name] + own[name] for name in direction}
        delta = make_delta(number, factors=factors, agent="turned" if bad else f"agent-{number % 4}")
        found = screen([delta], memory, settings, standard)
        memory = after_merge(memory, found, set())
        refused += [(delta.agent_id, error) for error in found.refused.values()]
    assert {agent for agent, _ in refused} == {"turned"}
    assert len(refused) >= 5
    assert isinstance(refused[0][1], DeltaAgainstCalibration)
    assert "screening.max_suspicion" in refused[0][1].message


def test_what_is_refused_otherwise_is_no_evidence_and_a_merge_tried_again_counts_once() -> None:
    standard = Standard(usual_norm=1.0, references=References(lambda _base: wide(9)))
    memory = Memory()
    delta = sent(1, wide(9))
    first, second = (screen([delta], memory, Screening(), standard) for _ in range(2))
    assert first.evidence == second.evidence
    assert screen([sent(2, scaled(wide(9), 0.0))], memory, Screening(), standard).evidence == Evidence()


def test_switched_off_everything_passes_as_it_is() -> None:
    deltas = [sent(1, wide(1)), sent(2, wide(1)), sent(3, scaled(wide(1), 0.0))]
    assert screen(deltas, Memory(), NO_SCREENING, Standard(usual_norm=1.0, references=None)).kept == tuple(deltas)


def test_loads_are_not_kept() -> None:
    """What is remembered is small: no delta stays in memory because it was screened."""
    factors = wide(1)
    delta = sent(1, factors)
    memory = after_merge(Memory(), screen([delta], Memory(), Screening(), NOTHING), {delta.delta_id})
    assert functools.reduce(lambda total, kept: total + kept.nbytes, memory.sketches.values(), 0) == 2048
