"""An agent that uploads when it is told to, with the agent's own client.

python -m bench.flower.agent PORT NAME COORDINATOR FOLDER
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from alignfed.plan import FederationPlan
from bench.flower.lines import serve
from bench.speed.deltas import Delta, prepare
from edge_agent.domain import Capabilities, DeltaMeta, ResumeAt
from edge_agent.wire.client import CoordinatorClient


class Membership:
    """An agent's place in one federation: a connection, a delta of its own, and what is to be uploaded next."""

    def __init__(self, client: CoordinatorClient, folder: Path) -> None:
        self._client = client
        self._plan: FederationPlan = client.register(Capabilities()).plan
        folder.mkdir(parents=True)
        self._delta: Delta = prepare(folder, self._plan)
        self._next: DeltaMeta | None = None

    def prepare(self) -> dict[str, Any]:
        """Make ready to upload the delta as another one, trained from the head."""
        self._next = self._delta.as_another(self._client.global_version().head)
        return {"bytes": self._next.total_bytes}

    def push(self) -> dict[str, Any]:
        """Upload it; the answer is there when it is durable."""
        assert self._next is not None, "prepare comes first"
        began = time.monotonic()
        self._client.submit(self._next, self._delta.file, ResumeAt(offset=0), chunk_bytes=self._plan.limits.chunk_bytes)
        return {"began": began, "ended": time.monotonic()}


def main(arguments: Sequence[str]) -> None:
    """Be an agent until told to end."""
    port, name, coordinator, folder = arguments
    members: dict[str, Membership] = {}
    with ExitStack() as stack:

        def member(federation: str) -> Membership:
            if federation not in members:
                client = CoordinatorClient(coordinator, federation=federation, agent_id=name)
                members[federation] = Membership(stack.enter_context(client), Path(folder) / federation)
            return members[federation]

        handlers = {
            "prepare": lambda federation: member(federation).prepare(),
            "push": lambda federation: member(federation).push(),
        }
        serve(int(port), name, handlers)


if __name__ == "__main__":
    main(sys.argv[1:])
