"""What moves payloads in a measurement: the agent's own client, a bare gRPC client, a bare socket."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import grpc

from alignfed.plan import FederationPlan
from bench.speed.deltas import Delta
from bench.speed.servers import CHUNK_BYTES, FORGET_METHOD
from bench.speed.started import Started
from edge_agent.domain import GlobalVersion, ResumeAt
from edge_agent.wire.client import CoordinatorClient
from edge_agent.wire.download import AdapterDownload

MEGA, GIGA = 1e6, 1e9


class Moves:
    """Several at once move something to or from a server, once each per turn.

    Args:
        server: Whose processor time is noted.
        moves: One for each; returns how many bytes it has moved.
    """

    def __init__(self, server: Started, moves: Sequence[Callable[[], int]]) -> None:
        self._server = server
        self._moves = moves
        self.costs: list[float] = []
        """Processor seconds of the server for a gigabyte, in each turn."""

    def __call__(self) -> float:
        """Take a turn and return megabytes a second of all together."""
        with ThreadPoolExecutor(len(self._moves)) as threads:
            cpu_seconds, began = self._server.cpu_seconds(), time.perf_counter()
            nbytes: int = sum(threads.map(lambda move: move(), self._moves))
            seconds = time.perf_counter() - began
        self.costs.append((self._server.cpu_seconds() - cpu_seconds) / (nbytes / GIGA))
        return nbytes / MEGA / seconds


def upload(client: CoordinatorClient, delta: Delta, base: GlobalVersion, plan: FederationPlan) -> int:
    """Upload a delta as another one, as an agent does."""
    client.submit(delta.as_another(base), delta.file, ResumeAt(offset=0), chunk_bytes=plan.limits.chunk_bytes)
    return delta.meta.total_bytes


def download(client: CoordinatorClient, version: GlobalVersion, plan: FederationPlan) -> int:
    """Download a version, as an agent does."""
    fetched = AdapterDownload(version, plan)
    client.download(fetched)
    return fetched.offset


def send_grpc(address: str, payload: bytes) -> int:
    """Send a payload to a bare gRPC server."""
    view = memoryview(payload)
    with grpc.insecure_channel(address) as channel:
        forget = channel.stream_unary(FORGET_METHOD, request_serializer=None, response_deserializer=None)
        forget(bytes(view[start : start + CHUNK_BYTES]) for start in range(0, len(payload), CHUNK_BYTES))
    return len(payload)


def send_tcp(port: int, payload: bytes) -> int:
    """Send a payload to a socket, and wait until it was read."""
    view = memoryview(payload)
    with socket.create_connection(("127.0.0.1", port)) as connection:
        for start in range(0, len(payload), CHUNK_BYTES):
            connection.sendall(view[start : start + CHUNK_BYTES])
        connection.shutdown(socket.SHUT_WR)
        connection.recv(1)
    return len(payload)
