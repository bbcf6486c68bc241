"""Uploads and downloads by the agent's own client, against bare TCP and against a coordinator that forgets."""

from __future__ import annotations

import functools
import socket
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from alignfed.plan import FederationPlan
from bench.speed.deltas import Delta, prepare
from bench.speed.goals import (
    BARE_UPLOAD,
    DOWNLOAD,
    FILES_COST,
    FILES_UPLOAD,
    STORED_COST,
    STORED_UPLOAD,
    TLS_UPLOAD,
    UNLOGGED_UPLOAD,
    UPLOAD,
    UPLOAD_COST,
    Goal,
    Row,
)
from bench.speed.identities import Identities
from bench.speed.moving import Moves, download, send_grpc, send_tcp, upload
from bench.speed.rounds import compare
from bench.speed.started import FEDERATION, Started, bare_server, coordinator_with, forgetful_coordinator, plan_of
from coordinator.backends.embedded import EmbeddedValkey
from coordinator.local.processes import Supervisor
from edge_agent.domain import Capabilities, GlobalVersion
from edge_agent.wire.client import CoordinatorClient

STORING, MANY = 4, 8
"""Clients of one turn."""
MOST_STORED_ROUNDS = 5
"""Every round of stored uploads stays in the store."""

Say = Callable[[str], None]


def measure_transfers(folder: Path, *, parameters: int, rounds: int, say: Say) -> list[Row]:
    """Move bf16 deltas and fp32 adapters of `parameters` elements."""
    plan = plan_of(parameters)
    delta = prepare(folder, plan)
    with ExitStack() as stack:
        store = stack.enter_context(EmbeddedValkey(folder / "transfers-store"))
        supervisor = stack.enter_context(Supervisor())
        real = Uploaders(stack, stack.enter_context(coordinator_with(supervisor, folder, store.url, plan)), plan)
        forgets = Uploaders(stack, stack.enter_context(forgetful_coordinator(supervisor, folder, plan)), plan)
        tcp = stack.enter_context(bare_server(supervisor, folder, "tcp"))
        bare = stack.enter_context(bare_server(supervisor, folder, "grpc"))
        identities = Identities(folder / "identities", FEDERATION)
        encrypted = Uploaders(
            stack,
            stack.enter_context(forgetful_coordinator(supervisor, folder, plan, identities)),
            plan,
            identities,
        )
        payload = delta.file.read_bytes()
        over_tcp = Moves(tcp, [lambda: send_tcp(tcp.port, payload)])
        over_grpc = Moves(bare, [lambda: send_grpc(bare.address, payload)])
        alone, stored = forgets.uploads(delta, 1), real.uploads(delta, STORING)
        forgotten, many = forgets.uploads(delta, STORING), forgets.uploads(delta, MANY)
        few = min(rounds, MOST_STORED_ROUNDS)
        rows = [
            compare(UPLOAD, alone, over_tcp, rounds=rounds, say=say),
            compare(BARE_UPLOAD, over_grpc, over_tcp, rounds=rounds, say=say),
            _costs(UPLOAD_COST, alone, over_grpc, say),
            compare(DOWNLOAD, real.downloads(MANY), many, rounds=rounds, say=say),
            compare(TLS_UPLOAD, encrypted.uploads(delta, MANY), many, rounds=rounds, say=say),
            compare(STORED_UPLOAD, stored, forgotten, rounds=few, say=say),
            _costs(STORED_COST, stored, forgotten, say),
        ]
        _end_log(store)
        return [*rows, compare(UNLOGGED_UPLOAD, stored, forgotten, rounds=few, say=say)]


def measure_payloads(folder: Path, *, parameters: int, rounds: int, say: Say) -> list[Row]:
    """Upload bf16 deltas of `parameters` elements into files, and into an embedded store for comparison."""
    plan = plan_of(parameters)
    delta = prepare(folder, plan)
    with ExitStack() as stack:
        supervisor = stack.enter_context(Supervisor())

        def uploads(name: str, blob_url: str) -> Moves:
            store = stack.enter_context(EmbeddedValkey(folder / f"{name}-store"))
            started = coordinator_with(supervisor, folder, store.url, plan, blob_url=blob_url)
            return Uploaders(stack, stack.enter_context(started), plan).uploads(delta, STORING)

        files, stored = uploads("files", (folder / "payload-files").as_uri()), uploads("plain", "")
        few = min(rounds, MOST_STORED_ROUNDS)
        return [compare(FILES_UPLOAD, files, stored, rounds=few, say=say), _costs(FILES_COST, files, stored, say)]


class Uploaders:
    """A coordinator with agents, each with a connection of its own."""

    def __init__(
        self, stack: ExitStack, server: Started, plan: FederationPlan, identities: Identities | None = None
    ) -> None:
        self._server = server
        self._plan = plan
        self._clients = [
            stack.enter_context(
                CoordinatorClient(
                    server.address,
                    federation=FEDERATION,
                    agent_id=name,
                    tls=None if identities is None else identities.agent(name),
                )
            )
            for name in (f"agent-{number}" for number in range(max(STORING, MANY)))
        ]
        for client in self._clients:
            client.register(Capabilities())

    @functools.cached_property
    def _head(self) -> GlobalVersion:
        return self._clients[0].global_version().head

    def uploads(self, delta: Delta, clients: int) -> Moves:
        """Return uploads of so many agents at once."""
        chosen = self._clients[:clients]
        return Moves(self._server, [functools.partial(upload, it, delta, self._head, self._plan) for it in chosen])

    def downloads(self, clients: int) -> Moves:
        """Return downloads of so many agents at once."""
        chosen = self._clients[:clients]
        return Moves(self._server, [functools.partial(download, it, self._head, self._plan) for it in chosen])


def _costs(goal: Goal, ours: Moves, ceiling: Moves, say: Say) -> Row:
    """Return the servers' costs of the turns taken so far, but for the first, which warms up."""
    pairs = list(zip(ours.costs[1:], ceiling.costs[1:], strict=True))
    for number, (mine, best) in enumerate(pairs, 1):
        say(f"goal {goal.number}, round {number} of {len(pairs)}: {mine:.4g} {goal.unit}, ceiling {best:.4g}")
    return Row(goal=goal, ours=tuple(mine for mine, _ in pairs), ceilings=tuple(best for _, best in pairs))


def _end_log(store: EmbeddedValkey) -> None:
    """Have a store write nothing to disk from now on, as no federation's store should."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(store.url.removeprefix("unix://"))
        connection.sendall(b"CONFIG SET appendonly no\r\n")
        assert connection.recv(64).startswith(b"+OK")
