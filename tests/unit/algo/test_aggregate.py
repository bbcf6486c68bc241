"""The one call: properties of every recipe, exact replay, and refusal of what must never be merged."""

from __future__ import annotations

import dataclasses
import json
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from alignfed.codec import Factors
from alignfed.errors import AggregationInvalid, CalibrationMissing, ManifestMismatch, NonFinite, PlanInvalid
from alignfed.plain import from_plain
from coordinator.algo.aggregate import aggregate, replay
from coordinator.algo.calibrated import CoefficientFit
from coordinator.algo.centering import Centering
from coordinator.algo.recipe import Recipe
from coordinator.algo.recipes import RECIPES, get_recipe
from coordinator.algo.values import Aggregated, AggregationInput, DeltaInput
from coordinator.algo.weighting import Weighting
from coordinator.domain import MergeRecord, to_json
from tests.unit.algo.support import QuadraticProbe, flat, make_delta, make_factors, make_input, quick

NAMES = sorted(RECIPES)
LINEAR = [name for name in NAMES if not name.startswith("alignfed-paper")]
staleness_lists = st.lists(st.integers(0, 4), min_size=1, max_size=5)
seeds = st.integers(0, 1000)


def stale_input(staleness: list[int], seed: int = 0, *, eta: float = 0.7) -> AggregationInput:
    deltas = [
        make_delta(seed + i, staleness=tau, examples=3 + i, factors=make_factors(seed + i, scale=0.1))
        for i, tau in enumerate(staleness)
    ]
    return make_input(
        deltas,
        merged={delta.agent_id: i for i, delta in enumerate(deltas)} | {"idle": 0},
        base_factors=lambda base: make_factors(base.number),
        eta=eta,
        probe=QuadraticProbe(make_factors(4321)),
    )


def record_of(inputs: AggregationInput, merged: Aggregated, *, scale: float = 1.0) -> MergeRecord:
    """The record, through JSON, as a store keeps it."""
    record = MergeRecord(
        recipe="any",
        server_learning_rate=inputs.server_learning_rate * scale,
        deltas=merged.deltas,
        groups=merged.groups,
    )
    return from_plain(MergeRecord, json.loads(json.dumps(to_json(record))))


def loader(inputs: AggregationInput) -> dict[str, Factors]:
    return {delta.delta_id: delta.load() for delta in inputs.deltas}


@pytest.mark.parametrize("name", LINEAR)
@quick
@given(staleness=staleness_lists, seed=seeds)
def test_adapter_is_the_head_plus_the_recorded_combination(name: str, staleness: list[int], seed: int) -> None:
    inputs = stale_input(staleness, seed)
    merged = aggregate(inputs, get_recipe(name))
    loads = loader(inputs)
    combination = torch.stack([d.coefficient * flat(loads[d.delta_id]) for d in merged.deltas]).sum(dim=0)
    assert torch.allclose(flat(merged.adapter), flat(inputs.head) + 0.7 * combination, atol=1e-5)
    for delta in merged.deltas:
        alone = flat(loads[delta.delta_id])
        assert delta.norm == pytest.approx(float(alone.norm()), rel=1e-5)
        wanted = float(alone @ combination / (alone.norm() * combination.norm()))
        assert delta.cosine == pytest.approx(wanted, abs=1e-3)


@pytest.mark.parametrize("name", NAMES)
@quick
@given(staleness=staleness_lists, random=st.randoms(use_true_random=False))
def test_order_of_arrival_changes_no_bit(name: str, staleness: list[int], random: object) -> None:
    inputs = stale_input(staleness)
    shuffled = list(inputs.deltas)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    first = aggregate(inputs, get_recipe(name))
    second = aggregate(dataclasses.replace(inputs, deltas=tuple(shuffled)), get_recipe(name))
    assert torch.equal(flat(first.adapter), flat(second.adapter))
    assert (first.deltas, first.groups) == (second.deltas, second.groups)


