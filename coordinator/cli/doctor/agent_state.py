"""Checks of an agent's state directory on this machine: who it is, and whether its deltas get through."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from coordinator.cli.doctor.findings import Finding, not_checked, ok, problem, warning
from coordinator.cli.operator_views import AgentView

LATE_SECONDS = 3600.0
"""A delta that has waited longer for its upload points to a network or a coordinator that is away."""

CHECK = "agent's state"


def check_agent_state(folder: Path, agents: Mapping[str, Sequence[AgentView]]) -> list[Finding]:
    """Check an agent's state directory.

    Args:
        folder: The agent's --state-dir.
        agents: The agents of each federation, as the coordinator knows them; empty when it was not asked.
    """
    state, trouble = _state(folder)
    if state is None:
        return [trouble] if trouble else []
    who = f"agent {state.get('agent_id')} of {state.get('federation')}"
    return [
        ok(CHECK, f"{folder} belongs to {who}"),
        _outbox(folder),
        *_dropped(state),
        *_rejections(folder),
        _registered(str(state.get("federation")), str(state.get("agent_id")), agents),
    ]


def _state(folder: Path) -> tuple[dict[str, Any] | None, Finding | None]:
    path = folder / "state.json"
    try:
        values = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return None, problem(
            CHECK, f"{folder} holds no state.json", "name the agent's --state-dir; it writes it at start"
        )
    except (OSError, ValueError) as error:
        return None, problem(
            CHECK, f"{path} cannot be read ({error})", "correct its permissions, or restore the folder"
        )
    if not isinstance(values, dict):
        return None, problem(CHECK, f"{path} is damaged", "restore the folder, or start the agent with a new one")
    return values, None


def _outbox(folder: Path) -> Finding:
    check = "agent's outbox"
    pending, acknowledged = (_entries(folder / "outbox" / name) for name in ("pending", "acknowledged"))
    found = f"{len(pending)} to upload, {len(acknowledged)} uploaded and kept until merged"
    waited = max((time.time() - entry.stat().st_mtime for entry in pending), default=0.0)
    if waited > LATE_SECONDS:
        advice = "see that the agent runs, and in its log why it cannot upload"
        return warning(check, f"{found}; the oldest waits for {waited / 3600:.1f} h", advice)
    return ok(check, found)


def _dropped(state: dict[str, Any]) -> list[Finding]:
    totals = state.get("totals")
    dropped = totals.get("dropped") if isinstance(totals, dict) else 0
    if not isinstance(dropped, int) or dropped <= 0:
        return []
    found = f"{dropped} deltas dropped so far, because the outbox was full before they were uploaded"
    return [warning("agent's room", found, "see why the coordinator was not reached, or raise --max-outbox-bytes")]


def _rejections(folder: Path) -> list[Finding]:
    rejected = _entries(folder / "outbox" / "rejected")
    if not rejected:
        return []
    newest = max(rejected, key=lambda entry: entry.stat().st_mtime)
    try:
        why = json.loads((newest / "rejection.json").read_text("utf-8"))
        said = f"the newest for {why.get('reason')}: {why.get('detail') or why.get('message') or ''}"
    except (OSError, ValueError, AttributeError):
        said = "the newest does not say why"
    return [warning("agent's rejections", f"{len(rejected)} rejected, {said}", f"look into {newest.parent}")]


def _registered(federation: str, agent_id: str, agents: Mapping[str, Sequence[AgentView]]) -> Finding:
    check = "agent's registration"
    if federation not in agents:
        found = f"the coordinator was not asked about {federation}, or does not know it"
        return not_checked(check, found, "name the coordinator that the agent uses with --operator")
    view = next((it for it in agents[federation] if it.agent.agent_id == agent_id), None)
    if view is None:
        return problem(check, f"the coordinator does not know {agent_id}", "start the agent: it registers by itself")
    if view.agent.revoked:
        return problem(check, f"{agent_id} is revoked", "nothing of it is taken: give it a new state directory and id")
    return ok(check, f"known to the coordinator, {view.contribution.merged} deltas merged")


def _entries(folder: Path) -> list[Path]:
    return [entry for entry in folder.iterdir() if entry.is_dir()] if folder.is_dir() else []
