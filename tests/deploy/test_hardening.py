"""What a container could do that breaks out of its process: images, compose services and pods, from the files alone."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.workloads import workloads
from tests.support.kubectl import Manifest, render

ROOT = Path(__file__).resolve().parents[2]
KUBERNETES = ROOT / "deploy" / "kubernetes"
DOCKERFILE = (ROOT / "deploy/docker/Dockerfile").read_text("utf-8")
COMPOSE = ROOT / "deploy/compose/docker-compose.yml"
SECRET = re.compile(r"PASSWORD|SECRET|TOKEN|CREDENTIAL|PRIVATE|_KEY\b", re.IGNORECASE)
HOST_FOLDERS = ("/var/lib/alignfed", "/srv/alignfed")
"""Where the manifests of agents may reach into a node."""


def stages() -> dict[str, list[str]]:
    """Return the instructions of every stage of the Dockerfile, those of the stages it is built on first."""
    joined = re.sub(r"\\\n", " ", re.sub(r"(?m)^#.*\n", "", DOCKERFILE))
    found: dict[str, list[str]] = {}
    current = ""
    for line in filter(None, map(str.strip, joined.splitlines())):
        if match := re.fullmatch(r"FROM (\S+) AS (\S+)", line):
            current = match[2]
            found[current] = list(found.get(match[1], ()))
        elif current:
            found[current].append(line)
    return found


@pytest.fixture(scope="module")
def services() -> dict[str, dict[str, Any]]:
    return dict(yaml.safe_load(COMPOSE.read_text("utf-8"))["services"])


@pytest.fixture(scope="module", params=sorted(path.name for path in (KUBERNETES / "overlays").iterdir()))
def objects(request: pytest.FixtureRequest) -> tuple[Manifest, ...]:
    return render(KUBERNETES / "overlays" / request.param)


@pytest.mark.parametrize("target", ["coordinator", "worker", "agent", "setup"])
def test_images_run_as_a_user_without_a_name_or_rights(target: str) -> None:
    users = [line for line in stages()[target] if line.startswith("USER ")]
    assert users, target
    assert users[-1] == "USER 10001:10001"  # in numbers: runAsNonRoot cannot tell who a name is


def test_images_are_built_from_this_folder_and_packages_alone() -> None:
    for name, instructions in stages().items():
        for line in instructions:
            assert not line.startswith("ADD "), (name, line)  # it fetches, and unpacks
            assert not re.search(r"\b(curl|wget)\b|\|\s*(ba)?sh\b", line), (name, line)
            assert not re.search(r"chmod\s+\S*[+=]\S*s|setcap", line), (name, line)


def test_no_secret_is_built_into_an_image() -> None:
    for name, instructions in stages().items():
        for line in instructions:
            if line.startswith(("ENV ", "ARG ")):
                assert not SECRET.search(line), (name, line)
    ignored = [line for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines() if not line.startswith("#")]
    assert ignored[0] == "*", "what is built into images is listed, so that secrets beside it never are"
    assert not [line for line in ignored if line.startswith("!deploy/compose")]


def test_services_run_as_a_user_and_share_nothing_with_the_machine(services: dict[str, dict[str, Any]]) -> None:
    for name, service in services.items():
        target = service.get("build", {}).get("target")
        user = service.get("user") or next(line[5:] for line in reversed(stages()[target]) if line.startswith("USER "))
        assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user), (name, user)
        assert not {"cap_add", "devices", "privileged", "userns_mode"} & service.keys(), name
        assert "host" not in [service.get(key) for key in ("network_mode", "pid", "ipc", "uts", "cgroup")], name
        assert not [volume for volume in service.get("volumes", ()) if "docker.sock" in str(volume)], name


def test_services_read_secrets_from_files(services: dict[str, dict[str, Any]]) -> None:
    for name, service in services.items():
        for key, value in dict(service.get("environment") or {}).items():
            if SECRET.search(key):
                assert key.upper().endswith(("_FILE", "__FILE")) or str(value).startswith("/"), (name, key)
            assert not re.search(r"://[^/@\s]*:[^/@\s]+@", str(value)), (name, key)


def test_pods_share_nothing_with_the_node(objects: tuple[Manifest, ...]) -> None:
    for work in workloads(objects):
        assert not {"hostNetwork", "hostPID", "hostIPC"} & {key for key, on in work.pod.items() if on}, work.name
        for container in work.containers:
            rights = container["securityContext"]
            assert not rights.get("privileged"), work.name
            assert "add" not in rights.get("capabilities", {}), work.name
            assert rights.get("runAsUser", 1) > 0, work.name
            assert rights.get("seccompProfile", {"type": "RuntimeDefault"})["type"] == "RuntimeDefault", work.name
            assert all("hostPort" not in port for port in container.get("ports", ())), work.name
        folders = [volume["hostPath"]["path"] for volume in work.pod.get("volumes", ()) if "hostPath" in volume]
        if folders:
            assert work.name.startswith("alignfed-agent"), work.name
            assert all(folder.startswith(HOST_FOLDERS) for folder in folders), folders


def test_nothing_may_speak_to_the_cluster(objects: tuple[Manifest, ...]) -> None:
    kinds = {item["kind"] for item in objects}
    assert not kinds & {"Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"}
    for item in objects:
        if item["kind"] == "ServiceAccount":
            assert item.get("automountServiceAccountToken") is False, item["metadata"]["name"]


def test_the_api_server_holds_pods_to_the_strictest_standard(objects: tuple[Manifest, ...]) -> None:
    label = "pod-security.kubernetes.io/"
    reaching = {work.namespace for work in workloads(objects) for it in work.pod.get("volumes", ()) if "hostPath" in it}
    for item in objects:
        if item["kind"] == "Namespace":
            labels = item["metadata"]["labels"]
            assert labels[f"{label}warn"] == "restricted"
            if item["metadata"]["name"] not in reaching:
                assert labels[f"{label}enforce"] == "restricted"


def test_root_would_be_noticed() -> None:
    """The reading of stages follows FROM: without its USER line an image would be root's."""
    assert not [line for line in stages()["torch"] if line.startswith("USER ")]
    assert [line for line in stages()["setup"] if line.startswith("USER ")]
