"""What a fleet is driven against: a deployment of one's own on loopback, or one that exists."""

from __future__ import annotations

import contextlib
import dataclasses
import secrets
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from alignfed.errors import LocalProcessFailed
from alignfed.plan import Aggregation, Buffer, FederationPlan, Retention
from bench.fleet.settings import FleetSettings
from bench.speed.started import plan_of, zero_adapter
from coordinator.backends.embedded import EmbeddedValkey
from coordinator.cli.operator_client import OperatorClient
from coordinator.local.cluster import COORDINATOR, WORKER, Cluster
from coordinator.local.processes import Supervisor
from coordinator.local.run_record import RunFolder

STORE = "store"
KEPT_RECORDS = 100_000
"""Versions whose records name every delta: all of a run, so that each can be accounted for."""
KEPT_MERGES = 8
"""Merges whose raw deltas the store holds, as `bench.fleet.scale` counts them."""
RECIPE = "fedbuff"
"""Needs no base model: what is measured is how a merge is fed and published, not what it fits."""
LEADER_SECONDS = 120.0
"""A worker loads torch first; on a laden machine that takes its time."""
LEADER_LOOK_SECONDS = 0.5


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """Where agents and operators call; `pids` are the processes that can be measured, none of them elsewhere."""

    agent_address: str
    operator_address: str
    pids: Mapping[str, int]


@contextlib.contextmanager
def embedded(supervisor: Supervisor, folder: Path) -> Iterator[Deployment]:
    """Run a store, a coordinator and a worker while the block runs, all on free loopback ports.

    Raises:
        StoreUnreachable: The embedded store does not start.
        LocalProcessFailed: A process does not get ready.
    """
    run = RunFolder(folder)
    with EmbeddedValkey(run.store) as store:
        cluster = Cluster(supervisor, run, store.url)
        try:
            cluster.start_coordinator()
            cluster.start_worker(folder)  # a recipe without calibration set never opens a base model
            pids = supervisor.pids()
            yield Deployment(
                agent_address=cluster.agent_address,
                operator_address=cluster.operator_address,
                pids={COORDINATOR: pids[COORDINATOR], WORKER: pids[WORKER], STORE: store.pid},
            )
        finally:
            supervisor.stop([WORKER])
            supervisor.stop([COORDINATOR])


def create_federation(client: OperatorClient, settings: FleetSettings) -> FederationPlan:
    """Create a federation of the fleet's own, under a name that nobody has, and return its plan.

    The fleet's deltas are noise: no other federation is to merge them.
    """
    form = plan_of(settings.parameters)
    plan = dataclasses.replace(
        form,
        federation=f"bench-fleet-{secrets.token_hex(4)}",
        buffer=Buffer(size=settings.merged_at_once, timeout_seconds=settings.buffer_seconds),
        aggregation=Aggregation(recipe=RECIPE),
        retention=Retention(delta_versions=KEPT_MERGES, record_versions=KEPT_RECORDS),
    ).validate()
    client.create_federation(plan, zero_adapter(plan), b"")
    return plan


def wait_for_worker(client: OperatorClient, federation: str) -> None:
    """Wait until a worker leads a federation: before that, nothing is merged.

    Raises:
        LocalProcessFailed: None does within `LEADER_SECONDS`.
    """
    deadline = time.monotonic() + LEADER_SECONDS
    while not any(it.federation == federation and it.worker_id for it in client.inspect().federations):
        if time.monotonic() > deadline:
            raise LocalProcessFailed(
                f"no worker leads {federation} within {LEADER_SECONDS:.0f} s: start one that works for all federations"
            )
        time.sleep(LEADER_LOOK_SECONDS)
