"""Looks at a running federation from outside: the operator service, and the agents' status files."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from typing import Any

from coordinator.cli.operator_client import OperatorClient
from coordinator.cli.operator_views import AgentView, VersionView
from coordinator.domain import Contribution
from coordinator.local.run_record import AgentSpec, RunFolder


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class AgentState:
    """What one agent is doing, and what came of it so far.

    `activity` is the agent's own word for it, `waiting` until it has written its status file; `step` of `steps` belong
    to the delta in the making, `loss` is its training loss.
    """

    agent_id: str
    domain: str
    slowdown: float
    activity: str = "starting"
    base_version: int | None = None
    step: int = 0
    steps: int = 0
    loss: float | None = None
    merged: int = 0
    weight_share: float = 0.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A federation at one moment. `newest` holds the head's merge record, `losses` the judge rows' loss by version."""

    newest: VersionView
    losses: dict[int, float]
    queued: int
    agents: tuple[AgentState, ...]

    @property
    def version(self) -> int:
        """Number of the head."""
        return self.newest.id.number


class Watcher:
    """Takes snapshots; asks for a version's merge record once.

    Args:
        client: Of the coordinator.
        federation: What to watch.
        folder: Where the agents' status files are.
        agents: The fleet.
    """

    def __init__(
        self, client: OperatorClient, federation: str, *, folder: RunFolder, agents: Sequence[AgentSpec]
    ) -> None:
        self._client = client
        self._federation = federation
        self._folder = folder
        self._agents = agents
        self._newest: VersionView | None = None
        self._losses: dict[int, float] = {}

    def look(self) -> Snapshot:
        """Return how the federation is doing now.

        Raises:
            CoordinatorUnreachable: The coordinator does not answer.
        """
        view = self._client.federation(self._federation)
        newest = self._newest
        if newest is None or newest.id != view.head.id:
            newest = self._newest = self._client.version(self._federation)
            for version in self._client.versions(self._federation):
                if version.calibration_loss is not None:
                    self._losses[version.id.number] = version.calibration_loss
            if (
                newest.merge is not None
                and newest.merge.calibration_loss_before is not None
                and newest.parent is not None
            ):
                self._losses.setdefault(newest.parent, newest.merge.calibration_loss_before)
        return Snapshot(
            newest=newest,
            losses=dict(sorted(self._losses.items())),
            queued=view.queued,
            agents=self._agent_states(self._client.agents(self._federation)),
        )

    def _agent_states(self, views: Sequence[AgentView]) -> tuple[AgentState, ...]:
        known = {view.agent.agent_id: view.contribution for view in views}
        total = sum(contribution.weight for contribution in known.values())
        return tuple(
            agent_state(spec, known.get(spec.agent_id, Contribution()), total, _status(self._folder, spec.agent_id))
            for spec in self._agents
        )


def agent_state(spec: AgentSpec, contribution: Contribution, total_weight: float, status: dict[str, Any]) -> AgentState:
    """Put together what is known of one agent.

    Args:
        spec: How it was started.
        contribution: Its part so far.
        total_weight: Sum of all agents' weights; 0 before the first merge.
        status: Content of its status file, empty when there is none.
    """
    return AgentState(
        agent_id=spec.agent_id,
        domain=spec.domain,
        slowdown=spec.slowdown,
        activity=status.get("state", "starting"),
        base_version=status.get("base_version"),
        step=status.get("step", 0),
        steps=status.get("steps", 0),
        loss=status.get("loss"),
        merged=contribution.merged,
        weight_share=contribution.weight / total_weight if total_weight else 0.0,
    )


def _status(folder: RunFolder, agent_id: str) -> dict[str, Any]:
    try:
        values = json.loads(folder.status(agent_id).read_text("utf-8"))
    except (OSError, ValueError):  # not written yet
        return {}
    return values if isinstance(values, dict) else {}
