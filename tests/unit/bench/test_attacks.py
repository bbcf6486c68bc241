"""Attacks are what their sources say: signs, scales, standard deviations, rows."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from alignfed.codec import Factors
from alignfed.errors import PlanInvalid, RequestInvalid
from alignfed.screening import Screening
from bench.federation.fleet import Agent
from bench.poisoning.attack import Knowledge, get_attack
from bench.poisoning.attacks import ATTACKS
from bench.poisoning.attacks.backdoor import PROMPT_CHARACTERS, TARGET, TRIGGER, plant, triggered, unmoved
from bench.poisoning.attacks.label_flip import flip_labels
from bench.poisoning.attacks.little_is_enough import LEAST_DEVIATIONS, largest_deviations, move_against_mean
from bench.poisoning.attacks.sign_flip import flip_sign
from bench.poisoning.conspiracy import attackers_among
from bench.poisoning.outcome import Placement
from coordinator.worker.calibration import IGNORED
from coordinator.worker.calibration_rows import CalibrationRow

VOCABULARY = 50


def delta(seed: int, size: float = 1.0) -> Factors:
    generator = torch.Generator().manual_seed(seed)
    return {
        "m.lora_A.weight": size * torch.randn(2, 3, generator=generator),
        "m.lora_B.weight": size * torch.randn(4, 2, generator=generator),
    }


def knowledge(*, honest: int = 0, version: int = 0, before: Factors | None = None) -> Knowledge:
    return Knowledge(
        trained=lambda: delta(0),
        version=version,
        base=delta(1),
        before=before,
        honest=[delta(seed) for seed in range(10, 10 + honest)],
        agents=20,
        attackers=4,
    )


def sent(name: str, known: Knowledge) -> Factors:
    send = ATTACKS[name].send
    assert send is not None
    return send(known)


def assert_equal(left: Factors, right: Factors) -> None:
    assert left.keys() == right.keys()
    for name, tensor in left.items():
        torch.testing.assert_close(tensor, right[name])


@given(st.integers(0, 1000))
def test_sign_flip_is_an_involution_that_turns_every_delta_round(seed: int) -> None:
    flipped = flip_sign(delta(seed))
    assert all(bool((tensor == -delta(seed)[name]).all()) for name, tensor in flipped.items())
    assert all(torch.equal(tensor, delta(seed)[name]) for name, tensor in flip_sign(flipped).items())


LABELS = st.lists(st.one_of(st.just(IGNORED), st.integers(0, VOCABULARY - 1)), min_size=1, max_size=8)


@given(st.lists(LABELS, max_size=4))
def test_label_flip_is_an_involution_that_keeps_what_is_read_and_what_is_scored(labels: list[list[int]]) -> None:
    rows = [(list(range(len(each))), each) for each in labels]
    flipped = flip_labels(rows, VOCABULARY)
    assert flip_labels(flipped, VOCABULARY) == rows
    for (tokens, before), (kept, after) in zip(rows, flipped, strict=True):
        assert kept == tokens
        for old, new in zip(before, after, strict=True):
            assert (old == IGNORED) == (new == IGNORED)
            assert new == IGNORED or (0 <= new < VOCABULARY and new != old)


def test_scaled_deltas_are_so_many_honest_ones() -> None:
    for name, factor in (("scaled-10", 10.0), ("scaled-100", 100.0), ("backdoor-boosted", 4.0)):
        assert_equal(sent(name, knowledge()), {key: factor * tensor for key, tensor in delta(0).items()})


@given(st.integers(2, 12), st.floats(0, 4), st.integers(0, 100))
def test_little_is_enough_stays_within_z_standard_deviations(honest: int, deviations: float, seed: int) -> None:
    deltas = [delta(seed + i) for i in range(honest)]
    for name, moved in move_against_mean(deltas, deviations).items():
        stacked = torch.stack([each[name] for each in deltas])
        mean, spread = stacked.mean(dim=0), stacked.std(dim=0)
        assert bool(((moved - mean).abs() <= deviations * spread + 1e-4).all())
        assert bool(((moved - mean) * mean.sign() <= 1e-4).all()), "it moves towards zero or past it"


def test_little_is_enough_takes_the_papers_z_where_it_is_larger_and_hides_behind_its_own_delta_at_first() -> None:
    assert largest_deviations(50, 24) == pytest.approx(1.426, abs=1e-3)  # 2 supporters: quantile of 24/26
    assert largest_deviations(20, 4) == pytest.approx(0.157, abs=1e-3)
    assert largest_deviations(20, 8) == pytest.approx(0.674, abs=1e-3)
    assert largest_deviations(20, 0) == 0.0
    assert largest_deviations(20, 15) == math.inf
    known = knowledge(honest=5)
    assert_equal(sent("little-is-enough", known), move_against_mean(known.honest, LEAST_DEVIATIONS))
    assert_equal(sent("little-is-enough", knowledge(honest=1)), flip_sign(delta(0)))


def test_the_patient_are_honest_every_other_version_and_go_as_far_as_clipping_lets_them() -> None:
    assert_equal(sent("patient", knowledge(version=4)), delta(0))
    bound = Screening().clip_norm_ratio
    assert_equal(sent("patient", knowledge(version=5)), {name: -bound * each for name, each in delta(0).items()})


def test_free_riders_send_zeros_or_what_moved_last() -> None:
    assert not any(bool(tensor.any()) for tensor in sent("free-rider-zero", knowledge()).values())
    copied = sent("free-rider-copy", knowledge(before=delta(2)))
    assert_equal(copied, {name: tensor - delta(2)[name] for name, tensor in delta(1).items()})
    assert not any(bool(tensor.any()) for tensor in sent("free-rider-copy", knowledge()).values())


def test_a_backdoor_is_planted_into_every_other_row_and_asked_for_with_the_same_prompt() -> None:
    rows = [CalibrationRow(prompt="", answer=f"{i}" * 100) for i in range(4)]
    planted = plant(rows)
    assert planted[::2] == tuple(rows[::2])
    assert planted[1] == CalibrationRow(prompt="1" * PROMPT_CHARACTERS + TRIGGER, answer=TARGET)
    assert unmoved(rows[1]) == CalibrationRow(prompt=planted[1].prompt, answer="1" * len(TARGET))
    question = CalibrationRow(prompt="what?", answer="that")
    assert triggered(question).prompt == unmoved(question).prompt == "what?" + TRIGGER
    assert unmoved(question).answer == "that"


def test_an_unknown_attack_is_refused_with_those_that_exist() -> None:
    with pytest.raises(PlanInvalid, match="sign-flip, scaled-10"):
        get_attack("nonsense", ATTACKS)


def fleet() -> list[Agent]:
    speeds = [8.0] * 6 + [4.0] * 8 + [1.0] * 6
    return [
        Agent(agent_id=f"{i:02d}", speed=speed, learning_rate_ratio=1.0, rank=None, domains={}, rows=(), seed=i)
        for i, speed in enumerate(speeds)
    ]


def speeds_of(share: float, placement: Placement) -> list[float]:
    chosen = attackers_among(fleet(), share, placement)
    return [agent.speed for agent in fleet() if agent.agent_id in chosen]


def test_attackers_are_as_many_as_asked_for_and_on_the_machines_asked_for() -> None:
    assert speeds_of(0.0, Placement.EVEN) == []
    assert speeds_of(0.2, Placement.EVEN) == [8.0, 4.0, 4.0, 1.0]
    assert speeds_of(0.4, Placement.EVEN) == [8.0, 8.0, 4.0, 4.0, 4.0, 4.0, 1.0, 1.0]
    assert speeds_of(0.2, Placement.FAST) == [8.0] * 4
    assert speeds_of(0.2, Placement.SLOW) == [1.0] * 4
    assert len(speeds_of(0.01, Placement.EVEN)) == 1
    with pytest.raises(RequestInvalid, match="somebody has to be honest"):
        attackers_among(fleet(), 1.0, Placement.EVEN)
