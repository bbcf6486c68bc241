"""The Kubernetes manifests, rendered by kubectl, held against the API's schemas and our own rules. No cluster is run.

The schemas are the ones that the API publishes, without what the server checks beyond them; custom resources (KEDA,
Prometheus Operator) are held against a list of the fields that we use.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import kubernetes_validate
import pytest
import yaml
from prometheus_client import CollectorRegistry

from coordinator.authority.folder import AuthorityFolder
from coordinator.backends.redis.keys import FederationKeys
from coordinator.service.config import ServiceConfig
from coordinator.service.http.server import HttpServer
from tests.deploy.custom_resources import CUSTOM, faults_of
from tests.deploy.workloads import workloads
from tests.support.command_settings import settings_of, variables_of
from tests.support.kubectl import Manifest, render
from tests.support.prometheus_rule import MANIFEST, manifest

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "kubernetes"
README = (FOLDER / "README.md").read_text("utf-8")
OVERLAYS = sorted(path.name for path in (FOLDER / "overlays").iterdir())
KUBERNETES_VERSIONS = ("1.30", "1.36")
"""The oldest that the README promises, and a new one."""

MIXES = (
    ("store",),
    ("store-external",),
    ("store", "autoscaling", "keda", "gpu", "monitoring"),
    ("store-external", "autoscaling", "standby", "gpu", "monitoring"),
    ("store", "gpu"),
    ("store", "keda"),
    ("store", "standby"),
    ("store", "monitoring"),
    ("store", "autoscaling"),
)
"""Sets of components on the base, besides the overlays: each alone, and as many together as go together."""


def _named() -> Iterator[str]:
    yield from OVERLAYS
    yield from ("+".join(mix) for mix in MIXES)
    yield "examples"


@pytest.fixture(scope="session", params=_named())
def objects(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Manifest, ...]:
    """What one overlay, or the base with one mix of components, renders to."""
    if request.param in OVERLAYS:
        return render(FOLDER / "overlays" / request.param)
    folder = tmp_path_factory.mktemp("overlay")
    kustomization: dict[str, Any] = {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization"}
    if request.param == "examples":
        for file in (FOLDER / "examples").iterdir():
            (folder / file.name).write_bytes(file.read_bytes())
        kustomization["resources"] = [file.name for file in (FOLDER / "examples").iterdir()]
    else:
        root = os.path.relpath(FOLDER, folder.resolve())
        kustomization["resources"] = [f"{root}/base"]
        kustomization["components"] = [f"{root}/components/{name}" for name in request.param.split("+")]
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
    return render(folder)


def test_every_component_is_rendered() -> None:
    used = set(itertools.chain.from_iterable(MIXES))
    for overlay in OVERLAYS:
        text = (FOLDER / "overlays" / overlay / "kustomization.yaml").read_text("utf-8")
        used |= set(re.findall(r"components/([a-z-]+)", text))
    assert used == {path.name for path in (FOLDER / "components").iterdir()}


@pytest.mark.parametrize("version", KUBERNETES_VERSIONS)
def test_objects_are_what_the_api_takes(objects: tuple[Manifest, ...], version: str) -> None:
    for item in objects:
        if item["kind"] in CUSTOM:
            assert not list(faults_of(item["spec"], CUSTOM[item["kind"]], item["kind"]))
        else:
            _validate(json.dumps(item), version)


@pytest.mark.parametrize(
    "broken", [{"minReplicaCounts": 1}, {"minReplicaCount": "1"}, {"triggers": [{"kind": "redis"}]}]
)
def test_the_check_of_custom_resources_findsfaults_of(broken: dict[str, Any]) -> None:
    assert list(faults_of(broken, CUSTOM["ScaledObject"], ""))


def test_objects_have_names_of_their_own_in_one_namespace(objects: tuple[Manifest, ...]) -> None:
    spaces = {item["metadata"].get("namespace") for item in objects if item["kind"] != "Namespace"}
    assert spaces in ({"alignfed"}, {"alignfed-agents"})
    names = [(item["kind"], item["metadata"].get("namespace"), item["metadata"]["name"]) for item in objects]
    assert len(set(names)) == len(names)


def test_containers_have_no_more_rights_than_they_need(objects: tuple[Manifest, ...]) -> None:
    for work in workloads(objects):
        pod = work.pod["securityContext"]
        assert pod["runAsNonRoot"] is True, work.name
        assert pod["runAsUser"] > 0, work.name
        assert pod["seccompProfile"] == {"type": "RuntimeDefault"}, work.name
        assert work.pod["automountServiceAccountToken"] is False, work.name
        for container in work.containers:
            rights = container["securityContext"]
            assert rights["readOnlyRootFilesystem"] is True, work.name
            assert rights["allowPrivilegeEscalation"] is False, work.name
            assert rights["capabilities"] == {"drop": ["ALL"]}, work.name
            assert container["resources"]["requests"].keys() >= {"cpu", "memory"}, work.name
            assert "memory" in container["resources"]["limits"], work.name
            assert any(mount["mountPath"] == "/tmp" for mount in container["volumeMounts"]) or work.name.endswith(
                "store"
            ), f"{work.name} has nowhere to write temporary files"


def test_services_are_not_announced_as_settings(objects: tuple[Manifest, ...]) -> None:
    """A Service `alignfed-x` would become ALIGNFED_X_PORT, among the commands' own variables."""
    assert all(work.pod["enableServiceLinks"] is False for work in workloads(objects))


