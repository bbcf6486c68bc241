"""A run of a real coordinator and a real worker over a real store and model, in which every one of their metrics moves.

A metric that no test moves may be named, documented, drawn and alerted on, and never be set.
"""

from __future__ import annotations

import asyncio
import dataclasses
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from google.protobuf.duration_pb2 import Duration
from prometheus_client import CollectorRegistry

from alignfed.chunks import sha256_of
from alignfed.codec import Factors, encode
from alignfed.exposition import new_registry
from alignfed.plan import Aggregation, Calibration, Encoding, FederationPlan
from alignfed.screening import NO_SCREENING
from alignfed.v1 import agent_service_pb2 as pb
from alignfed.v1 import types_pb2
from coordinator.backends.embedded import EmbeddedValkey
from coordinator.backends.redis.store import RedisStore
from coordinator.backends.urls import open_store
from coordinator.clock import SystemClock
from coordinator.domain import FederationRecord, VersionId, VersionKind, VersionRecord
from coordinator.ports import Store
from coordinator.service.config import ServiceConfig
from coordinator.service.metrics import ServiceMetrics
from coordinator.service.server import CoordinatorServer
from coordinator.store_metrics import look_at_store
from coordinator.worker.context import WorkerContext
from coordinator.worker.loop import Worker
from coordinator.worker.metrics import WorkerMetrics
from coordinator.worker.probes import Probes
from tests.integration import test_private_merges as private
from tests.integration import test_worker_screening as screening
from tests.service import test_operating_metrics as elsewhere
from tests.service import test_pace as pace
from tests.support.metric_labels import values_of
from tests.support.metric_names import Metric, metrics_of
from tests.support.raw_client import RawClient, WireDelta
from tests.support.stores import NOW, store_blob
from tests.support.tiny_federation import fresh_adapter, tiny_plan
from tests.support.waiting import eventually

FED = "tiny-fed"
WORKER_BEFORE = "worker-that-died"
FAILED_ATTEMPTS = 5
LEASE_SECONDS = 3.0
NAN_BF16 = b"\xff\x7f"
ROWS = "".join(f'{{"prompt": "{i} plus {i} is ", "completion": "{2 * i}"}}\n' for i in range(6)).encode()

MOVED_ELSEWHERE = {
    "alignfed_federation_held": (
        screening.test_merge_after_merge_that_comes_to_nothing_puts_the_federation_on_hold_until_it_is_resumed
    ),
    "alignfed_gate_retries_total": screening.test_a_bad_delta_costs_its_buffer_nothing_when_the_gate_tries_again,
    "alignfed_privacy_epsilon": private.test_a_whole_worker_publishes_noise_of_the_stated_size_and_shows_what_it_cost,
    "alignfed_privacy_epsilon_limit": (
        private.test_a_whole_worker_publishes_noise_of_the_stated_size_and_shows_what_it_cost
    ),
    "alignfed_suspected_agents": screening.test_an_agent_that_turns_its_deltas_round_is_found_out_and_all_others_merge,
    "alignfed_tls_certificate_expiry_timestamp_seconds": (
        elsewhere.test_the_first_certificate_of_the_chain_to_expire_counts
    ),
    "alignfed_paced_answers_total": pace.test_a_long_queue_asks_agents_to_come_back_later,
    "alignfed_uploads_averted_total": pace.test_a_delta_that_will_be_too_old_at_its_turn_is_not_wanted,
}
"""Metrics that cannot move in this run, which has no TLS, long queue or attacker, and the tests that move them."""

pytestmark = pytest.mark.usefixtures("one_thread")


@dataclasses.dataclass(frozen=True, slots=True)
class Watched:
    """Registries of one kind of process, and the names of metrics that were seen above or below zero."""

    registry: CollectorRegistry
    moved: set[str] = dataclasses.field(default_factory=set)
    labels: set[tuple[str, str, str]] = dataclasses.field(default_factory=set)

    def look(self) -> None:
        """Note what has a value now; figures that fall back to zero or vanish were seen all the same."""
        for family in self.registry.collect():
            for sample in family.samples:
                if not sample.name.startswith("alignfed_") or sample.name.endswith("_created"):
                    continue
                metric = metric_of(sample.name, family.name)
                self.labels.update((metric, label, value) for label, value in sample.labels.items() if label != "le")
                if sample.value and not sample.name.endswith("_bucket"):
                    self.moved.add(metric)


def metric_of(sample: str, family: str) -> str:
    return sample if sample.endswith(("_total", "_info")) else family


