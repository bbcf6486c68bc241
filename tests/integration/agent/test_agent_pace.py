"""An agent does as the coordinator asks: it pauses while the queue is long, and sends nothing that is not wanted."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from alignfed.errors import BaseVersionTooOld
from alignfed.plan import Buffer, FederationPlan, Limits, Retention
from edge_agent.training.trainer import TrainingJob
from tests.support.agent_runs import AddingTrainer, AgentThread, MakeSettings, read_status
from tests.support.live_coordinator import OTHER_AGENT, LiveCoordinator
from tests.support.stores import new_agent, submit
from tests.support.tiny_federation import CHUNK_BYTES, fresh_adapter, tiny_plan
from tests.support.waiting import wait_until
from tests.support.wiretap import Wiretap

COMFORTABLE = 4
PAUSED = "the coordinator asks for no other delta"


@pytest.fixture
def plan(coordinator: LiveCoordinator, tiny_model_dir: Path) -> FederationPlan:
    """A federation that is asked to pause when more than four deltas wait, and keeps two versions."""
    plan = dataclasses.replace(
        tiny_plan(tiny_model_dir),
        buffer=Buffer(size=1),
        limits=Limits(chunk_bytes=CHUNK_BYTES, max_queue_deltas=2 * COMFORTABLE),
        retention=Retention(versions=2),
    )
    coordinator.stop()
    coordinator.start(queue_reread_seconds=0.05)
    coordinator.create(plan, fresh_adapter(plan))
    return plan


def fill(coordinator: LiveCoordinator, plan: FederationPlan, count: int) -> None:
    coordinator.run(coordinator.store.agents.register(plan.federation, new_agent(OTHER_AGENT)))
    for _ in range(count):
        coordinator.run(submit(coordinator.store, plan.federation, agent_id=OTHER_AGENT))


def test_it_pauses_while_the_queue_is_long_and_then_trains_from_the_newest_version(
    coordinator: LiveCoordinator, plan: FederationPlan, settings: MakeSettings
) -> None:
    trainer = AddingTrainer(before=lambda number, _job: fill(coordinator, plan, COMFORTABLE) if number == 1 else None)
    with AgentThread(settings(max_deltas=2), trainer.make) as agent:
        wait_until(lambda: PAUSED in read_status(settings()).get("detail", ""), what="the agent pauses")
        assert len(trainer.jobs) == 1, "it trains although it was asked not to"
        merged = coordinator.publish(plan, fresh_adapter(plan, seed=1), merged=coordinator.claim(plan.federation))
        assert agent.finish(timeout_seconds=60).made == 2
    assert trainer.jobs[1].base.number == merged.number


def test_it_stops_at_once_while_it_pauses(
    coordinator: LiveCoordinator, plan: FederationPlan, settings: MakeSettings
) -> None:
    trainer = AddingTrainer(before=lambda _number, _job: fill(coordinator, plan, COMFORTABLE))
    with AgentThread(settings(), trainer.make) as agent:
        wait_until(lambda: PAUSED in read_status(settings()).get("detail", ""), what="the agent pauses")
        assert agent.stop().made == 1


def test_it_sends_no_byte_of_a_delta_that_is_too_old(
    coordinator: LiveCoordinator, plan: FederationPlan, settings: MakeSettings
) -> None:
    def others_are_faster(number: int, _job: TrainingJob) -> None:
        if number == 1:
            for seed in range(2):
                coordinator.publish(plan, fresh_adapter(plan, seed=seed))

    tap = Wiretap(coordinator.port)
    try:
        trainer = AddingTrainer(before=others_are_faster)
        with AgentThread(settings(coordinator=tap.address, max_deltas=1), trainer.make) as agent:
            totals = agent.finish()
        assert b"/alignfed.v1.AgentService/QueryUpload" in tap.sent
        assert b"/alignfed.v1.AgentService/SubmitDelta" not in tap.sent
    finally:
        tap.close()
    assert (totals.made, totals.rejected) == (1, 1)
    (rejection,) = (settings().state_dir / "outbox" / "rejected").glob("*/rejection.json")
    assert json.loads(rejection.read_text())["reason"] == BaseVersionTooOld.reason