def test_volumes_that_are_mounted_exist(objects: tuple[Manifest, ...]) -> None:
    for work in workloads(objects):
        mounted = {mount["name"] for container in work.containers for mount in container["volumeMounts"]}
        assert mounted == work.volumes, work.name


def test_probes_ask_ports_that_exist(objects: tuple[Manifest, ...]) -> None:
    for work in workloads(objects):
        for container in work.containers:
            known = {port["name"] for port in container.get("ports", [])} | {
                port["containerPort"] for port in container.get("ports", [])
            }
            for kind in ("startupProbe", "readinessProbe", "livenessProbe"):
                probe = container.get(kind, {})
                ways = [probe[way] for way in ("httpGet", "grpc", "tcpSocket") if way in probe]
                assert all(way["port"] in known for way in ways), f"{work.name} {kind}"


def test_coordinators_are_probed_before_they_get_agents(objects: tuple[Manifest, ...]) -> None:
    for work in workloads(objects):
        if work.name != "alignfed-coordinator":
            continue
        (container,) = work.containers
        assert container["livenessProbe"]["httpGet"] == {"path": "/healthz", "port": "http"}
        for kind in ("startupProbe", "readinessProbe"):  # not by gRPC: the kubelet speaks no TLS
            assert container[kind]["httpGet"] == {"path": "/readyz", "port": "http"}


def test_coordinators_know_their_callers_by_files_of_one_secret(objects: tuple[Manifest, ...], tmp_path: Path) -> None:
    """Settings that a coordinator would start with, from files that `alignfed ca init` makes and the README names."""
    made = AuthorityFolder(tmp_path / "ids")
    made.create(["127.0.0.1"])
    [command] = re.findall(r"create secret generic alignfed-identity((?:.*\\\n)+.*)", README)
    files = re.findall(r"--from-file=ids/(\S+)", command)
    assert "root-key.pem" not in files
    for work in (work for work in workloads(objects) if work.name == "alignfed-coordinator"):
        (container,) = work.containers
        settings = settings_of(container["command"], work.environment(container))
        named = {name: Path(str(value)) for name, value in settings.items() if "/alignfed-identity/" in str(value)}
        assert {file.name for file in named.values()} == set(files)
        assert all((made.path / file.name).exists() for file in named.values())
        known = {field.name for field in dataclasses.fields(ServiceConfig)}
        ServiceConfig(**{name: settings[name] for name in known & settings.keys()}).check()


def test_agents_join_with_a_token_and_keep_their_identity_on_the_node() -> None:
    (agent,) = workloads(render(FOLDER / "overlays" / "edge-agents"))
    (container,) = agent.containers
    settings = settings_of(container["command"], agent.environment(container))
    mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in agent.pod["volumes"]}
    assert "hostPath" in volumes[mounts[str(settings["state_dir"])]]
    secret = volumes[mounts[str(Path(str(settings["join_token_file"])).parent)]]["secret"]
    assert secret["optional"] is True, "an agent that has joined must start without a token"
    assert re.search(rf"create secret generic {secret['secretName']} .*--from-file=token=", README)
    assert settings["coordinator"] == "127.0.0.1:7300", "the coordinator is the token's: no setting may hide it"
    assert settings["federation"] is None


async def test_paths_of_probes_are_answered() -> None:
    """By the coordinator's HTTP server itself; the worker's port serves metrics whatever the path."""
    paths = {
        probe["httpGet"]["path"]
        for work in workloads(render(FOLDER / "overlays" / "production"))
        if work.name == "alignfed-coordinator"
        for probe in (work.containers[0][f"{kind}Probe"] for kind in ("startup", "readiness", "liveness"))
    }
    assert paths == {"/healthz", "/readyz"}
    server = HttpServer(CollectorRegistry())
    await server.start("127.0.0.1:0")
    try:
        async with aiohttp.ClientSession(f"http://127.0.0.1:{server.port}") as session:
            answers = {path: (await session.get(path)).status for path in paths}
    finally:
        await server.stop()
    assert answers == {"/healthz": 200, "/readyz": 503}  # alive, and no service is attached yet