@pytest.mark.parametrize("name", LINEAR)
@quick
@given(staleness=staleness_lists, seed=seeds, scale=st.sampled_from([1.0, 0.5, 0.25]))
def test_replay_is_bit_identical(name: str, staleness: list[int], seed: int, scale: float) -> None:
    inputs = stale_input(staleness, seed)
    merged = aggregate(inputs, get_recipe(name))
    candidate = merged.at_step_scale(scale)
    again = replay(inputs.head, record_of(inputs, merged, scale=scale), loader(inputs).__getitem__)
    assert all(torch.equal(again[tensor], candidate[tensor]) for tensor in candidate)
    if scale == 1.0:
        assert torch.equal(flat(candidate), flat(merged.adapter))


@pytest.mark.parametrize("name", ["participation", "alignfed-paper"])
@quick
@given(count=st.integers(1, 5), seed=seeds)
def test_equal_deltas_give_that_delta(name: str, count: int, seed: int) -> None:
    same = make_factors(seed, scale=0.1)
    inputs = make_input(
        [make_delta(i, factors=same, examples=1 + i) for i in range(count)], probe=QuadraticProbe(make_factors(1))
    )
    merged = aggregate(inputs, get_recipe(name))
    assert torch.allclose(flat(merged.adapter), flat(inputs.head) + flat(same), atol=1e-5)
    assert [delta.cosine for delta in merged.deltas] == pytest.approx([1.0] * count, abs=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_inputs_are_left_as_they_are(name: str) -> None:
    inputs = stale_input([0, 2])
    aggregate(inputs, get_recipe(name))
    assert torch.equal(flat(inputs.head), flat(make_factors(999)))
    for i, delta in enumerate(inputs.deltas):
        assert torch.equal(flat(delta.load()), flat(make_factors(i, scale=0.1)))


@pytest.mark.parametrize("name", ["alignfed-paper", "alignfed-paper-corrected"])
def test_fresh_groups_are_left_alone_by_alignment(name: str) -> None:
    merged = aggregate(stale_input([0, 0, 3]), get_recipe(name))
    assert [group.method for group in merged.groups] == ["none", "feature"]
    fresh = stale_input([0, 0])
    record = record_of(fresh, aggregate(fresh, get_recipe(name)))
    assert torch.equal(
        flat(replay(fresh.head, record, loader(fresh).__getitem__)),
        flat(aggregate(fresh, get_recipe(name)).adapter),
    )


def test_replay_of_an_aligned_group_says_what_is_missing() -> None:
    inputs = stale_input([0, 3])
    record = record_of(inputs, aggregate(inputs, get_recipe("alignfed-paper")))
    with pytest.raises(AggregationInvalid, match=r"alignment maps \(feature of base version 7\)"):
        replay(inputs.head, record, loader(inputs).__getitem__)
    with pytest.raises(AggregationInvalid, match="no deltas"):
        replay(inputs.head, dataclasses.replace(record, deltas=(), groups=()), loader(inputs).__getitem__)


def test_the_default_takes_less_of_a_harmful_delta() -> None:
    inputs = stale_input([0, 0])
    assert isinstance(inputs.probe, QuadraticProbe)
    good = {name: 0.3 * (best - inputs.head[name]) for name, best in inputs.probe.best.items()}
    deltas = (make_delta(1, factors=good), make_delta(2, factors={name: -tensor for name, tensor in good.items()}))
    merged = aggregate(make_input(deltas, probe=inputs.probe), get_recipe("alignfed"))
    assert merged.deltas[0].weight == merged.deltas[1].weight
    assert merged.deltas[0].coefficient > 2 * merged.deltas[1].coefficient
    assert len(merged.fit_losses) == 5
    assert inputs.probe.judge_loss(merged.adapter) < inputs.probe.judge_loss(inputs.head)


def test_literal_centring_learns_nothing_from_groups_of_one() -> None:
    literal = Recipe(name="literal", weighting=Weighting(inverse_norm=True), centering=Centering.LITERAL)
    inputs = stale_input([0, 1, 2])
    merged = aggregate(inputs, literal)
    assert torch.equal(flat(merged.adapter), flat(inputs.head))
    assert [delta.cosine for delta in merged.deltas] == [0.0, 0.0, 0.0]


def test_centred_norms_are_those_that_weigh() -> None:
    shrink = Recipe(
        name="shrink", weighting=Weighting(by_examples=False, inverse_norm=True), centering=Centering.SHRINK
    )
    inputs = stale_input([0, 0])
    merged = aggregate(inputs, shrink)
    first, second = (flat(delta.load()) for delta in inputs.deltas)
    mean = (first + second) / 2
    raw = [1 / float((mean + (delta - mean) / 2).norm()) for delta in (first, second)]
    assert [d.weight for d in merged.deltas] == pytest.approx([value / sum(raw) for value in raw], rel=1e-4)


def spoiled(change: str) -> DeltaInput:
    factors = make_factors(2, scale=0.1)
    name = "layers.1.v.lora_B.weight"
    if change == "shape":
        factors[name] = torch.zeros(4, 3)
    else:
        factors[name][0, 0] = {"nan": math.nan, "inf": math.inf, "huge": 1e30}[change]
    return make_delta(2, factors=factors)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("change", "error"), [("nan", NonFinite), ("inf", NonFinite), ("huge", NonFinite), ("shape", ManifestMismatch)]
)
def test_a_bad_delta_is_refused_by_name(name: str, change: str, error: type[NonFinite | ManifestMismatch]) -> None:
    inputs = make_input([make_delta(1), spoiled(change)], probe=QuadraticProbe(make_factors(1)))
    with pytest.raises(error) as raised:
        aggregate(inputs, get_recipe(name))
    assert raised.value.metadata["delta_id"] == "delta-0002"


