"""An agent against a real coordinator: it takes part, follows the head, and is refused what it must be refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from prometheus_client import CollectorRegistry

from alignfed.codec import Factors
from alignfed.errors import AgentRevoked, DataUnusable, NonFinite, RequestInvalid, UnknownFederation, WrongBaseModel
from alignfed.plan import FederationPlan, Retention
from edge_agent.metrics import AgentMetrics
from edge_agent.outbox.outbox import Outbox
from edge_agent.training.trainer import TrainingJob, TrainingResult
from edge_agent.training.workload import read_workload
from tests.support.agent_runs import AddingTrainer, AgentThread, MakeSettings, read_status
from tests.support.live_coordinator import LiveCoordinator
from tests.support.tiny_federation import fresh_adapter, tiny_plan, write_rows
from tests.support.waiting import wait_until


def is_filled(factors: Factors, value: float) -> bool:
    return all(torch.allclose(factor, torch.tensor(value), atol=0.02) for factor in factors.values())


def test_an_agent_trains_on_its_data_and_its_deltas_are_merged(
    coordinator: LiveCoordinator, plan: FederationPlan, settings: MakeSettings, tmp_path: Path
) -> None:
    workload = read_workload(
        data=[str(write_rows(tmp_path / "rows.jsonl"))], extensions=None, device="cpu", precision="fp32", threads=1
    )
    here = settings(max_deltas=3, tier="fast", examples=12, memory_bytes=1 << 30)
    with AgentThread(here, workload.make_trainer) as agent:
        assert agent.finish().made == 3
    assert coordinator.queued(plan.federation) == 3
    (record,) = coordinator.run(coordinator.store.agents.list(plan.federation))
    assert (record.agent_id, record.tier, record.examples, record.device) == ("agent-1", "fast", 12, "cpu")

    claimed = coordinator.claim(plan.federation)
    for queued in claimed:
        assert queued.delta.base == coordinator.head(plan.federation)
        assert (queued.delta.examples, queued.delta.local_steps) == (4, 2)
        factors = coordinator.factors(plan, queued.delta)
        assert all(factor.abs().max() > 0 for name, factor in factors.items() if ".lora_B." in name)
    head = coordinator.publish(plan, fresh_adapter(plan, seed=1), merged=claimed)

    with AgentThread(settings(max_deltas=1), workload.make_trainer) as again:
        wait_until(lambda: read_status(here)["deltas_merged"] == 3, what="merged deltas are settled")
        assert again.finish().made == 4
    final = read_status(here)
    assert (final["state"], final["base_version"], final["deltas_made"]) == ("stopped", head.number, 4)
    assert (final["step"], final["steps"], final["agent_id"]) == (2, 2, "agent-1")
    outbox = Outbox(here.state_dir / "outbox")
    assert (len(outbox.pending), len(outbox.acknowledged)) == (0, 1)


def test_a_delta_is_taken_against_the_version_it_was_trained_from(
    coordinator: LiveCoordinator, plan: FederationPlan, settings: MakeSettings
) -> None:
    """The head moves while the agent trains: the delta must not contain the difference of the two versions."""
    newer = fresh_adapter(plan, seed=5)

    def move_the_head(number: int, _job: TrainingJob) -> None:
        if number == 1:
            coordinator.publish(plan, newer)

    trainer = AddingTrainer(0.5, before=move_the_head)
    with AgentThread(settings(max_deltas=2), trainer.make) as agent:
        agent.finish()
    first, second = coordinator.deltas(plan.federation)
    assert (first.base.number, second.base.number) == (0, 1)
    assert first.base.digest != second.base.digest == coordinator.head(plan.federation).digest
    assert is_filled(coordinator.factors(plan, first), 0.5)
    assert is_filled(coordinator.factors(plan, second), 0.5)


def test_an_agent_started_before_its_coordinator_waits_for_it(
    coordinator: LiveCoordinator, plan: FederationPlan, settings: MakeSettings, caplog: pytest.LogCaptureFixture
) -> None:
    coordinator.stop()
    with AgentThread(settings(max_deltas=1), AddingTrainer().make) as agent:
        wait_until(lambda: "COORDINATOR_UNREACHABLE" in caplog.text, what="the agent says that nobody answers")
        coordinator.start()
        assert agent.finish().made == 1
    assert coordinator.queued(plan.federation) == 1


def test_another_base_model_is_refused_before_anything_is_trained(settings: MakeSettings, tmp_path: Path) -> None:
    from tests.support.tiny_model import make_tiny_model

    other = make_tiny_model(tmp_path / "other", seed=1)
    trainer = AddingTrainer()
    with AgentThread(settings(base_model=str(other)), trainer.make) as agent, pytest.raises(WrongBaseModel) as caught:
        agent.finish()
    assert "--base-model" in caught.value.message
    assert str(other) in caught.value.message
    assert trainer.jobs == []


def test_a_revoked_agent_stops_and_keeps_its_work(
    coordinator: LiveCoordinator, plan: FederationPlan, settings: MakeSettings
) -> None:
    here = settings()

    def revoke(number: int, _job: TrainingJob) -> None:
        if number == 2:
            coordinator.revoke(plan.federation, "agent-1")

    with AgentThread(here, AddingTrainer(before=revoke).make) as agent, pytest.raises(AgentRevoked):
        agent.finish()
    assert read_status(here)["state"] == "stopped"
    outbox = Outbox(here.state_dir / "outbox")
    assert len(outbox.pending) + len(outbox.acknowledged) >= 2
    with AgentThread(here, AddingTrainer().make) as agent, pytest.raises(AgentRevoked):
        agent.finish()


def test_an_unknown_federation_ends_the_agent(settings: MakeSettings) -> None:
    with (
        AgentThread(settings(federation="no-such"), AddingTrainer().make) as agent,
        pytest.raises(UnknownFederation),
    ):
        agent.finish()


def test_deltas_that_a_store_failover_lost_are_sent_again_under_their_ids(
    coordinator: LiveCoordinator, plan: FederationPlan, settings: MakeSettings
) -> None:
    here = settings(max_deltas=2)
    with AgentThread(here, AddingTrainer().make) as agent:
        agent.finish()
    held = [entry.meta.delta_id for entry in Outbox(here.state_dir / "outbox").acknowledged]
    assert len(held) == 2

    coordinator.stop()
    coordinator.lose_everything()
    coordinator.create(plan, fresh_adapter(plan))
    coordinator.start()
    with AgentThread(settings(), AddingTrainer(before=lambda *_: None).make) as agent:
        wait_until(
            lambda: all(coordinator.receipt(plan.federation, delta_id) for delta_id in held),
            what="lost deltas arrive again",
        )
        agent.stop()


def test_an_agent_that_the_coordinator_forgot_registers_again(
    coordinator: LiveCoordinator, plan: FederationPlan, settings: MakeSettings
) -> None:
    def forget(number: int, _job: TrainingJob) -> None:
        if number == 1:
            coordinator.stop()
            coordinator.lose_everything()
            coordinator.create(plan, fresh_adapter(plan))
            coordinator.start()

    with AgentThread(settings(max_deltas=2), AddingTrainer(before=forget).make) as agent:
        agent.finish()
    assert [agent.agent_id for agent in coordinator.run(coordinator.store.agents.list(plan.federation))] == ["agent-1"]
    assert coordinator.queued(plan.federation) == 2


def test_a_rejected_delta_is_recorded_with_its_reason_and_training_goes_on(
    coordinator: LiveCoordinator, tiny_model_dir: Path, settings: MakeSettings, caplog: pytest.LogCaptureFixture
) -> None:
    plan = tiny_plan(tiny_model_dir, federation="forgetful", retention=Retention(versions=2))
    coordinator.create(plan, fresh_adapter(plan))

    def run_ahead(number: int, _job: TrainingJob) -> None:
        for version in range(3 if number == 1 else 0):
            coordinator.publish(plan, fresh_adapter(plan, seed=10 + version))

    here = settings(federation=plan.federation, max_deltas=2)
    with AgentThread(here, AddingTrainer(before=run_ahead).make) as agent:
        totals = agent.finish()
    assert (totals.made, totals.rejected) == (2, 1)
    (file,) = (here.state_dir / "outbox" / "rejected").glob("*/rejection.json")
    rejection = json.loads(file.read_text("utf-8"))
    assert rejection["reason"] == "BASE_VERSION_TOO_OLD"
    assert rejection["detail"]
    said = [record for record in caplog.records if record.name == "edge_agent.journal"]
    assert [getattr(record, "reason", "") for record in said].count("BASE_VERSION_TOO_OLD") == 1
    assert [delta.base.number for delta in coordinator.deltas(plan.federation)] == [3]


def test_training_that_diverges_is_discarded_and_tried_again_a_few_times(
    coordinator: LiveCoordinator, plan: FederationPlan, settings: MakeSettings
) -> None:
    class Diverging(AddingTrainer):
        def __init__(self, times: int) -> None:
            super().__init__()
            self._times = times

        def train(self, adapter: Factors, job: TrainingJob) -> TrainingResult:
            if len(self.jobs) < self._times:
                self.jobs.append(job)
                raise NonFinite("the loss is nan")
            return super().train(adapter, job)

    twice = Diverging(2)
    with AgentThread(settings(max_deltas=1), twice.make) as agent:
        agent.finish()
    assert [job.sequence for job in twice.jobs] == [0, 1, 2]  # each time with other data
    assert coordinator.queued(plan.federation) == 1
    with AgentThread(settings(max_deltas=1), Diverging(99).make) as agent, pytest.raises(NonFinite):
        agent.finish()


def test_a_restart_goes_on_in_the_data(plan: FederationPlan, settings: MakeSettings) -> None:
    jobs: list[TrainingJob] = []
    for _ in range(2):
        trainer = AddingTrainer()
        with AgentThread(settings(max_deltas=2), trainer.make) as agent:
            agent.finish()
        jobs += trainer.jobs
    assert [job.sequence for job in jobs] == [0, 1, 2, 3]
    assert len({job.seed for job in jobs}) == 1


def test_a_slowed_agent_delivers_late_and_its_work_survives_being_stopped(
    coordinator: LiveCoordinator, plan: FederationPlan, settings: MakeSettings
) -> None:
    def take_time(_number: int, job: TrainingJob) -> None:
        wait_until(lambda: read_status(here)["state"] == "training", what="training shows")

    here = settings(slowdown=10_000.0)
    with AgentThread(here, AddingTrainer(before=take_time).make) as agent:
        wait_until(lambda: read_status(here)["state"] == "sleeping", what="the agent acts slow")
        assert coordinator.queued(plan.federation) == 0
        assert agent.stop().made == 1
    assert len(Outbox(here.state_dir / "outbox").pending) == 1


def test_a_state_directory_serves_one_agent_at_a_time(settings: MakeSettings, plan: FederationPlan) -> None:
    here = settings(slowdown=10_000.0)
    with AgentThread(here, AddingTrainer().make):
        wait_until(lambda: read_status(here)["state"] == "sleeping", what="the first agent is at work")
        with AgentThread(here, AddingTrainer().make) as second, pytest.raises(RequestInvalid, match="another agent"):
            second.finish()
    for other in (settings(agent_id="agent-2"), settings(federation="another")):
        with AgentThread(other, AddingTrainer().make) as agent, pytest.raises(RequestInvalid, match="belongs to"):
            agent.finish()


def test_metrics_move_and_have_no_agent_label(
    coordinator: LiveCoordinator, plan: FederationPlan, settings: MakeSettings
) -> None:
    import urllib.request

    pages: list[str] = []

    def scrape(number: int, _job: TrainingJob) -> None:
        if number == 2:
            wait_until(lambda: coordinator.queued(plan.federation) == 1, what="the first delta is uploaded")
            wait_until(lambda: 'outcome="acknowledged"' in read(), what="the acknowledgement is counted")
            pages.append(read())

    def read() -> str:
        with urllib.request.urlopen(f"http://{listen}/metrics", timeout=10) as response:
            return str(response.read().decode())

    listen = free_address()
    with AgentThread(settings(max_deltas=2, metrics_listen=listen), AddingTrainer(before=scrape).make) as agent:
        agent.finish()
    label = f'federation="{plan.federation}"'
    assert f'alignfed_agent_deltas_total{{{label},outcome="made"}} 1.0' in pages[0]
    assert f"alignfed_agent_base_version{{{label}}} 0.0" in pages[0]
    assert f'alignfed_agent_outbox_deltas{{{label},state="acknowledged"}} 1.0' in pages[0]
    assert f"alignfed_agent_upload_bytes_total{{{label}}}" in pages[0]
    assert "agent-1" not in pages[0]


def free_address() -> str:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as free:
        return f"127.0.0.1:{free.getsockname()[1]}"


def test_every_metric_of_training_is_recorded() -> None:
    registry = CollectorRegistry()
    metrics = AgentMetrics(registry, federation="fed")
    metrics.step(seconds=0.5, loss=2.5)
    metrics.retry("QUEUE_FULL")
    metrics.downloaded(10)
    sample = {(s.name, s.labels.get("reason", "")): s.value for m in registry.collect() for s in m.samples}
    assert sample["alignfed_agent_training_step_seconds_sum", ""] == 0.5
    assert sample["alignfed_agent_training_loss", ""] == 2.5
    assert sample["alignfed_agent_retries_total", "QUEUE_FULL"] == 1
    assert sample["alignfed_agent_download_bytes_total", ""] == 10


def test_bad_data_is_found_before_anybody_is_contacted(tmp_path: Path) -> None:
    with pytest.raises(DataUnusable):
        read_workload(data=[str(tmp_path / "no.jsonl")], extensions=None, device="cpu", precision="fp32", threads=0)
