"""The fields of custom resources that our manifests use: their own schemas are not part of the Kubernetes API."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

CUSTOM: dict[str, Any] = {
    "ScaledObject": {
        "scaleTargetRef": {"apiVersion": str, "kind": str, "name": str},
        "minReplicaCount": int,
        "maxReplicaCount": int,
        "pollingInterval": int,
        "cooldownPeriod": int,
        "triggers": [
            {
                "type": str,
                "metadata": {"address": str, "listName": str, "listLength": str, "activationListLength": str},
                "authenticationRef": {"name": str},
            }
        ],
    },
    "TriggerAuthentication": {"secretTargetRef": [{"parameter": str, "name": str, "key": str}]},
    "PodMonitor": {
        "jobLabel": str,
        "selector": {"matchLabels": {"app.kubernetes.io/name": str}},
        "podMetricsEndpoints": [{"port": str, "path": str, "interval": str}],
    },
    "PrometheusRule": {
        "groups": [
            {
                "name": str,
                "interval": str,
                "rules": [
                    {"alert": str, "record": str, "expr": str, "for": str, "keep_firing_for": str,
                     "labels": dict, "annotations": dict}
                ],
            }
        ]
    },
}  # fmt: skip
"""Kind -> fields of its spec, with their types; a list stands for any number of its one element."""


def faults_of(value: object, shape: Any, place: str) -> Iterator[str]:
    """Yield where `value` has fields that `shape` has not, or of another type."""
    if isinstance(shape, dict):
        if not isinstance(value, dict):
            yield place
            return
        for key, part in value.items():
            if key in shape:
                yield from faults_of(part, shape[key], f"{place}.{key}")
            else:
                yield f"{place}.{key}"
    elif isinstance(shape, list):
        for index, part in enumerate(value if isinstance(value, list) else [value]):
            yield from faults_of(part, shape[0], f"{place}[{index}]")
    elif not isinstance(value, shape):
        yield place
