"""Uploads and downloads by the agent's own client, against bare TCP and against a coordinator that forgets."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from alignfed.plan import FederationPlan
from bench.speed.deltas import Delta, prepare
from bench.speed.goals import DOWNLOAD, STORED_UPLOAD, UPLOAD, Row
from bench.speed.rounds import compare
from bench.speed.servers import CHUNK_BYTES
from bench.speed.started import FEDERATION, Started, bare_server, coordinator_with, plan_of
from coordinator.backends.embedded import EmbeddedValkey
from coordinator.local.processes import Supervisor
from edge_agent.domain import Capabilities, GlobalVersion, ResumeAt
from edge_agent.wire.client import CoordinatorClient
from edge_agent.wire.download import AdapterDownload

MEGA = 1e6
UPLOADING, DOWNLOADING = 4, 8
"""Clients of one round."""
MOST_STORED_ROUNDS = 5
"""Every round of stored uploads stays in the store."""


def measure_transfers(folder: Path, *, parameters: int, rounds: int, say: Callable[[str], None]) -> list[Row]:
    """Move bf16 deltas and fp32 adapters of `parameters` elements."""
    plan = plan_of(parameters)
    delta = prepare(folder, plan)
    with ExitStack() as stack:
        store = stack.enter_context(EmbeddedValkey(folder / "transfers-store"))
        supervisor = stack.enter_context(Supervisor())
        null = stack.enter_context(bare_server(supervisor, folder, "null"))
        tcp = stack.enter_context(bare_server(supervisor, folder, "tcp"))
        real = stack.enter_context(coordinator_with(supervisor, folder, store.url, plan))
        to_null = _clients(stack, null)
        to_real = _clients(stack, real)
        for client in to_real:
            client.register(Capabilities())
        head = to_real[0].global_version().head

        def null_uploads(clients: int) -> float:
            return _rate(to_null[:clients], lambda client: _upload(client, delta, head, plan))

        def downloads() -> float:
            return _rate(to_real[:DOWNLOADING], lambda client: _download(client, head, plan))

        def stored_uploads() -> float:
            return _rate(to_real[:UPLOADING], lambda client: _upload(client, delta, head, plan))

        payload = delta.file.read_bytes()
        stored_rounds = min(rounds, MOST_STORED_ROUNDS)
        return [
            compare(UPLOAD, lambda: null_uploads(1), lambda: _send_tcp(payload, tcp.port), rounds=rounds, say=say),
            compare(DOWNLOAD, downloads, lambda: null_uploads(DOWNLOADING), rounds=rounds, say=say),
            compare(STORED_UPLOAD, stored_uploads, lambda: null_uploads(UPLOADING), rounds=stored_rounds, say=say),
        ]


def _clients(stack: ExitStack, server: Started) -> list[CoordinatorClient]:
    """Return a client for each of as many agents as any round takes, each with a connection of its own."""
    return [
        stack.enter_context(CoordinatorClient(server.address, federation=FEDERATION, agent_id=f"agent-{number}"))
        for number in range(max(UPLOADING, DOWNLOADING))
    ]


def _rate(clients: Sequence[CoordinatorClient], move: Callable[[CoordinatorClient], int]) -> float:
    """Return megabytes a second of all clients together, each moving something once."""
    with ThreadPoolExecutor(len(clients)) as threads:
        began = time.perf_counter()
        nbytes = sum(threads.map(move, clients))
        return nbytes / MEGA / (time.perf_counter() - began)


def _upload(client: CoordinatorClient, delta: Delta, base: GlobalVersion, plan: FederationPlan) -> int:
    chunk_bytes = plan.limits.chunk_bytes
    client.submit(delta.as_another(base), delta.file, ResumeAt(offset=0), chunk_bytes=chunk_bytes)
    return delta.meta.total_bytes


def _download(client: CoordinatorClient, version: GlobalVersion, plan: FederationPlan) -> int:
    download = AdapterDownload(version, plan)
    client.download(download)
    return download.offset


def _send_tcp(payload: bytes, port: int) -> float:
    view = memoryview(payload)
    began = time.perf_counter()
    with socket.create_connection(("127.0.0.1", port)) as connection:
        for start in range(0, len(payload), CHUNK_BYTES):
            connection.sendall(view[start : start + CHUNK_BYTES])
        connection.shutdown(socket.SHUT_WR)
        connection.recv(1)
    return len(payload) / MEGA / (time.perf_counter() - began)