@pytest.mark.parametrize("name", NAMES)
def test_recipes_run_or_ask_for_calibration(name: str) -> None:
    inputs = dataclasses.replace(stale_input([0, 1]), probe=None)
    if get_recipe(name).needs_probe:
        with pytest.raises(CalibrationMissing, match="calibration set"):
            aggregate(inputs, get_recipe(name))
    else:
        assert len(aggregate(inputs, get_recipe(name)).deltas) == 2


def test_zero_total_weight_never_makes_a_silent_copy_of_the_head() -> None:
    with pytest.raises(AggregationInvalid, match="sum to 0"):
        aggregate(make_input([make_delta(1, examples=0)]), get_recipe("participation"))


@pytest.mark.parametrize("eta", [0.0, -1.0, math.nan, math.inf])
def test_a_step_size_out_of_range_is_refused(eta: float) -> None:
    with pytest.raises(AggregationInvalid, match="server learning rate"):
        aggregate(make_input([make_delta(1)], eta=eta), get_recipe("participation"))


def test_a_head_that_is_not_finite_is_refused() -> None:
    head = make_factors(1)
    head["layers.0.q.lora_A.weight"][0, 0] = math.nan
    with pytest.raises(NonFinite, match="the head"):
        aggregate(make_input([make_delta(1)], head=head), get_recipe("participation"))


def test_fedbuff_is_the_mean_over_what_is_merged() -> None:
    inputs = make_input([make_delta(1, examples=100), make_delta(2, staleness=3)], eta=1.0)
    merged = aggregate(inputs, get_recipe("fedbuff"))
    first, second = (flat(delta.load()) for delta in inputs.deltas)
    assert torch.allclose(flat(merged.adapter), flat(inputs.head) + (first + second / 2) / 2, atol=1e-6)


def test_recipes_are_listed_when_one_is_unknown() -> None:
    with pytest.raises(PlanInvalid, match=", ".join(NAMES)):
        get_recipe("fedavg")
    assert get_recipe("alignfed").calibrate == CoefficientFit()


def test_combinations_without_meaning_are_refused() -> None:
    with pytest.raises(PlanInvalid, match="not centred"):
        Recipe(
            name="x", weighting=Weighting(), centering=Centering.SHRINK, calibrate=CoefficientFit(), needs_probe=True
        )
    with pytest.raises(PlanInvalid, match="needs_probe"):
        Recipe(name="x", weighting=Weighting(), calibrate=CoefficientFit())
