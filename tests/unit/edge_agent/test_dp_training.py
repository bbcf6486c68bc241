"""DP-SGD in the agent: gradients against a loop over single sequences; bound, noise, sampling and ledger."""

from __future__ import annotations

import dataclasses
import random
from pathlib import Path

import pytest
import torch

from alignfed.codec import Factors
from alignfed.errors import RequestInvalid
from alignfed.plan import FederationPlan
from alignfed.privacy.loss import SampledSteps, sampled_epsilon
from edge_agent.data.batches import collate
from edge_agent.data.tokens import TrainingSet
from edge_agent.privacy.ledger import PrivacyLedger
from edge_agent.privacy.sampling import poisson_batches, sampling_ratio
from edge_agent.privacy.settings import DpSettings
from edge_agent.training.compute import Compute
from edge_agent.training.dp_gradients import noisy_mean
from edge_agent.training.lora_trainer import LoraTrainer
from edge_agent.training.trainer import TrainedPart, TrainingJob
from tests.support.prepared_deltas import BASE
from tests.support.tiny_federation import fresh_adapter, tiny_plan

pytestmark = pytest.mark.usefixtures("one_thread")

CPU = torch.device("cpu")
PRIVACY = DpSettings(noise_multiplier=1.0, max_grad_norm=0.5, delta=1e-3)


@pytest.fixture
def plan(tiny_model_dir: Path) -> FederationPlan:
    return tiny_plan(tiny_model_dir)


def trainer_of(plan: FederationPlan, data: TrainingSet, privacy: DpSettings | None = PRIVACY) -> LoraTrainer:
    return LoraTrainer(
        model_dir=Path(plan.base_model.name),
        plan=plan,
        data=data,
        pad_token_id=0,
        compute=Compute(device=CPU, dtype=torch.float32),
        privacy=privacy,
    )


def random_adapter(plan: FederationPlan) -> Factors:
    generator = torch.Generator().manual_seed(3)
    return {spec.name: 0.1 * torch.randn(spec.shape, generator=generator) for spec in plan.tensors}


def cut(data: TrainingSet) -> TrainingSet:
    """Rows of very different lengths, so that padding would show."""
    examples = tuple(
        dataclasses.replace(e, tokens=e.tokens[: 18 + 4 * i], labels=e.tokens[: 18 + 4 * i])
        for i, e in enumerate(data.examples[:5])
    )
    return dataclasses.replace(data, examples=examples)


@pytest.mark.parametrize("part", [TrainedPart(), TrainedPart(rank=2), TrainedPart(freeze_a=True)])
def test_clipped_sums_are_those_of_a_loop_over_single_sequences(
    plan: FederationPlan, data: TrainingSet, part: TrainedPart
) -> None:
    data = cut(data)
    plan = dataclasses.replace(plan, lora=dataclasses.replace(plan.lora, freeze_a=part.freeze_a))
    loop, trainer = trainer_of(plan, data, None), trainer_of(plan, data)
    for each in (loop, trainer):
        each._load(random_adapter(plan))
    names = [name for name, parameter in loop._parameters.items() if part.of(name, parameter).numel()]
    gradients = []
    for example in data.examples:
        loop._model.zero_grad(set_to_none=True)
        loop._model(**collate([example], pad_token_id=0, device=CPU)).loss.backward()  # one sequence, no padding
        gradients.append({name: part.of(name, loop._parameters[name].grad).clone() for name in names})
    norms = [float(torch.cat([value.flatten() for value in gradient.values()]).norm()) for gradient in gradients]
    bound = sorted(norms)[2]
    wanted = {
        name: sum(
            (gradient[name] * min(1.0, bound / size) for gradient, size in zip(gradients, norms, strict=True)),
            torch.zeros(()),
        )
        for name in names
    }
    total = {name: torch.zeros_like(value) for name, value in wanted.items()}
    assert trainer._gradients is not None
    for chunk in (data.examples[:3], data.examples[3:]):  # padded to the longest of each
        trainer._gradients.add_clipped(
            collate(chunk, pad_token_id=0, device=CPU),
            total,
            max_norm=bound,
            part=part.of,
            forward=trainer._compute.autocast(),
        )
    for name, value in wanted.items():
        torch.testing.assert_close(total[name], value, rtol=1e-3, atol=1e-6)


def test_one_sequence_moves_the_sum_by_the_bound_at_most(plan: FederationPlan, data: TrainingSet) -> None:
    trainer = trainer_of(plan, data)
    trainer._load({name: 10 * factor for name, factor in random_adapter(plan).items()})  # steep
    assert trainer._gradients is not None
    sizes = []
    for example in data.examples:
        total = {name: torch.zeros_like(p) for name, p in trainer._parameters.items()}
        batch = collate([example], pad_token_id=0, device=CPU)
        forward = trainer._compute.autocast()
        trainer._gradients.add_clipped(batch, total, max_norm=1e-3, part=TrainedPart().of, forward=forward)
        sizes.append(float(torch.cat([t.double().flatten() for t in total.values()]).norm()))
    assert max(sizes) <= 1e-3
    assert max(sizes) > 0.99e-3


