"""Who may talk to whom in the cluster: what AlignFed needs is admitted, and nothing else is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.deploy.workloads import workloads
from tests.support.kubectl import Manifest, render
from tests.support.network_policies import Pod, admitted, governed

OVERLAYS = Path(__file__).parents[2] / "deploy" / "kubernetes" / "overlays"
IN_CLUSTER = ("try", "gpu")
OF_COORDINATORS = (*IN_CLUSTER, "production")

OUTSIDE = Pod()
DNS = Pod(
    namespace="kube-system",
    namespace_labels={"kubernetes.io/metadata.name": "kube-system"},
    labels={"k8s-app": "kube-dns"},
)


def _stranger(namespace: str, **labels: str) -> Pod:
    """A pod of another namespace that no policy of ours names."""
    names = {"kubernetes.io/metadata.name": namespace}
    return Pod(namespace=namespace, labels={"app": "any"}, namespace_labels={**names, **labels})


PROMETHEUS, KEDA, ELSEWHERE = _stranger("monitoring"), _stranger("keda"), _stranger("default")
OPERATORS = Pod(namespace="people", namespace_labels={"alignfed.io/operators": "true"})


def _policies(objects: Sequence[Manifest]) -> list[Manifest]:
    return [item for item in objects if item["kind"] == "NetworkPolicy"]


def _pods(objects: Sequence[Manifest]) -> dict[str, Pod]:
    return {
        work.name.removeprefix("alignfed-"): Pod(
            namespace=work.namespace,
            labels=work.labels,
            namespace_labels={"kubernetes.io/metadata.name": work.namespace},
            ports={port["name"]: port["containerPort"] for port in work.named_ports()},
        )
        for work in workloads(objects)
    }


@pytest.fixture(params=[*OF_COORDINATORS, "edge-agents"])
def overlay(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_every_pod_is_under_a_policy_in_both_directions(overlay: str) -> None:
    objects = render(OVERLAYS / overlay)
    for name, pod in _pods(objects).items():
        for direction in ("Ingress", "Egress"):
            assert governed(_policies(objects), pod, direction), f"{name} {direction}"


def test_every_pod_resolves_names(overlay: str) -> None:
    objects = render(OVERLAYS / overlay)
    for name, pod in _pods(objects).items():
        for protocol in ("UDP", "TCP"):
            assert admitted(_policies(objects), pod, DNS, 53, protocol), name
        assert not admitted(_policies(objects), pod, ELSEWHERE, 53, "UDP"), name


def test_nobody_may_call_out_to_the_world(overlay: str) -> None:
    objects = render(OVERLAYS / overlay)
    for name, pod in _pods(objects).items():
        assert not admitted(_policies(objects), pod, OUTSIDE, 443), name


@pytest.mark.parametrize("overlay", OF_COORDINATORS)
@pytest.mark.parametrize(
    ("port", "welcome", "refused"),
    [
        (7300, [OUTSIDE, ELSEWHERE, OPERATORS], []),
        (7302, [OUTSIDE, ELSEWHERE, OPERATORS], []),
        (7301, [OPERATORS], [OUTSIDE, ELSEWHERE, PROMETHEUS, KEDA]),
        (9464, [PROMETHEUS, OPERATORS], [OUTSIDE, ELSEWHERE, KEDA]),
    ],
)
def test_who_reaches_a_coordinator(overlay: str, port: int, welcome: list[Pod], refused: list[Pod]) -> None:
    objects = render(OVERLAYS / overlay)
    pods = _pods(objects)
    assert all(admitted(_policies(objects), pod, pods["coordinator"], port) for pod in welcome)
    for pod in [*refused, *([] if port in (7300, 7302) else [pods["worker"]])]:
        assert not admitted(_policies(objects), pod, pods["coordinator"], port), pod


@pytest.mark.parametrize("overlay", OF_COORDINATORS)
def test_only_prometheus_reaches_a_worker(overlay: str) -> None:
    objects = render(OVERLAYS / overlay)
    pods, policies = _pods(objects), _policies(objects)
    assert admitted(policies, PROMETHEUS, pods["worker"], 9465)
    for pod in (OUTSIDE, ELSEWHERE, OPERATORS, pods["coordinator"]):
        assert not admitted(policies, pod, pods["worker"], 9465)


@pytest.mark.parametrize("overlay", IN_CLUSTER)
def test_only_its_clients_reach_the_store(overlay: str) -> None:
    objects = render(OVERLAYS / overlay)
    pods, policies = _pods(objects), _policies(objects)
    for client in ("coordinator", "worker"):
        assert admitted(policies, pods[client], pods["store"], 6379)
    for pod in (OUTSIDE, ELSEWHERE, OPERATORS, PROMETHEUS, pods["store"]):
        assert not admitted(policies, pod, pods["store"], 6379)
    assert admitted(policies, KEDA, pods["store"], 6379) is (overlay == "gpu")


def test_an_external_store_is_reached_by_its_clients_only() -> None:
    objects = render(OVERLAYS / "production")
    pods, policies = _pods(objects), _policies(objects)
    for port in (6379, 6380, 26379):
        assert all(admitted(policies, pods[name], OUTSIDE, port) for name in ("coordinator", "worker"))
    assert not admitted(policies, Pod(namespace="alignfed", labels={"app": "any"}), OUTSIDE, 6379)


def test_an_agent_calls_its_coordinator_and_is_called_by_prometheus_only() -> None:
    objects = render(OVERLAYS / "edge-agents")
    pods, policies = _pods(objects), _policies(objects)
    assert admitted(policies, pods["agent"], OUTSIDE, 7300)
    assert admitted(policies, pods["agent"], OUTSIDE, 7302)
    assert not admitted(policies, pods["agent"], OUTSIDE, 7301)
    assert admitted(policies, PROMETHEUS, pods["agent"], 9466)
    assert not admitted(policies, ELSEWHERE, pods["agent"], 9466)


def test_a_policy_that_is_missing_is_noticed() -> None:
    """The evaluation itself: without its policy a flow is refused, and without any policy all is admitted."""
    objects = render(OVERLAYS / "try")
    pods, policies = _pods(objects), _policies(objects)
    kept = [item for item in policies if item["metadata"]["name"] != "prometheus-to-worker"]
    assert not admitted(kept, PROMETHEUS, pods["worker"], 9465)
    assert admitted([], OUTSIDE, pods["store"], 6379)
