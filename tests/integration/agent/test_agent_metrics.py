"""What an agent tells Prometheus, when it is asked to: every one of its metrics moves, and none names it."""

from __future__ import annotations

import urllib.request
from pathlib import Path

from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from alignfed.layout import layout_of
from alignfed.plan import FederationPlan
from edge_agent.identity.folder import IdentityFolder, Joined
from edge_agent.metrics import AgentMetrics
from edge_agent.privacy.settings import DpSettings
from edge_agent.training.workload import read_workload
from tests.support.agent_runs import AgentThread, MakeSettings
from tests.support.identities import Deployment
from tests.support.live_coordinator import OTHER_AGENT, LiveCoordinator
from tests.support.metric_labels import values_of
from tests.support.metric_names import metrics_of
from tests.support.servers import free_port
from tests.support.stores import submit
from tests.support.tiny_federation import fresh_adapter, write_rows
from tests.support.waiting import wait_until

PRIVACY = DpSettings(noise_multiplier=1.0, delta=1e-3)


class Scraped:
    """What was seen on an agent's `/metrics` so far: metrics that were not zero, and the values of their labels."""

    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}/metrics"
        self.moved: set[str] = set()
        self.labels: set[tuple[str, str, str]] = set()

    def look(self) -> None:
        try:
            with urllib.request.urlopen(self._url, timeout=5) as response:
                text = response.read().decode()
        except OSError:  # not started yet
            return
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if not sample.name.startswith("alignfed_") or sample.name.endswith(("_created", "_bucket")):
                    continue
                name = sample.name.removesuffix("_count").removesuffix("_sum")
                self.labels.update((name, label, value) for label, value in sample.labels.items())
                if sample.value:
                    self.moved.add(name)

    def wait_for(self, *names: str) -> None:
        def missing() -> list[str]:
            self.look()
            return sorted(set(names) - self.moved)

        wait_until(lambda: not missing(), what=f"these move: {missing()}")


def join_by_hand(folder: IdentityFolder, deployment: Deployment, federation: str) -> None:
    """Give agent-1 the identity that joining would."""
    issued = deployment.agent("agent-1", federation)
    folder.prepare()
    (folder.path / "key.pem").write_bytes(issued.key)
    folder.keep(
        Joined(agent_id="agent-1", coordinator="", federation=federation),
        certificate=issued.certificate,
        authority=deployment.root,
        version_keys=b"",
    )


def test_every_metric_of_an_agent_moves(
    coordinator: LiveCoordinator, plan: FederationPlan, settings: MakeSettings, tmp_path: Path
) -> None:
    workload = read_workload(
        data=[str(write_rows(tmp_path / "rows.jsonl"))],
        extensions=None,
        device="cpu",
        precision="fp32",
        threads=1,
        privacy=PRIVACY,
    )
    coordinator.publish(plan, fresh_adapter(plan, seed=1))
    for _ in range(5):  # of ten that may wait: the agent is asked to pause after its first delta
        coordinator.run(submit(coordinator.store, plan.federation, agent_id=OTHER_AGENT))
    places_bytes = 10 * layout_of(plan.tensors, plan.delta_encoding).total_bytes
    coordinator.stop()
    port = free_port()
    scraped = Scraped(port)
    deployment, folder = Deployment(tmp_path / "identities"), IdentityFolder(tmp_path / "state")
    join_by_hand(folder, deployment, plan.federation)
    tls = folder.tls()
    shown = {"tls_ca": tls.ca, "tls_certificate": tls.certificate, "tls_key": tls.key}
    with AgentThread(settings(metrics_listen=f"127.0.0.1:{port}", privacy=PRIVACY, **shown), workload.make_trainer):
        scraped.wait_for("alignfed_agent_retries_total")
        coordinator.start(**deployment.settings(max_federation_bytes=places_bytes, queue_reread_seconds=0.05))
        registry = CollectorRegistry()
        AgentMetrics(registry, federation=plan.federation)
        scraped.wait_for("alignfed_build_info", *(metric.name for metric in metrics_of(registry)))
    for metric, label, value in scraped.labels:
        assert values_of(metric, label).allow(value), f"{metric} has {label}={value!r}, which nobody has listed"
        assert value != "agent-1", f"{metric} names the agent"