class Run:
    """The run's processes and what its agents do."""

    def __init__(self, store: Store, client: RawClient, plan: FederationPlan, *watched: Watched) -> None:
        self.store = store
        self.client = client
        self.plan = plan
        self.watched = watched

    async def until_moved(self, *names: str) -> None:
        """Wait until figures have been seen to move."""

        def missing() -> list[str]:
            for one in self.watched:
                one.look()
            return [name for name in names if not any(f"alignfed_{name}" in one.moved for one in self.watched)]

        async def moved() -> bool:
            return not missing()

        await eventually(moved, what=f"these move: {missing()}", timeout_seconds=30)

    async def until_head(self, number: int) -> VersionId:
        async def published() -> bool:
            for one in self.watched:
                one.look()
            return (await self.store.versions.head(FED)).id.number >= number

        await eventually(published, what=f"version {number} is published", timeout_seconds=30)
        return (await self.store.versions.head(FED)).id

    async def register(self, agent_id: str, tier: str) -> None:
        capabilities = types_pb2.AgentCapabilities(tier=tier)
        request = pb.RegisterAgentRequest(federation=FED, agent_id=agent_id, capabilities=capabilities)
        await self.client.agents.RegisterAgent(request, timeout=20)

    def delta(self, agent_id: str, base: VersionId, *, seed: int, spoilt: bool = False) -> WireDelta:
        payload = bytes(encode(some_factors(self.plan, seed), self.plan.delta_encoding))
        payload = payload[:-2] + NAN_BF16 if spoilt else payload
        return WireDelta(plan=self.plan, base=base, agent_id=agent_id, delta_id=str(uuid.uuid4()), payload=payload)

    async def send(self, agent_id: str, base: VersionId, *, seed: int, spoilt: bool = False) -> None:
        await self.client.submit(self.delta(agent_id, base, seed=seed, spoilt=spoilt).messages())

    async def poll_and_download(self, held: int) -> None:
        poll = pb.GetGlobalVersionRequest(
            federation=FED, agent_id="agent-slow", after_number=held, max_wait=Duration(nanos=10**7)
        )
        await self.client.agents.GetGlobalVersion(poll, timeout=20)
        request = pb.DownloadAdapterRequest(federation=FED, number=held, kind=types_pb2.ADAPTER_KIND_TRAINING)
        async for _ in self.client.agents.DownloadAdapter(request, timeout=20):
            pass

    async def upload_half(self, base: VersionId) -> None:
        delta = self.delta("agent-fast", base, seed=9)
        call: Any = self.client.agents.SubmitDelta(timeout=20)
        for message in delta.messages()[:2]:
            await call.write(message)
        await self.until_moved("uploads_in_progress")
        call.cancel()

    async def leave_behind(self, *, attempts: int) -> None:
        """Claim what is queued as a worker that dies, after so many attempts to merge it."""
        claimed = await self.store.deltas.claim(FED, WORKER_BEFORE, limit=10)
        for _ in range(attempts):
            claimed = await self.store.deltas.count_attempt(FED, WORKER_BEFORE, claimed)


def some_factors(plan: FederationPlan, seed: int) -> Factors:
    generator = torch.Generator().manual_seed(seed)
    return {spec.name: 0.01 * torch.randn(spec.shape, generator=generator) for spec in plan.tensors}


def plan_of(model_dir: Path) -> FederationPlan:
    """Return a plan whose recipe aligns stale groups by an objective, and judges."""
    return tiny_plan(
        model_dir,
        aggregation=Aggregation(recipe="alignfed-paper"),
        screening=dataclasses.replace(NO_SCREENING, clip_norm_ratio=1.0, reference_rows=2, max_suspicion=100.0),
        calibration=Calibration(fit_rows=2, judge_rows=2, sequence_length=32, max_loss_increase_ratio=10.0),
    )


async def create(store: Store, plan: FederationPlan) -> VersionId:
    adapter = await store_blob(store, FED, bytes(encode(fresh_adapter(plan), Encoding.FP32)))
    first = VersionId(epoch=0, number=0, digest=sha256_of(bytes(encode(fresh_adapter(plan), Encoding.FP32))))
    initial = VersionRecord(id=first, kind=VersionKind.INITIAL, parent=None, adapter=adapter, created_at=NOW)
    rows = await store_blob(store, FED, ROWS)
    await store.federations.create(FederationRecord(plan=plan, calibration=rows, created_at=NOW), initial)
    return first


@asynccontextmanager
async def store_open(url: str) -> AsyncIterator[Store]:
    """Open the test's own way to the store, and limit its memory: the figure of no limit is 0."""
    store = open_store(url)
    assert isinstance(store, RedisStore)
    try:
        await store._calls.command("CONFIG SET", "maxmemory", "1gb")
        yield store
    finally:
        await store.close()


