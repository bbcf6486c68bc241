"""Polls against empty calls: how many a second of the server's processor time answers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc

from alignfed.v1 import agent_service_pb2 as pb
from alignfed.v1 import agent_service_pb2_grpc
from bench.speed.goals import POLL, Row
from bench.speed.rounds import compare
from bench.speed.servers import EMPTY_METHOD
from bench.speed.started import FEDERATION, Started, bare_server, coordinator_with, plan_of
from coordinator.backends.embedded import EmbeddedValkey
from coordinator.local.processes import Supervisor

CALLERS = 32
AGENT = "agent"
SMALL_PARAMETERS = 1024


def measure_polls(folder: Path, *, calls: int, rounds: int, say: Callable[[str], None]) -> Row:
    """Make `calls` calls a round from callers that wait for one answer each."""
    with ExitStack() as stack:
        store = stack.enter_context(EmbeddedValkey(folder / "store"))
        supervisor = stack.enter_context(Supervisor())
        coordinator = stack.enter_context(coordinator_with(supervisor, folder, store.url, plan_of(SMALL_PARAMETERS)))
        empty = stack.enter_context(bare_server(supervisor, folder, "grpc"))
        return compare(
            POLL,
            lambda: 1 / asyncio.run(_cpu_seconds(coordinator, _poll, calls)),
            lambda: 1 / asyncio.run(_cpu_seconds(empty, _nothing, calls)),
            rounds=rounds,
            say=say,
        )


async def cpu_of_polls(server: Started, calls: int) -> float:
    """Return processor seconds of a coordinator per thousand polls; `AGENT` is registered by it."""
    return 1_000 * await _cpu_seconds(server, _poll, calls)


Call = Callable[[grpc.aio.Channel], Awaitable[Callable[[], Awaitable[Any]]]]


async def _poll(channel: grpc.aio.Channel) -> Callable[[], Awaitable[Any]]:
    stub: Any = agent_service_pb2_grpc.AgentServiceStub(channel)  # type: ignore[no-untyped-call]  # generated
    await stub.RegisterAgent(pb.RegisterAgentRequest(federation=FEDERATION, agent_id=AGENT), timeout=20)
    request = pb.GetGlobalVersionRequest(federation=FEDERATION, agent_id=AGENT, after_number=0)
    return lambda: stub.GetGlobalVersion(request, timeout=20)


async def _nothing(channel: grpc.aio.Channel) -> Callable[[], Awaitable[Any]]:
    method: Any = channel.unary_unary(EMPTY_METHOD, None, None)  # bytes as they are
    return lambda: method(b"", timeout=20)


async def _cpu_seconds(server: Started, make: Call, calls: int) -> float:
    """Return the server's processor seconds per call."""
    async with grpc.aio.insecure_channel(server.address) as channel:
        call = await make(channel)
        await call()
        left = iter(range(calls))

        async def caller() -> None:
            for _ in left:
                await call()

        before = server.cpu_seconds()
        await asyncio.gather(*(caller() for _ in range(CALLERS)))
        return (server.cpu_seconds() - before) / calls
