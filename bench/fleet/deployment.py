"""What a fleet is driven against: a deployment of one's own on loopback, or one that exists."""

from __future__ import annotations

import contextlib
import dataclasses
import secrets
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path

from alignfed.errors import LocalProcessFailed
from alignfed.plan import Aggregation, Buffer, FederationPlan, Retention
from bench.fleet.settings import FleetSettings
from bench.speed.started import plan_of, zero_adapter
from coordinator.backends.embedded import EmbeddedValkey
from coordinator.cli.operator_client import OperatorClient
from coordinator.local.cluster import ALIGNFED, COORDINATOR, WORKER, free_ports, log_format, wait_until_serving
from coordinator.local.processes import Supervisor, python_program
from coordinator.local.run_record import RunFolder

STORE = "store"
KEPT_RECORDS = 100_000
"""Versions whose records name every delta: all of a run, so that each can be accounted for."""
RECIPE = "fedbuff"
"""Needs no base model: what is measured is how a merge is fed and published, not what it fits."""
LEADER_SECONDS = 120.0
"""A worker loads torch first; on a laden machine that takes its time."""
LEADER_LOOK_SECONDS = 0.2
_COORDINATOR_STAGE, _WORKER_STAGE = 1, 2


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """Where agents and operators call.

    Attributes:
        agent_address: One for all coordinators.
        operator_address: Of any coordinator.
        pids: The processes that can be measured, by name: `coordinator`, `coordinator-2`, ...; none of them elsewhere.
        metrics: Where each coordinator serves its metrics; none elsewhere.
    """

    agent_address: str
    operator_address: str
    pids: Mapping[str, int]
    metrics: Mapping[str, str] = dataclasses.field(default_factory=dict)


@contextlib.contextmanager
def embedded(
    supervisor: Supervisor, folder: Path, *, coordinators: int = 1, workers: int = 1, base_model: Path | None = None
) -> Iterator[Deployment]:
    """Run a store, coordinators on one port and workers for all federations while the block runs, on loopback.

    Args:
        supervisor: Runs the processes.
        folder: For the store and logs.
        coordinators: How many.
        workers: How many.
        base_model: Directory of the base model; None where no recipe opens it.

    Raises:
        StoreUnreachable: The embedded store does not start.
        LocalProcessFailed: A process does not get ready.
    """
    run = RunFolder(folder)
    with EmbeddedValkey(run.store) as store:
        port, *others = free_ports(1 + 2 * coordinators)
        shared = f"127.0.0.1:{port}"
        operators = dict(zip(_names(COORDINATOR, coordinators), others[:coordinators], strict=True))
        metrics = dict(zip(operators, (f"127.0.0.1:{it}" for it in others[coordinators:]), strict=True))
        merging = _names(WORKER, workers)
        try:
            for name, operator in operators.items():
                own = ["--agent-listen", shared, "--operator-listen", f"127.0.0.1:{operator}", "--drain-seconds", "2"]
                sharing = ["--share-port"] if coordinators > 1 else []
                served = ["--metrics-listen", metrics[name]]
                _start(supervisor, run, name, store.url, [COORDINATOR, *own, *sharing, *served], _COORDINATOR_STAGE)
            for name, operator in operators.items():
                wait_until_serving(f"127.0.0.1:{operator}", supervisor, log=run.log(name))
            for name in merging:
                model = ["--base-model", str(base_model or folder)]
                arguments = [WORKER, *model, "--threads", "1", "--metrics-listen", ""]
                _start(supervisor, run, name, store.url, arguments, _WORKER_STAGE)
            pids = supervisor.pids()
            yield Deployment(
                agent_address=shared,
                operator_address=f"127.0.0.1:{operators[COORDINATOR]}",
                pids={**{name: pids[name] for name in (*operators, *merging)}, STORE: store.pid},
                metrics=metrics,
            )
        finally:
            supervisor.stop(merging)
            supervisor.stop(list(operators))


def create_federations(client: OperatorClient, settings: FleetSettings) -> list[FederationPlan]:
    """Create the fleet's own federations, under names that nobody has, and return their plans.

    The fleet's deltas are noise: no other federation is to merge them.
    """
    form = plan_of(settings.parameters)
    run = secrets.token_hex(4)
    plans = []
    for number in range(settings.federations):
        plan = dataclasses.replace(
            form,
            federation=f"bench-fleet-{run}" + (f"-{number + 1}" if settings.federations > 1 else ""),
            buffer=Buffer(size=settings.merged_at_once, timeout_seconds=settings.buffer_seconds),
            aggregation=Aggregation(recipe=RECIPE),
            retention=Retention(record_versions=KEPT_RECORDS),
        ).validate()
        client.create_federation(plan, zero_adapter(plan), b"")
        plans.append(plan)
    return plans


def leaders_of(client: OperatorClient, federations: Collection[str]) -> dict[str, str]:
    """Return the id of the worker that leads each federation; those that none leads are left out."""
    found = client.inspect().federations
    return {it.federation: it.worker_id for it in found if it.federation in federations and it.worker_id}


def wait_for_leaders(
    client: OperatorClient,
    federations: Collection[str],
    *,
    check: Callable[[], None],
    seconds: float = LEADER_SECONDS,
) -> None:
    """Wait until a worker leads each federation: before that, nothing is merged.

    Args:
        client: Of a coordinator.
        federations: Their names.
        check: Raises when there is no use in waiting any longer.
        seconds: How long to wait.

    Raises:
        LocalProcessFailed: One has no leader by then.
    """
    deadline = time.monotonic() + seconds
    while without := set(federations) - leaders_of(client, federations).keys():
        check()
        if time.monotonic() > deadline:
            raise LocalProcessFailed(
                f"no worker leads {', '.join(sorted(without))} within {seconds:.0f} s: start one that works for all "
                "federations"
            )
        time.sleep(LEADER_LOOK_SECONDS)


def _names(role: str, count: int) -> list[str]:
    return [role, *(f"{role}-{number}" for number in range(2, count + 1))]


def _start(supervisor: Supervisor, run: RunFolder, name: str, store_url: str, arguments: list[str], stage: int) -> None:
    words = [*arguments, "--log-format", log_format()]
    program = python_program(name, ALIGNFED, words, stage=stage, log=run.log(name))
    environment = {**program.environment, "ALIGNFED_STORE_URL": store_url, "ALIGNFED_INSECURE": "true"}  # on loopback
    supervisor.start(dataclasses.replace(program, environment=environment))