def test_selectors_select_the_pods_that_they_mean(objects: tuple[Manifest, ...]) -> None:
    pods = [work.labels.items() for work in workloads(objects)]
    for item in objects:
        if item["kind"] == "Service":
            selector = item["spec"]["selector"]
            ports = {
                port["name"]
                for work in workloads(objects)
                if selector.items() <= work.labels.items()
                for port in work.named_ports()
            }
            assert {port["targetPort"] for port in item["spec"]["ports"]} <= ports, item["metadata"]["name"]
        elif item["kind"] in {"Deployment", "DaemonSet", "StatefulSet", "PodDisruptionBudget", "PodMonitor"}:
            labels = item["spec"]["selector"]["matchLabels"].items()
            assert sum(labels <= pod for pod in pods) == 1, f"{item['kind']} {item['metadata']['name']}"


def test_scalers_and_monitors_name_what_is_there(objects: tuple[Manifest, ...]) -> None:
    by_name = {work.name: work for work in workloads(objects)}
    for item in objects:
        if item["kind"] in {"HorizontalPodAutoscaler", "ScaledObject"}:
            target = by_name[item["spec"]["scaleTargetRef"]["name"]]
            assert "replicas" not in target.manifest["spec"], "both would set the number of replicas"
        if item["kind"] == "PodMonitor":
            work = by_name[item["metadata"]["name"]]
            assert item["spec"]["jobLabel"] in work.labels
            assert {end["port"] for end in item["spec"]["podMetricsEndpoints"]} <= {
                port["name"] for port in work.named_ports()
            }


def test_keda_counts_the_deltas_that_are_not_settled() -> None:
    objects = render(FOLDER / "overlays" / "gpu")
    (scaled,) = (item for item in objects if item["kind"] == "ScaledObject")
    (trigger,) = scaled["spec"]["triggers"]
    assert trigger["metadata"]["listName"] == FederationKeys("my-federation").queued
    assert scaled["spec"]["maxReplicaCount"] == 1


def test_settings_are_settings_of_the_command(objects: tuple[Manifest, ...]) -> None:
    for work in workloads(objects):
        for container in work.commands():
            settings = settings_of(container["command"], work.environment(container))
            ports = {port["containerPort"] for port in container["ports"]}
            listens = {str(value) for name, value in settings.items() if name.endswith("_listen")}
            assert {int(listen.rpartition(":")[2]) for listen in listens} == ports, work.name
            assert all(listen.startswith("0.0.0.0:") for listen in listens), work.name


def test_pods_are_given_more_time_to_end_than_they_take(objects: tuple[Manifest, ...]) -> None:
    for work in workloads(objects):
        for container in work.commands():
            settings = settings_of(container["command"], work.environment(container))
            drains = sum(float(str(settings.get(name, 0.0))) for name in ("drain_notice_seconds", "drain_seconds"))
            hook = container.get("lifecycle", {}).get("preStop", {}).get("exec", {}).get("command", ["sleep", "0"])
            assert hook[0] == "sleep"
            assert work.pod["terminationGracePeriodSeconds"] >= drains + float(hook[1]) + 10, work.name


def test_images_are_targets_of_our_dockerfile(objects: tuple[Manifest, ...]) -> None:
    dockerfile = (ROOT / "deploy" / "docker" / "Dockerfile").read_text("utf-8")
    targets = set(re.findall(r"(?m)^FROM \S+ AS (\S+)$", dockerfile))
    user = int(re.findall(r"(?m)^ARG UID=(\d+)$", dockerfile)[0])
    for work in workloads(objects):
        for container in work.containers:
            name, _, tag = container["image"].partition(":")
            assert tag not in {"", "latest"}, f"{work.name} runs {container['image']}, which may change under it"
            if name != "valkey/valkey":
                assert name.removeprefix("alignfed-") in targets, name
                assert work.pod["securityContext"]["runAsUser"] == user


def test_secrets_are_named_and_never_made(objects: tuple[Manifest, ...]) -> None:
    assert not [item for item in objects if item["kind"] == "Secret"]
    for name in {name for work in workloads(objects) for name in work.secrets()}:
        assert re.search(rf"create secret \w+ {name}\b", README), f"the README does not say how to make {name}"
    for work in workloads(objects):
        for container in work.commands():
            url = [entry for entry in container.get("env", []) if entry["name"] == "ALIGNFED_STORE_URL"]
            assert all("valueFrom" in entry for entry in url), "a store's URL may hold a password"


def test_every_setting_of_the_fleet_has_an_option() -> None:
    """The lookup itself: it knows variables that are derived from options, and ones that are named."""
    from coordinator.cli.worker import worker_command
    from edge_agent.cli import run

    assert {"ALIGNFED_STORE_URL", "ALIGNFED_THREADS"} <= variables_of(worker_command).keys()
    assert {"ALIGNFED_COORDINATOR", "ALIGNFED_TRAIN_RANK"} <= variables_of(run).keys()


def test_the_rules_of_the_operator_are_those_of_prometheus() -> None:
    assert MANIFEST.read_text("utf-8") == manifest(), "run `make docs`"


@functools.cache
def _validate(item: str, version: str) -> None:
    """Hold an object against the API's schemas, once: overlays share most of theirs, and schemas are large."""
    held_against = kubernetes_validate.validate(json.loads(item), version, strict=True)
    assert held_against == version, "the package has no schemas of this version"
