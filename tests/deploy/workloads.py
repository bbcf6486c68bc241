"""The pods among rendered manifests, with what tests ask of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from tests.support.command_settings import PREFIX, PROGRAMS
from tests.support.kubectl import Manifest

_TEMPLATED = {"Deployment", "DaemonSet", "StatefulSet", "Job"}
SECRET_VALUE = "redis://store:6379"  # stands for what a Secret holds
"""Value of variables that come from a Secret."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """Something that makes pods. `manifest` is the whole object, `pod` the pods' spec, `labels` their labels."""

    manifest: Manifest
    pod: Manifest
    labels: dict[str, str]
    configuration: dict[str, dict[str, str]]

    @property
    def name(self) -> str:
        """The object's name."""
        return str(self.manifest["metadata"]["name"])

    @property
    def namespace(self) -> str:
        """Where the pods run."""
        return str(self.manifest["metadata"]["namespace"])

    @property
    def containers(self) -> list[Manifest]:
        """All containers, those of the start included."""
        return [*self.pod.get("initContainers", []), *self.pod["containers"]]

    @property
    def volumes(self) -> set[str]:
        """Names of the volumes that containers can mount."""
        claims = self.manifest["spec"].get("volumeClaimTemplates", [])
        return {volume["name"] for volume in self.pod.get("volumes", [])} | {
            claim["metadata"]["name"] for claim in claims
        }

    def commands(self) -> list[Manifest]:
        """Containers that run one of our commands."""
        return [item for item in self.containers if item["command"][0] in PROGRAMS]

    def named_ports(self) -> Iterator[Manifest]:
        """Yield the ports of all containers."""
        for container in self.containers:
            yield from container.get("ports", [])

    def environment(self, container: Manifest) -> dict[str, str]:
        """Return the ALIGNFED_ variables of a container, those of its ConfigMaps included."""
        found: dict[str, str] = {}
        for source in container.get("envFrom", []):
            found |= self.configuration[source["configMapRef"]["name"]]
        for entry in container.get("env", []):
            found[entry["name"]] = entry.get("value", SECRET_VALUE)
        return {name: value for name, value in found.items() if name.startswith(PREFIX)}

    def secrets(self) -> Iterator[str]:
        """Yield the names of all Secrets that the pods need."""
        for volume in self.pod.get("volumes", []):
            if "secret" in volume:
                yield volume["secret"]["secretName"]
        for container in self.containers:
            for entry in container.get("env", []):
                if "secretKeyRef" in entry.get("valueFrom", {}):
                    yield entry["valueFrom"]["secretKeyRef"]["name"]


def workloads(objects: Sequence[Manifest]) -> list[Workload]:
    """Return everything among `objects` that makes pods; never nothing."""
    configuration = {item["metadata"]["name"]: item["data"] for item in objects if item["kind"] == "ConfigMap"}
    found = list(_workloads(objects, configuration))
    assert found
    return found


def _workloads(objects: Iterable[Manifest], configuration: dict[str, Any]) -> Iterator[Workload]:
    for item in objects:
        if item["kind"] in _TEMPLATED:
            template = item["spec"]["template"]
            labels = template["metadata"]["labels"]
            yield Workload(manifest=item, pod=template["spec"], labels=labels, configuration=configuration)
        elif item["kind"] == "Pod":
            labels = item["metadata"]["labels"]
            yield Workload(manifest=item, pod=item["spec"], labels=labels, configuration=configuration)
