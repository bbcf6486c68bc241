"""Screening and the promotion gate in the worker: every delta is merged once or rejected with its reason."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from alignfed.chunks import sha256_of
from alignfed.codec import Factors, decode, encode
from alignfed.plan import Aggregation, Buffer, Encoding, FederationPlan
from alignfed.screening import NO_SCREENING, Screening
from coordinator.algo.aggregate import replay
from coordinator.domain import DeltaRecord, DeltaState
from coordinator.ports import Store
from tests.support.factors import TENSORS, A, create_federation, merging_plan, send_delta
from tests.support.stores import open_memory_store, receipt_of
from tests.support.waiting import eventually
from tests.support.workers import (
    AnyVersion,
    adapter_of,
    merge_queue,
    new_aggregator,
    running_worker,
    settled,
)


def random_factors(seed: int) -> Factors:
    generator = torch.Generator().manual_seed(seed)
    drawn = {spec.name: torch.randn(spec.shape, generator=generator) for spec in TENSORS}
    length = sum(float(tensor.square().sum()) for tensor in drawn.values()) ** 0.5
    return {name: tensor / length for name, tensor in drawn.items()}


def plus(left: Factors, right: Factors, scale: float) -> Factors:
    return {name: left[name] + scale * right[name] for name in left}


@dataclasses.dataclass(frozen=True)
class Downhill:
    """Calibration rows whose loss falls in one direction everywhere, and is anything when asked to judge."""

    direction: Factors

    def fit_loss_and_gradient(self, _factors: Factors) -> tuple[float, Factors]:
        return 1.0, {name: -tensor for name, tensor in self.direction.items()}


class Threshold:
    """Judges by the first element: below 0.5 the loss is 1, above it 2. Negative ones are not judged worse."""

    def judge_loss(self, factors: Factors) -> float:
        return 2.0 if float(factors[A][0, 0]) > 0.5 else 1.0


def planned(screening: Screening, *, size: int = 4, judge_rows: int = 0) -> FederationPlan:
    plan = merging_plan(buffer=Buffer(size=size), judge_rows=judge_rows)
    aggregation = Aggregation(recipe="participation", max_delta_norm_ratio=0.0)
    return dataclasses.replace(plan, aggregation=aggregation, screening=screening).validate()


async def reasons_of(store: Store, deltas: list[DeltaRecord]) -> list[str]:
    return [(await receipt_of(store, delta)).reason for delta in deltas]


async def test_near_zero_deltas_and_copies_are_rejected_alone_and_long_ones_shortened() -> None:
    store, plan = open_memory_store(), planned(Screening(clip_norm_ratio=1.5))
    agents = [f"agent-{number}" for number in range(6)]
    await create_federation(store, plan, *agents)
    own = [random_factors(number) for number in range(4)]
    zero = {name: 0 * tensor for name, tensor in own[0].items()}
    long = {name: 6 * tensor for name, tensor in own[3].items()}
    copy = plus({name: 2 * tensor for name, tensor in own[0].items()}, own[1], 0.1)
    sent = [
        await send_delta(store, plan, factors, agent_id=agent)
        for factors, agent in zip([own[0], own[1], own[2], long, zero, copy], agents, strict=True)
    ]
    version = await merge_queue(store, plan, new_aggregator(store, plan))

    reasons = await reasons_of(store, sent)
    assert reasons[1:3] == ["", ""]
    assert reasons[3:5] == ["", "DELTA_NEAR_ZERO"]
    assert sorted([reasons[0], reasons[5]]) == ["", "DELTA_NEAR_DUPLICATE"]
    assert version.merge is not None
    clips = {delta.agent_id: delta.clip for delta in version.merge.deltas}
    assert clips["agent-3"] == pytest.approx(1.5 / 6, rel=0.2)
    assert clips["agent-1"] == 1.0


async def test_a_version_of_shortened_deltas_is_derived_again_bit_for_bit() -> None:
    store, plan = open_memory_store(), planned(Screening(clip_norm_ratio=1.0))
    await create_federation(store, plan, "agent-1", "agent-2", "agent-3")
    sent: dict[str, Factors] = {}
    for number, scale in enumerate((1.0, 2.0, 7.0)):
        factors = {name: scale * tensor for name, tensor in random_factors(number).items()}
        delta = await send_delta(store, plan, factors, agent_id=f"agent-{number + 1}")
        sent[delta.delta_id] = decode(encode(factors, plan.delta_encoding), plan.tensors, plan.delta_encoding)
    version = await merge_queue(store, plan, new_aggregator(store, plan))
    assert version.merge is not None
    assert sum(delta.clip < 1.0 for delta in version.merge.deltas) == 1
    again = replay(await adapter_of(store, plan, 0), version.merge, sent.__getitem__)
    assert sha256_of(encode(again, Encoding.FP32)) == version.id.digest


async def test_an_agent_that_turns_its_deltas_round_is_found_out_and_all_others_merge() -> None:
    store, plan = open_memory_store(), planned(dataclasses.replace(NO_SCREENING, reference_rows=4), judge_rows=0)
    agents = [f"agent-{number}" for number in range(4)]
    await create_federation(store, plan, *agents)
    direction = random_factors(999)
    probe = AnyVersion(Downhill(direction), can_judge=False, can_reference=True)  # type: ignore[arg-type]
    aggregator = new_aggregator(store, plan, probe=probe)
    turned: list[DeltaRecord] = []
    honest: list[DeltaRecord] = []
    for merge in range(12):
        for number, agent in enumerate(agents):
            sign = -1 if number == 0 else 1
            factors = plus(random_factors(10 * merge + number), direction, sign * 0.8)
            delta = await send_delta(store, plan, factors, agent_id=agent)
            (turned if number == 0 else honest).append(delta)
        await merge_queue(store, plan, aggregator)
    assert set(await reasons_of(store, honest)) == {""}
    assert aggregator._metrics.fleet.suspected.labels(plan.federation)._value.get() == 1
    assert (await reasons_of(store, turned))[-6:] == ["DELTA_AGAINST_CALIBRATION"] * 6
    contributions = await store.agents.contributions(plan.federation)
    assert contributions["agent-0"].merged + contributions["agent-0"].rejected == 12
    assert [contributions[agent].merged for agent in agents[1:]] == [12, 12, 12]


@pytest.mark.parametrize("tries", [0, 1])
async def test_a_bad_delta_costs_its_buffer_nothing_when_the_gate_tries_again(tries: int) -> None:
    store = open_memory_store()
    plan = planned(dataclasses.replace(NO_SCREENING, gate_tries=tries), judge_rows=1)
    agents = [f"agent-{number}" for number in range(4)]
    await create_federation(store, plan, *agents)
    values = (0.01, 0.02, 0.03, 100.0)
    sent = [await send_delta(store, plan, value, agent_id=agent) for value, agent in zip(values, agents, strict=True)]
    async with running_worker(store, probe=AnyVersion(Threshold())) as metrics:  # type: ignore[arg-type]
        await settled(store, *sent)
    assert await reasons_of(store, sent) == (["", "", "", "CANDIDATE_GATED"] if tries else ["CANDIDATE_GATED"] * 4)
    assert metrics.gate_retries.labels(plan.federation)._value.get() == tries
    receipt = await receipt_of(store, sent[3])
    if tries:
        assert "left out of a merge" in receipt.detail
        assert torch.allclose((await adapter_of(store, plan, 1))[A], torch.full((2, 8), 0.02), rtol=0.01)
    else:
        assert all(delta.delta_id in receipt.detail for delta in sent)


async def test_harm_that_deltas_do_together_is_found_by_leaving_out_the_worst() -> None:
    """None is above the threshold alone; the average of those that stay is below it once the largest third is gone."""
    store = open_memory_store()
    plan = planned(dataclasses.replace(NO_SCREENING, gate_tries=3), judge_rows=1)
    plan = dataclasses.replace(plan, aggregation=dataclasses.replace(plan.aggregation, server_learning_rate=8.0))
    await create_federation(store, plan, "agent-1", "agent-2", "agent-3")
    values = {"agent-1": 0.05, "agent-2": 0.06, "agent-3": 2.0}
    sent = [await send_delta(store, plan, value, agent_id=agent) for agent, value in values.items()]
    await merge_queue(store, plan, new_aggregator(store, plan, probe=AnyVersion(Threshold())))  # type: ignore[arg-type]
    assert await reasons_of(store, sent) == ["", "", "CANDIDATE_GATED"]


async def test_merge_after_merge_that_comes_to_nothing_puts_the_federation_on_hold_until_it_is_resumed() -> None:
    store = open_memory_store()
    plan = planned(dataclasses.replace(NO_SCREENING, gate_tries=2, hold_after_gated=2), size=1, judge_rows=1)
    await create_federation(store, plan, "agent-1")
    async with running_worker(store, probe=AnyVersion(Threshold())) as metrics:  # type: ignore[arg-type]
        rejected = [await send_delta(store, plan, 100.0) for _ in range(2)]
        await settled(store, *rejected)
        waiting = await send_delta(store, plan, 0.01)

        head = await store.versions.head(plan.federation)
        assert head.paused
        assert "of 2 merges in a row" in head.hold_reason
        assert "calibration loss would jump" in head.hold_reason
        assert (await receipt_of(store, waiting)).state is DeltaState.QUEUED

        async def shown() -> bool:
            return bool(metrics.fleet.held.labels(plan.federation)._value.get())

        await eventually(shown, what="the metric says that the federation is on hold")
        await store.federations.set_paused(plan.federation, False)
        await settled(store, waiting)
    assert (await receipt_of(store, waiting)).state is DeltaState.MERGED
    assert (await store.versions.head(plan.federation)).hold_reason == ""
    assert metrics.merges.labels(plan.federation, "gated")._value.get() == 2


async def test_a_published_version_between_two_that_come_to_nothing_counts_anew() -> None:
    store = open_memory_store()
    plan = planned(dataclasses.replace(NO_SCREENING, hold_after_gated=2), size=1, judge_rows=1)
    await create_federation(store, plan, "agent-1")
    aggregator = new_aggregator(store, plan, probe=AnyVersion(Threshold()))  # type: ignore[arg-type]
    for value in (100.0, 0.01, 100.0):
        await send_delta(store, plan, value)
        await merge_queue(store, plan, aggregator)
    assert not (await store.versions.head(plan.federation)).paused
