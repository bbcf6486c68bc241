"""What NetworkPolicies admit, worked out as the API describes it: policies add up, and what none names is refused.

Only the parts that our manifests use; anything else raises, so that a new field is not overlooked.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

Labels = Mapping[str, str]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Pod:
    """A pod, or someone outside of the cluster (`namespace` empty). `ports` are the named ones of its containers."""

    namespace: str = ""
    labels: Labels = dataclasses.field(default_factory=dict)
    namespace_labels: Labels = dataclasses.field(default_factory=dict)
    ports: Mapping[str, int] = dataclasses.field(default_factory=dict)


def admitted(policies: Sequence[Mapping[str, Any]], source: Pod, target: Pod, port: int, protocol: str = "TCP") -> bool:
    """Whether `source` may connect to `port` of `target`: the policies of both ends must allow it."""
    return _allowed("Egress", policies, source, target, target, port, protocol) and _allowed(
        "Ingress", policies, target, source, target, port, protocol
    )


def governed(policies: Sequence[Mapping[str, Any]], pod: Pod, direction: str) -> bool:
    """Whether any policy restricts `pod` in a direction."""
    return any(_selects(policy, pod) and direction in policy["spec"]["policyTypes"] for policy in policies)


def _allowed(
    direction: str,
    policies: Sequence[Mapping[str, Any]],
    subject: Pod,
    peer: Pod,
    listener: Pod,
    port: int,
    protocol: str,
) -> bool:
    if not governed(policies, subject, direction):
        return True
    key, side = ("egress", "to") if direction == "Egress" else ("ingress", "from")
    return any(
        _ports_match(rule.get("ports"), listener, port, protocol) and _peers_match(rule.get(side), policy, peer)
        for policy in policies
        if _selects(policy, subject)
        for rule in policy["spec"].get(key, [])
    )


def _selects(policy: Mapping[str, Any], pod: Pod) -> bool:
    return policy["metadata"]["namespace"] == pod.namespace and matches(policy["spec"]["podSelector"], pod.labels)


def _ports_match(ports: Sequence[Mapping[str, Any]] | None, listener: Pod, port: int, protocol: str) -> bool:
    if ports is None:
        return True
    for entry in ports:
        _only(entry, {"port", "protocol"})
        number = entry["port"] if isinstance(entry["port"], int) else listener.ports.get(entry["port"])
        if number == port and entry["protocol"] == protocol:
            return True
    return False


def _peers_match(peers: Sequence[Mapping[str, Any]] | None, policy: Mapping[str, Any], pod: Pod) -> bool:
    if peers is None:
        return True
    for peer in peers:
        _only(peer, {"podSelector", "namespaceSelector"})
        if "namespaceSelector" in peer:
            there = bool(pod.namespace) and matches(peer["namespaceSelector"], pod.namespace_labels)
        else:
            there = pod.namespace == policy["metadata"]["namespace"]
        if there and matches(peer.get("podSelector", {}), pod.labels):
            return True
    return False


def matches(selector: Mapping[str, Any], labels: Labels) -> bool:
    """Whether a label selector selects `labels`."""
    _only(selector, {"matchLabels"})
    return selector.get("matchLabels", {}).items() <= labels.items()


def _only(value: Mapping[str, Any], known: set[str]) -> None:
    if value.keys() - known:
        raise NotImplementedError(f"{sorted(value.keys() - known)} of {value}")
