"""Private merges: the bound against adversarial deltas, the noise, what is withheld, which recipes can be private."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from alignfed.codec import Factors
from alignfed.errors import AggregationInvalid, ManifestMismatch, NonFinite, PlanInvalid
from alignfed.plan import Aggregation, BaseModel, FederationPlan, Lora, Retention
from alignfed.plan_proto import plan_from_proto, plan_to_proto
from alignfed.privacy.central import CentralPrivacy
from coordinator.algo.aggregate import replay
from coordinator.algo.privacy.bounded import is_bounded
from coordinator.algo.privacy.budget import epsilon_after, participations_allowed
from coordinator.algo.privacy.merge import PrivateMerge, aggregate_privately
from coordinator.algo.recipes import RECIPES
from coordinator.algo.recipes.requirements import recipe_of
from coordinator.algo.values import AggregationInput, DeltaInput
from coordinator.domain import MergeRecord
from tests.unit.algo.support import make_delta, make_factors, make_input, quick

FEDBUFF = RECIPES["fedbuff"]
PRIVACY = CentralPrivacy(noise_multiplier=1.5, clip_norm=0.3, delta=1e-3)
ETA = 0.7


def silent(shape: torch.Size) -> torch.Tensor:
    return torch.zeros(shape, dtype=torch.float64)


def settings_of(**changes: object) -> PrivateMerge:
    plain = PrivateMerge(privacy=PRIVACY, buffer_size=4, freeze_a=False, normal=silent)
    return dataclasses.replace(plain, **changes)  # type: ignore[arg-type]


def buffer_of(*deltas: DeltaInput) -> AggregationInput:
    return make_input(list(deltas), merged={delta.agent_id: 0 for delta in deltas}, eta=ETA)


def distance(one: Factors, two: Factors) -> float:
    return math.sqrt(math.fsum(float(((one[name] - two[name]).double() ** 2).sum()) for name in one))


factors = st.builds(
    lambda seed, scale, spike: {
        name: scale * value + (spike if "lora_B" in name else 0.0) for name, value in make_factors(seed).items()
    },
    st.integers(0, 1000),
    st.sampled_from([0.0, 1e-20, 1e-3, 1.0, 1e4, 1e15]),
    st.sampled_from([0.0, 1e8, -1e12]),
)


@quick
@given(factors, st.lists(st.tuples(factors, st.integers(0, 5)), max_size=3), st.integers(0, 5))
def test_an_agent_moves_the_merge_by_the_bound_at_most_whatever_it_and_the_others_send(
    mine: Factors, others: list[tuple[Factors, int]], staleness: int
) -> None:
    rest = [make_delta(10 + i, staleness=tau, factors=value) for i, (value, tau) in enumerate(others)]
    zeros = {name: torch.zeros_like(value) for name, value in mine.items()}
    with_mine = buffer_of(make_delta(1, staleness=staleness, factors=mine), *rest)
    with_zeros = buffer_of(make_delta(1, staleness=staleness, factors=zeros), *rest)
    adapters = [aggregate_privately(inputs, FEDBUFF, settings_of()).adapter for inputs in (with_mine, with_zeros)]
    bound = ETA * PRIVACY.clip_norm / 4
    ulp = 2.0**-23 * math.sqrt(sum(float((value.double() ** 2).sum()) for value in with_mine.head.values()))
    assert distance(*adapters) <= bound + 4 * ulp  # the head's own rounding: post-processing, and the same without mine
    if rest:  # a delta that is rejected is no different from one of zeros
        assert distance(aggregate_privately(buffer_of(*rest), FEDBUFF, settings_of()).adapter, adapters[1]) <= 4 * ulp


def test_the_bound_is_reached_by_a_fresh_delta_and_not_by_a_stale_or_a_short_one() -> None:
    def moved(size: float, staleness: int) -> float:
        delta = make_delta(1, staleness=staleness, factors=make_factors(1, scale=size))
        inputs = buffer_of(delta)
        return distance(aggregate_privately(inputs, FEDBUFF, settings_of()).adapter, inputs.head)

    bound = ETA * PRIVACY.clip_norm / 4
    assert moved(100.0, 0) == pytest.approx(bound, rel=1e-4)
    assert moved(100.0, 3) == pytest.approx(bound / 2, rel=1e-4)  # 1 / sqrt(1 + 3)
    assert moved(1e-3, 0) < bound / 10


def test_noise_has_the_stated_deviation_and_is_the_same_at_every_step_scale() -> None:
    wide = {name: torch.zeros(200, 300) for name in ("x.lora_A.weight", "x.lora_B.weight")}
    delta = make_delta(1, factors={name: torch.zeros(200, 300) for name in wide})
    inputs = dataclasses.replace(buffer_of(delta), head=wide)
    from alignfed.privacy.noise import standard_normal

    made = aggregate_privately(inputs, FEDBUFF, settings_of(normal=standard_normal))
    deviation = ETA * 1.5 * 0.3 / 4
    for value in made.adapter.values():
        assert float(value.std()) == pytest.approx(deviation, rel=0.02)
        assert float(value.mean()) == pytest.approx(0.0, abs=5 * deviation / math.sqrt(60_000))
    half = made.at_step_scale(0.5)
    assert all(torch.allclose(half[name], 0.5 * made.adapter[name]) for name in wide), "one draw, not one per try"
    again = aggregate_privately(inputs, FEDBUFF, settings_of(normal=standard_normal))
    assert not torch.equal(again.adapter["x.lora_A.weight"], made.adapter["x.lora_A.weight"])


def test_a_frozen_a_gets_neither_noise_nor_what_a_delta_smuggles_into_it() -> None:
    inputs = buffer_of(make_delta(1))
    made = aggregate_privately(inputs, RECIPES["ffa-lora"], settings_of(freeze_a=True, normal=torch.ones))
    for name, value in made.adapter.items():
        assert torch.equal(value, inputs.head[name]) == ("lora_A" in name)


def test_what_the_record_says_of_a_delta_does_not_depend_on_its_values_and_replay_says_why_it_cannot() -> None:
    small, large = (
        aggregate_privately(buffer_of(make_delta(1, factors=make_factors(2, scale=s))), FEDBUFF, settings_of())
        for s in (1e-3, 1e3)
    )
    assert small.deltas == large.deltas
    assert small.groups == large.groups
    record = MergeRecord(
        recipe="fedbuff", server_learning_rate=ETA, deltas=small.deltas, groups=small.groups,
        unrecorded=small.unrecorded,
    )  # fmt: skip
    with pytest.raises(AggregationInvalid, match="privacy noise"):
        replay(make_factors(0), record, lambda _delta_id: make_factors(1))


def test_two_deltas_of_one_agent_too_many_and_broken_ones_are_refused() -> None:
    twice = buffer_of(make_delta(1, agent="a"), make_delta(2, agent="a"))
    with pytest.raises(AggregationInvalid, match="one delta of each agent"):
        aggregate_privately(twice, FEDBUFF, settings_of())
    with pytest.raises(AggregationInvalid, match="fill the buffer"):
        aggregate_privately(buffer_of(*map(make_delta, range(5))), FEDBUFF, settings_of())
    broken = {name: torch.full_like(value, math.nan) for name, value in make_factors(1).items()}
    with pytest.raises(NonFinite) as caught:
        aggregate_privately(buffer_of(make_delta(1, factors=broken)), FEDBUFF, settings_of())
    assert caught.value.metadata["delta_id"] == "delta-0001"
    with pytest.raises(ManifestMismatch):
        aggregate_privately(buffer_of(make_delta(1, factors=make_factors(1, rank=3))), FEDBUFF, settings_of())


def plan_of(recipe: str, privacy: CentralPrivacy = PRIVACY) -> FederationPlan:
    return FederationPlan(
        federation="fed",
        base_model=BaseModel(name="m"),
        lora=Lora(freeze_a=True),
        aggregation=Aggregation(recipe=recipe),
        privacy=privacy,
    )


def test_only_recipes_with_a_bound_can_be_private_and_the_refusal_names_them() -> None:
    assert {name for name, recipe in RECIPES.items() if is_bounded(recipe)} == {"fedbuff", "ffa-lora"}
    assert recipe_of(plan_of("fedbuff")) is FEDBUFF
    assert recipe_of(plan_of("alignfed", CentralPrivacy())) is RECIPES["alignfed"]
    with pytest.raises(PlanInvalid, match="fedbuff or ffa-lora"):
        recipe_of(plan_of("alignfed"))


def test_as_many_participations_are_allowed_as_the_epsilon_bears_and_no_more() -> None:
    privacy = CentralPrivacy(noise_multiplier=4.0, delta=1e-5, max_epsilon=4.5)
    allowed = participations_allowed(privacy)
    assert allowed == 16  # sigma 4 sixteen times is sigma 1 once: 4.377
    assert epsilon_after(allowed, privacy) <= 4.5 < epsilon_after(allowed + 1, privacy)
    assert participations_allowed(dataclasses.replace(privacy, max_participations=3)) == 3
    with pytest.raises(PlanInvalid, match="max_participations"):
        participations_allowed(dataclasses.replace(privacy, max_participations=17))
    with pytest.raises(PlanInvalid, match="noise_multiplier"):
        participations_allowed(dataclasses.replace(privacy, noise_multiplier=0.1))


def test_the_settings_travel_and_a_plan_without_them_is_as_it_was() -> None:
    plan = plan_of("fedbuff", dataclasses.replace(PRIVACY, max_participations=7, min_separation_versions=3))
    assert plan_from_proto(plan_to_proto(plan)) == plan
    plain = plan_to_proto(plan_of("fedbuff", CentralPrivacy()))
    assert not plain.HasField("privacy")
    assert plan_from_proto(plain).privacy == CentralPrivacy()
    for changes in ({"clip_norm": 0.0}, {"delta": 1.0}, {"min_separation_versions": 0}, {"noise_multiplier": -1.0}):
        with pytest.raises(PlanInvalid, match=r"privacy\."):
            plan_of("fedbuff", dataclasses.replace(PRIVACY, **changes)).validate()
    short = dataclasses.replace(plan, retention=Retention(versions=2))
    with pytest.raises(PlanInvalid, match="min_separation_versions"):
        short.validate()
