"""The coordinator's memory while many agents upload at once: it must be bounded, and hardly grow with them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from alignfed.plan import FederationPlan
from bench.speed.deltas import Delta, prepare
from bench.speed.goals import MEMORY, MEMORY_GROWTH, Row
from bench.speed.moving import MEGA, Moves, upload
from bench.speed.started import FEDERATION, coordinator_with, plan_of
from coordinator.backends.embedded import EmbeddedValkey
from coordinator.local.processes import Supervisor
from edge_agent.domain import Capabilities
from edge_agent.wire.client import CoordinatorClient

FEW, MANY = 8, 64
"""Uploads at once that goals compare."""
ALLOWED_MEGABYTES = 200.0


def measure_memory(folder: Path, *, parameters: int, uploads: tuple[int, ...], say: Callable[[str], None]) -> list[Row]:
    """Upload bf16 deltas of `parameters` elements, from so many agents at once, each number to a fresh coordinator.

    Args:
        folder: For the store and the delta.
        parameters: Elements of a delta.
        uploads: How many at once, one after the other; `FEW` and `MANY` among them.
        say: Told the figure of each: the curve.

    Returns:
        Rows of the goals that are about memory.
    """
    plan = plan_of(parameters)
    delta = prepare(folder, plan)
    peaks: dict[int, float] = {}
    for number in uploads:
        peaks[number] = _peak_megabytes(folder / f"{number}-uploads", plan, delta, number)
        payload = delta.meta.total_bytes / MEGA
        say(f"{number} uploads of {payload:.0f} MB at once: the coordinator held {peaks[number]:.0f} MB at most")
    return [
        Row(goal=MEMORY, ours=(peaks[MANY],), ceilings=(ALLOWED_MEGABYTES,), curve=tuple(peaks.items())),
        Row(goal=MEMORY_GROWTH, ours=(peaks[MANY],), ceilings=(peaks[FEW],)),
    ]


def _peak_megabytes(folder: Path, plan: FederationPlan, delta: Delta, uploads: int) -> float:
    folder.mkdir()
    with ExitStack() as stack:
        store = stack.enter_context(EmbeddedValkey(folder / "store"))
        supervisor = stack.enter_context(Supervisor())
        server = stack.enter_context(coordinator_with(supervisor, folder, store.url, plan))
        clients = [
            stack.enter_context(CoordinatorClient(server.address, federation=FEDERATION, agent_id=f"agent-{number}"))
            for number in range(uploads)
        ]
        for client in clients:
            client.register(Capabilities())
        head = clients[0].global_version().head
        Moves(server, [functools.partial(upload, client, delta, head, plan) for client in clients])()
        return server.peak_bytes() / MEGA