@asynccontextmanager
async def coordinator_running(url: str, registry: CollectorRegistry) -> AsyncIterator[RawClient]:
    metrics = ServiceMetrics(registry)
    store = open_store(url, observe=metrics.store.observe_call)
    config = ServiceConfig(agent_listen="127.0.0.1:0", operator_listen="127.0.0.1:0")
    server = CoordinatorServer(store, config=config, metrics=metrics)
    await server.start()
    client = RawClient(agent_port=server.agent_port, operator_port=server.operator_port)
    try:
        await look_at_store(store, metrics.store)
        yield client
    finally:
        await client.close()
        await server.stop()
        await store.close()


@asynccontextmanager
async def worker_running(url: str, registry: CollectorRegistry) -> AsyncIterator[None]:
    metrics = WorkerMetrics(registry)
    store = open_store(url, observe=metrics.store.observe_call)
    context = WorkerContext(store=store, clock=SystemClock(), metrics=metrics, worker_id="worker-1", sweep_seconds=0.2)
    probes = Probes(store.blobs, base_model=None, threads=1)
    stop = asyncio.Event()
    task = asyncio.create_task(Worker(context, probes, lease_ttl_seconds=LEASE_SECONDS).run(stop))
    try:
        await look_at_store(store, metrics.store)
        yield
    finally:
        stop.set()
        await task
        await store.close()


def names_of(registry: CollectorRegistry) -> set[str]:
    return {metric.name for metric in metrics_of(registry)}


async def scenario(run: Run, url: str, worker: CollectorRegistry, first: VersionId) -> None:
    """What the agents, the operator and a worker's crash do to the federation."""
    for agent_id, tier in (("agent-fast", "fast"), ("agent-slow", "slow"), ("agent-idle", "slow")):
        await run.register(agent_id, tier)
    await run.upload_half(first)
    await run.send("agent-fast", first, seed=1)
    await run.leave_behind(attempts=FAILED_ATTEMPTS)  # it becomes a dead letter
    for seed in (2, 3):
        await run.send("agent-fast", first, seed=seed)
    await run.leave_behind(attempts=0)  # they are delivered again
    await run.store.federations.set_paused(FED, True)
    async with worker_running(url, worker):
        await run.until_moved("federation_paused", "queue_deltas", "queue_pending_deltas", "dead_letters_total")
        await run.store.federations.set_paused(FED, False)
        second = await run.until_head(1)
        await run.send("agent-slow", first, seed=4)
        await run.send("agent-fast", second, seed=5)
        await run.until_head(2)
        await run.send("agent-fast", second, seed=6, spoilt=True)
        await run.send("agent-fast", second, seed=7)
        await run.until_moved(
            "deltas_rejected_total", "calibration_loss", "dead_letter_deltas", "retention_let_go_total"
        )
        await run.poll_and_download(1)
        await run.store.versions.roll_back(FED, 1, at=NOW)
        await run.until_moved("lease_lost_total")


async def test_every_metric_of_coordinator_and_worker_moves(tmp_path: Path, tiny_model_dir: Path) -> None:
    watched = {name: Watched(CollectorRegistry()) for name in ("coordinator", "worker")}
    plan = plan_of(tiny_model_dir)
    with EmbeddedValkey(tmp_path / "store") as valkey:
        async with (
            store_open(valkey.url) as store,
            coordinator_running(valkey.url, watched["coordinator"].registry) as client,
        ):
            first = await create(store, plan)
            run = Run(store, client, plan, *watched.values())
            await scenario(run, valkey.url, watched["worker"].registry, first)
            for one in watched.values():
                one.look()

    for process, one in watched.items():
        unmoved = names_of(one.registry) - one.moved - set(MOVED_ELSEWHERE)
        assert not unmoved, f"no test moves these metrics of the {process}: {sorted(unmoved)}"
        for metric, label, value in one.labels:
            assert values_of(metric, label).allow(value), f"{metric} has {label}={value!r}, which nobody has listed"
            assert not value.startswith("agent-"), f"{metric} names an agent"


async def test_nothing_has_moved_before_anything_happens() -> None:
    """The test above counts what is not zero, so everything must be zero at first."""
    for metrics in (ServiceMetrics, WorkerMetrics):
        one = Watched(CollectorRegistry())
        metrics(one.registry)
        one.look()
        assert one.moved == set()


@pytest.mark.parametrize("component", ["coordinator", "worker", "agent"])
def test_every_process_says_what_it_is(component: str) -> None:
    registry = new_registry(component)
    (build,) = [metric for metric in metrics_of(registry) if metric.name == "alignfed_build_info"]
    assert isinstance(build, Metric)
    samples = [s for family in registry.collect() for s in family.samples if s.name == build.name]
    assert [(sample.labels["component"], sample.value) for sample in samples] == [(component, 1)]
