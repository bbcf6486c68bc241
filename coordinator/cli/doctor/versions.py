"""Checks of AlignFed versions: this program, the coordinator, a worker, the agents."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from alignfed import __version__
from coordinator.cli.doctor.findings import Finding, not_checked, ok, warning
from coordinator.cli.operator_views import AgentView

ACTIVE_SECONDS = 86_400.0
_NAMED = 3


def check_coordinator(version: str) -> Finding:
    """Compare the coordinator's version with this program's."""
    check = "coordinator version"
    if version == __version__:
        return ok(check, f"{version}, as this program; protocol alignfed.v1")
    return warning(
        check,
        f"the coordinator is {version}, this program {__version__}",
        "update the older one: both speak alignfed.v1, but the newer one may offer what the other lacks",
    )


def check_worker(version: str, coordinator: str) -> Finding:
    """Compare a worker's version with the coordinator's, with which it shares the store's records."""
    check = "worker version"
    if not version:
        return not_checked(check, "workers tell it on their metrics address", "name it with --worker-http")
    if version == (coordinator or __version__):
        return ok(check, f"{version}, as the coordinator")
    return warning(
        check,
        f"the worker is {version}, the coordinator {coordinator or __version__}",
        "run the same version on both: they share the store's records and scripts",
    )


def check_agents(federation: str, agents: Sequence[AgentView], *, coordinator: str, now: float) -> Finding:
    """Compare the versions that active agents told when they registered with the coordinator's."""
    check = f"agents of {federation}"
    active = [
        view.agent for view in agents if now - view.agent.last_seen_at <= ACTIVE_SECONDS and not view.agent.revoked
    ]
    if not active:
        found = f"none of {len(agents)} called within a day" if agents else "none has registered yet"
        return warning(check, found, "start one with `alignfed-agent run`, or look into the agents' logs")
    counts = Counter(agent.software_version or "unknown" for agent in active)
    told = ", ".join(f"{count} of version {version}" for version, count in counts.most_common(_NAMED))
    others = [agent.agent_id for agent in active if agent.software_version not in ("", coordinator)]
    if others:
        named = ", ".join(others[:_NAMED]) + (" and more" if len(others) > _NAMED else "")
        return warning(check, f"{told}; the coordinator is {coordinator}", f"update these agents: {named}")
    return ok(check, f"{len(active)} active in a day: {told}")
