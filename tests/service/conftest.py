"""A real coordinator on free ports over a memory store, and a raw client."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from alignfed.plan import FederationPlan
from alignfed.tracing.spans import Tracer
from coordinator.backends.memory import MemoryStore
from coordinator.domain import VersionId
from coordinator.ports import Store
from coordinator.service.config import ServiceConfig
from coordinator.service.metrics import ServiceMetrics
from coordinator.service.server import CoordinatorServer
from tests.support.raw_client import RawClient, WireDelta, wire_plan
from tests.support.stores import seed_federation
from tests.support.watched_store import WatchedStore

CONFIG = ServiceConfig(agent_listen="127.0.0.1:0", operator_listen="127.0.0.1:0", drain_seconds=5.0)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A started coordinator with a client of its own."""

    server: CoordinatorServer
    client: RawClient
    registry: CollectorRegistry

    def metric(self, name: str, **labels: str) -> float:
        """Return a sample's value; 0 when it does not exist yet."""
        return self.registry.get_sample_value(name, labels) or 0.0


Start = Callable[..., Awaitable[Running]]


@pytest.fixture
def store() -> WatchedStore:
    """A memory store that counts calls and can go away."""
    return WatchedStore(MemoryStore())


@pytest.fixture
async def start(store: WatchedStore) -> AsyncIterator[Start]:
    """Start a coordinator over the shared store; keyword arguments change its settings."""
    started: list[Running] = []

    async def start_one(over: Store | None = None, tracer: Tracer | None = None, **settings: Any) -> Running:
        registry = CollectorRegistry()
        server = CoordinatorServer(
            over or store,
            config=dataclasses.replace(CONFIG, **settings),
            metrics=ServiceMetrics(registry),
            tracer=tracer,
        )
        await server.start()
        client = RawClient(agent_port=server.agent_port, operator_port=server.operator_port)
        started.append(Running(server=server, client=client, registry=registry))
        return started[-1]

    yield start_one
    for running in started:
        await running.client.close()
        await running.server.stop()


@pytest.fixture
async def coordinator(start: Start) -> Running:
    """A coordinator with default settings."""
    return await start()


@pytest.fixture
async def plan(store: WatchedStore) -> FederationPlan:
    """A federation with two registered agents and version 0."""
    return await seed_federation(store, wire_plan())


@pytest.fixture
async def base(store: WatchedStore, plan: FederationPlan) -> VersionId:
    """The federation's head."""
    return (await store.versions.head(plan.federation)).id


@pytest.fixture
def delta(plan: FederationPlan, base: VersionId) -> WireDelta:
    """A valid delta of agent-1."""
    return WireDelta.of(plan, base)