def test_noise_has_the_stated_deviation_and_is_divided_by_the_expected_batch() -> None:
    zeros = {"a": torch.zeros(300, 400), "b": torch.zeros(200, 400)}
    noisy = noisy_mean(zeros, noise_multiplier=1.5, max_norm=0.4, expected=8.0)
    for value in noisy.values():
        assert float(value.std()) == pytest.approx(1.5 * 0.4 / 8, rel=0.015)
        assert float(value.mean()) == pytest.approx(0.0, abs=5 * 1.5 * 0.4 / 8 / 282)
    fixed = noisy_mean({"a": torch.full((2,), 6.0)}, noise_multiplier=1, max_norm=1, expected=3, normal=torch.ones)
    assert fixed["a"].tolist() == pytest.approx([7 / 3, 7 / 3])


def test_batches_are_drawn_row_by_row_with_the_ratio_that_is_charged() -> None:
    ratio = sampling_ratio(40, 4)
    drawn = list(poisson_batches(40, ratio, steps=5_000, random_bytes=random.Random(1).randbytes))
    sizes = torch.tensor([len(batch) for batch in drawn], dtype=torch.float64)
    assert float(sizes.mean()) == pytest.approx(4.0, abs=0.14)
    assert float(sizes.var()) == pytest.approx(40 * 0.1 * 0.9, rel=0.1)  # binomial, not fixed
    assert [] in drawn
    assert sampling_ratio(3, 4) == 1.0
    assert list(poisson_batches(3, 1.0, steps=2)) == [[0, 1, 2]] * 2
    assert list(poisson_batches(50, 0.5, steps=3)) != list(poisson_batches(50, 0.5, steps=3)), (
        "nobody can draw it again"
    )


def test_private_training_reports_the_expected_examples_and_never_the_same_delta(
    plan: FederationPlan, data: TrainingSet
) -> None:
    trainer, job = trainer_of(plan, data), TrainingJob(plan=plan, base=BASE)
    one, two = (trainer.train(fresh_adapter(plan), job) for _ in range(2))
    assert (one.examples, one.steps) == (4, 2)
    assert any(not torch.equal(one.adapter[name], two.adapter[name]) for name in one.adapter)
    assert trainer.cost_of(job) == SampledSteps(sampling_ratio=2 / 12, noise_multiplier=1.0, steps=2)


def test_private_training_still_learns_where_the_noise_is_small(plan: FederationPlan, data: TrainingSet) -> None:
    training = dataclasses.replace(plan.training, local_steps=60, batch_size=6, learning_rate=3e-2)
    plan = dataclasses.replace(plan, training=training)
    losses: list[float] = []
    trainer = trainer_of(plan, data, dataclasses.replace(PRIVACY, noise_multiplier=0.01))
    trainer.train(
        fresh_adapter(plan), TrainingJob(plan=plan, base=BASE, report=lambda report: losses.append(report.loss))
    )
    assert sum(losses[-6:]) / 6 < sum(losses[:6]) / 6 - 0.1


def test_what_does_not_go_together_is_refused(plan: FederationPlan, data: TrainingSet) -> None:
    drifting = dataclasses.replace(plan, training=dataclasses.replace(plan.training, representation_penalty=1.0))
    with pytest.raises(RequestInvalid, match="representation_penalty"):
        trainer_of(drifting, data)
    with pytest.raises(RequestInvalid, match="dp-delta"):
        trainer_of(plan, data, dataclasses.replace(PRIVACY, delta=0.2))
    with pytest.raises(RequestInvalid, match="dp-noise-multiplier"):
        DpSettings(noise_multiplier=0.0)


def test_the_ledger_adds_up_over_restarts_and_settings(tmp_path: Path) -> None:
    steps = SampledSteps(sampling_ratio=0.1, noise_multiplier=1.0, steps=10)
    louder = dataclasses.replace(steps, noise_multiplier=2.0)
    assert not PrivacyLedger.exists(tmp_path)
    for charge in (steps, steps, louder):
        ledger = PrivacyLedger(tmp_path)
        promised = ledger.epsilon_with(charge, delta=1e-5)
        ledger.charge(charge)
        assert ledger.epsilon(delta=1e-5) == pytest.approx(promised)
    again = PrivacyLedger(tmp_path)
    assert again.spent == (dataclasses.replace(steps, steps=20), louder)
    assert again.epsilon(delta=1e-5) == pytest.approx(sampled_epsilon([steps, steps, louder], delta=1e-5))


def test_a_damaged_ledger_is_no_empty_one(tmp_path: Path) -> None:
    PrivacyLedger(tmp_path).charge(SampledSteps(sampling_ratio=0.1, noise_multiplier=1.0, steps=10))
    (tmp_path / "privacy.json").write_text('{"spent": [{"steps"', "utf-8")
    with pytest.raises(RequestInvalid, match="damaged"):
        PrivacyLedger(tmp_path)
