"""AlignFed's side: real agents' clients, coordinator, worker and embedded store, each a process of its own."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from alignfed.errors import LocalProcessFailed
from bench.fleet.deployment import wait_for_leaders
from bench.flower.payloads import Payload
from bench.flower.processor import Meter
from bench.flower.switchboard import Peer, Switchboard
from bench.speed.started import coordinator_with, zero_adapter
from coordinator.backends.embedded import EmbeddedValkey
from coordinator.cli.operator_client import OperatorClient
from coordinator.local.cluster import ALIGNFED, WORKER
from coordinator.local.processes import Supervisor, python_program
from edge_agent.domain import Capabilities
from edge_agent.wire.client import CoordinatorClient

_AGENT = "import sys; from bench.flower.agent import main; main(sys.argv[1:])"
MEGA = 1e6
MERGE_SECONDS = 60.0
"""Longest wait of one long poll; a merge takes far less."""


class Ours:
    """A deployment on loopback with two federations for each payload: one that merges, and one that never does.

    Args:
        stack: Ends everything.
        supervisor: Runs the processes.
        folder: For the store, logs and payloads.
        payloads: What will be carried.
        clients: How many agents take part in a merge.

    Raises:
        LocalProcessFailed: A process does not get ready.
    """

    def __init__(
        self, stack: ExitStack, supervisor: Supervisor, folder: Path, payloads: Sequence[Payload], clients: int
    ) -> None:
        self._clients = clients
        store = stack.enter_context(EmbeddedValkey(folder / "store"))
        plans = [it.plan(_uploads(it), merged_at_once=0) for it in payloads]
        plans += [it.plan(_merges(it), merged_at_once=clients) for it in payloads]
        server = stack.enter_context(coordinator_with(supervisor, folder, store.url, plans[0]))
        arguments = ["worker", "--store-url", store.url, "--base-model", str(folder), "--metrics-listen", ""]
        supervisor.start(
            python_program(WORKER, ALIGNFED, [*arguments, "--threads", "1"], stage=2, log=folder / f"{WORKER}.log")
        )
        stack.callback(supervisor.stop, [WORKER])
        with OperatorClient(server.operators) as operator:
            for plan in plans[1:]:
                operator.create_federation(plan, zero_adapter(plan), b"")
            wait_for_leaders(operator, {plan.federation for plan in plans}, check=supervisor.check)
        switchboard = stack.enter_context(Switchboard())
        self._agents = [_agent(number, supervisor, switchboard, server.address, folder) for number in range(clients)]
        for agent in self._agents:
            stack.callback(agent.end)
        self.meter = Meter({**supervisor.pids(), "store": store.pid})
        self._watchers = {}
        for it in payloads:
            watcher = CoordinatorClient(server.address, federation=_merges(it), agent_id="watcher")
            self._watchers[it.name] = stack.enter_context(watcher)
            watcher.register(Capabilities())

    def upload(self, payload: Payload) -> float:
        """Return MB/s of one agent's upload, from its call to the acknowledgement that it is durable."""
        federation = _uploads(payload)
        agent = self._agents[0]
        agent.ask("prepare", federation=federation)
        with self.meter.reading():
            seconds = agent.timed("push", federation=federation)
        return payload.total_bytes / seconds / MEGA

    def merge(self, payload: Payload) -> float:
        """Return MB/s of all agents together, from the first's call to the version that an agent sees published.

        Raises:
            LocalProcessFailed: No version is published.
        """
        federation, watcher = _merges(payload), self._watchers[payload.name]
        for agent in self._agents:
            agent.ask("prepare", federation=federation)
        before = watcher.global_version().head
        with self.meter.reading():
            for agent in self._agents:
                agent.begin("push", federation=federation)
            head = watcher.global_version(after=before.number, wait_seconds=MERGE_SECONDS).head
            ended = time.monotonic()
        began = min(float(agent.answer()["began"]) for agent in self._agents)
        if head.number != before.number + 1:
            raise LocalProcessFailed(f"version {head.number} followed {before.number}: not one merge of all deltas")
        return self._clients * payload.total_bytes / (ended - began) / MEGA


def _uploads(payload: Payload) -> str:
    return f"uploads-{payload.name}"


def _merges(payload: Payload) -> str:
    return f"merges-{payload.name}"


def _agent(number: int, supervisor: Supervisor, switchboard: Switchboard, coordinator: str, folder: Path) -> Peer:
    name = f"agent-{number}"
    arguments = [str(switchboard.port), name, coordinator, str(folder / name)]
    supervisor.start(python_program(name, _AGENT, arguments, stage=3, log=folder / f"{name}.log"))
    return switchboard.peer(name, supervisor.check)
