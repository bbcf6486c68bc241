"""Uploads against the network: the agent's own client to a server that forgets, and the same bytes over bare TCP."""

from __future__ import annotations

import dataclasses
import socket
import time
import uuid
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import torch

from alignfed.chunks import sha256_of
from alignfed.codec import encode
from bench.speed.goals import UPLOAD, Row
from bench.speed.rounds import compare
from bench.speed.servers import CHUNK_BYTES
from bench.speed.started import bare_server, plan_of
from coordinator.local.processes import Supervisor
from edge_agent.domain import DeltaMeta, GlobalVersion, ResumeAt
from edge_agent.wire.client import CoordinatorClient

MEGA = 1e6


def measure_upload(folder: Path, *, parameters: int, rounds: int, say: Callable[[str], None]) -> Row:
    """Send one bf16 delta of `parameters` elements from a file, one client at a time."""
    plan = plan_of(parameters)
    drawn = {spec.name: torch.randn(spec.shape).mul_(0.01) for spec in plan.tensors}
    payload = bytes(encode(drawn, plan.delta_encoding))
    file = folder / "delta"
    file.write_bytes(payload)
    meta = DeltaMeta(
        delta_id="",
        sequence=0,
        base=GlobalVersion(epoch=0, number=0, digest="0" * 64),
        base_model_digest=plan.base_model.digest,
        examples=1,
        local_steps=1,
        encoding=plan.delta_encoding,
        rank=plan.lora.rank,
        tensors=plan.tensors,
        total_bytes=len(payload),
        sha256=sha256_of(payload),
    )
    with ExitStack() as stack:
        supervisor = stack.enter_context(Supervisor())
        null = stack.enter_context(bare_server(supervisor, folder, "null"))
        tcp = stack.enter_context(bare_server(supervisor, folder, "tcp"))
        client = stack.enter_context(CoordinatorClient(null.address, federation=plan.federation, agent_id="agent"))

        def upload() -> float:
            began = time.perf_counter()
            client.submit(_named(meta), file, ResumeAt(offset=0), chunk_bytes=CHUNK_BYTES)
            return len(payload) / MEGA / (time.perf_counter() - began)

        return compare(UPLOAD, upload, lambda: _send_tcp(payload, tcp.port), rounds=rounds, say=say)


def _named(meta: DeltaMeta) -> DeltaMeta:
    return dataclasses.replace(meta, delta_id=str(uuid.uuid4()))


def _send_tcp(payload: bytes, port: int) -> float:
    view = memoryview(payload)
    began = time.perf_counter()
    with socket.create_connection(("127.0.0.1", port)) as connection:
        for start in range(0, len(payload), CHUNK_BYTES):
            connection.sendall(view[start : start + CHUNK_BYTES])
        connection.shutdown(socket.SHUT_WR)
        connection.recv(1)
    return len(payload) / MEGA / (time.perf_counter() - began)
