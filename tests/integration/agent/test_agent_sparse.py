"""An agent of a federation with sparse deltas: what it sends and what it keeps are what it trained, over restarts."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from alignfed.codec import Factors
from alignfed.plan import Encoding, FederationPlan
from edge_agent.outbox.outbox import Outbox
from edge_agent.training.feedback import read_owed
from tests.support.agent_runs import AddingTrainer, AgentThread, MakeSettings
from tests.support.live_coordinator import LiveCoordinator
from tests.support.tiny_federation import fresh_adapter

AMOUNT = 0.5  # of which bf16 and fp32 hold every small multiple


@pytest.fixture
def sparse(coordinator: LiveCoordinator, plan: FederationPlan) -> FederationPlan:
    """A federation whose deltas hold a fifth of their elements."""
    made = dataclasses.replace(plan, federation="sparse", delta_encoding=Encoding.TOPK, topk_ratio=0.2).validate()
    coordinator.create(made, {name: torch.zeros_like(factor) for name, factor in fresh_adapter(made).items()})
    return made


def owed_by(settings: MakeSettings, plan: FederationPlan) -> Factors:
    outbox = Outbox(settings().state_dir / "outbox")
    factors = read_owed(outbox.leftovers, plan, plan.tensors).factors
    assert factors is not None
    return factors


def test_what_is_sent_and_what_is_owed_are_what_was_trained(
    coordinator: LiveCoordinator, sparse: FederationPlan, settings: MakeSettings
) -> None:
    for run in range(1, 4):  # a restart each time
        with AgentThread(settings(federation="sparse", max_deltas=2), AddingTrainer(AMOUNT).make) as agent:
            assert agent.finish().made == 2 * run
        owed = owed_by(settings, sparse)
        total = sum_of(coordinator, sparse)
        for name, factor in total.items():
            assert torch.equal(factor + owed[name], torch.full_like(factor, 2 * run * AMOUNT))
            assert int((factor != 0).sum()) > 0
    assert all(bool((factor != 0).all()) for factor in total.values()), "after five deltas every element was sent"


def sum_of(coordinator: LiveCoordinator, plan: FederationPlan) -> Factors:
    """Return the sum of all deltas that wait."""
    total = {spec.name: torch.zeros(spec.shape) for spec in plan.tensors}
    for delta in coordinator.deltas(plan.federation):
        assert delta.encoding is Encoding.TOPK
        for name, factor in coordinator.factors(plan, delta).items():
            total[name] += factor
    return total
