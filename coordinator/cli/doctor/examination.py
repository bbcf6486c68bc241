"""Runs every group of checks, each on what the ones before it have found."""

from __future__ import annotations

import asyncio
import time

from alignfed.errors import AlignFedError, RequestInvalid
from coordinator.cli.doctor import certificates, clocks, disks, federations, models, ports, store, versions
from coordinator.cli.doctor.agent_state import check_agent_state
from coordinator.cli.doctor.answering import Answering
from coordinator.cli.doctor.findings import Finding, not_checked, problem
from coordinator.cli.doctor.target import Place, Target
from coordinator.cli.operator_client import OperatorClient
from coordinator.cli.operator_views import AgentView, FederationHealthView, InspectionView

AT_COORDINATOR = ("clock here", "clock of the store", "coordinator version", "federations", "base models")
"""Checks that only a coordinator's answer allows."""


class Examination:
    """Examines one target and collects findings. Reads only."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._agents: dict[str, list[AgentView]] = {}
        self._memory_used_bytes = 0
        self._version = ""

    def run(self) -> list[Finding]:
        """Run every check that can be run and return what each found."""
        target = self._target
        operator, answering = ports.check_operator(target)
        findings = [operator, ports.check_agents(target)]
        found, _ = ports.check_http("HTTP address", target.http, "coordinator", seconds=target.seconds)
        findings += found
        findings += self._certificates()
        findings += self._at_coordinator() if answering is Answering.OPERATORS else self._without_coordinator()
        findings += self._store_from_here()
        findings += self._worker()
        findings.append(
            disks.check_disk(
                "disk of the store",
                target.data_dir,
                named=target.data_dir_named,
                memory_used_bytes=self._memory_used_bytes,
            )
        )
        if target.state_dir is not None:
            findings += check_agent_state(target.state_dir, self._agents)
            findings.append(disks.check_disk("disk of the agent", target.state_dir, named=True))
        return findings

    def _certificates(self) -> list[Finding]:
        target = self._target
        places = [("operator certificate", target.operator)]
        if target.tls is not None and not target.agents.guessed:
            places.append(("agents' certificate", target.agents.address))
        return [
            certificates.check_certificate(check, address, target.tls, seconds=target.seconds)
            for check, address in places
        ]

    def _at_coordinator(self) -> list[Finding]:
        target = self._target
        with OperatorClient(target.operator, tls=target.tls, call_seconds=target.seconds) as client:
            asked_at = time.time()
            try:
                inspection = client.inspect()
            except RequestInvalid:
                advice = "update the coordinator: it is older than this program"
                return [problem("coordinator version", "it does not know how to be inspected", advice)]
            except AlignFedError as error:
                return [problem("coordinator", f"it could not be inspected: {error.message}", "look into its log")]
            answered_at = time.time()
            self._version = inspection.software_version
            findings = [
                versions.check_coordinator(inspection.software_version),
                clocks.check_here(inspection, asked_at, answered_at),
                *store.check_store(inspection, "the coordinator"),
                *clocks.check_store_clocks(inspection),
            ]
            self._memory_used_bytes = sum(server.memory_used_bytes for server in inspection.store)
            return findings + self._federations(client, inspection)

    def _federations(self, client: OperatorClient, inspection: InspectionView) -> list[Finding]:
        target = self._target
        healths = {health.federation: health for health in inspection.federations}
        if not inspection.store:
            return [not_checked("federations", "the store does not answer", "mend the store first")]
        findings = []
        for name in target.federations or tuple(healths):
            if name not in healths:
                findings.append(
                    problem(f"federation {name}", "there is none of that name", "see the names with `alignfed status`")
                )
                continue
            try:
                findings += self._federation(client, healths[name])
            except AlignFedError as error:
                findings.append(problem(f"federation {name}", error.message, "look into the coordinator's log"))
        if not healths:
            advice = "create one with `alignfed federations create PLAN.toml`"
            findings.append(not_checked("federations", "there are none yet", advice))
        return findings

    def _federation(self, client: OperatorClient, health: FederationHealthView) -> list[Finding]:
        name = health.federation
        view = client.federation(name)
        agents = self._agents[name] = client.agents(name)
        now = time.time()
        return [
            *federations.check_federation(view, health, now=now),
            versions.check_agents(name, agents, coordinator=self._version, now=now),
            models.check_base_model(view.plan, self._target.base_model),
        ]

    def _without_coordinator(self) -> list[Finding]:
        why = "the coordinator was not reached"
        return [not_checked(check, why, "mend the operator address first") for check in AT_COORDINATOR]

    def _store_from_here(self) -> list[Finding]:
        """Check the store as this machine sees it: what a worker started here would find."""
        target = self._target
        if not target.store_url:
            if self._version:
                return []
            return [not_checked("store", "the coordinator was not reached", "give --store-url to check it from here")]
        try:
            inspection = asyncio.run(_inspect_store(target.store_url, target.blob_url))
        except RequestInvalid as error:
            return [problem("store from here", error.message, "correct --store-url or --blob-url")]
        self._memory_used_bytes = sum(server.memory_used_bytes for server in inspection.store)
        if self._version:
            found = store.check_store(inspection, "this machine")[0]
            return [Finding(check="store from here", outcome=found.outcome, found=found.found, advice=found.advice)]
        return store.check_store(inspection, "this machine")

    def _worker(self) -> list[Finding]:
        target = self._target
        if not target.worker_http:
            return [versions.check_worker("", self._version)]
        place = Place(address=target.worker_http)
        findings, version = ports.check_http("worker's HTTP", place, "worker", seconds=target.seconds)
        return [*findings, versions.check_worker(version, self._version)] if version else findings


async def _inspect_store(url: str, blob_url: str) -> InspectionView:
    from coordinator.backends.urls import open_store  # redis is part of the `coordinator` extra
    from coordinator.clock import SystemClock
    from coordinator.service.inspection import inspect

    opened = open_store(url, blob_url=blob_url)
    try:
        found = await inspect(opened, SystemClock())
    finally:
        await opened.close()
    return InspectionView(
        software_version="", now=found.at, store=found.store, store_problem=found.store_problem, federations=()
    )
