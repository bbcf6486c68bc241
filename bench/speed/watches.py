"""Watches against polls: what it costs the coordinator to tell agents that wait, and what one that waits costs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import grpc

from alignfed.v1 import agent_service_pb2 as pb
from alignfed.v1 import agent_service_pb2_grpc
from bench.fleet.machine import allow_files
from bench.speed.goals import WATCH, WATCHER_MEMORY, Row
from bench.speed.polls import AGENT, SMALL_PARAMETERS, cpu_of_polls
from bench.speed.rounds import compare_awaited
from bench.speed.started import FEDERATION, Started, coordinator_with, plan_of
from coordinator.backends.embedded import EmbeddedValkey
from coordinator.cli.operator_client import OperatorClient
from coordinator.local.processes import Supervisor

ALLOWED_KILOBYTES = 35.0
THOUSAND = 1_000


def measure_watches(
    folder: Path, *, watchers: int, changes: int, calls: int, rounds: int, say: Callable[[str], None]
) -> list[Row]:
    """Tell `watchers` agents, each with a connection of its own, of `changes` a round; in turn with `calls` polls.

    Returns:
        Rows of the goals that are about watches; costs in seconds of the coordinator's processor time per thousand.
    """
    allow_files(watchers)
    with ExitStack() as stack:
        store = stack.enter_context(EmbeddedValkey(folder / "watches-store"))
        supervisor = stack.enter_context(Supervisor())
        server = stack.enter_context(coordinator_with(supervisor, folder, store.url, plan_of(SMALL_PARAMETERS)))
        operator = stack.enter_context(OperatorClient(server.operators))
        return asyncio.run(
            _measured(server, operator, watchers=watchers, changes=changes, calls=calls, rounds=rounds, say=say)
        )


async def _measured(
    server: Started,
    operator: OperatorClient,
    *,
    watchers: int,
    changes: int,
    calls: int,
    rounds: int,
    say: Callable[[str], None],
) -> list[Row]:
    await cpu_of_polls(server, calls)  # warms the process up, before its memory is looked at
    empty_bytes = server.resident_bytes()
    async with _watching(server, watchers) as streams:
        kilobytes = (server.resident_bytes() - empty_bytes) / watchers / 1e3
        say(f"{watchers} agents watch: {kilobytes:.1f} kB each")
        told = await compare_awaited(
            WATCH,
            lambda: _cpu_of_pushes(server, operator, streams, changes),
            lambda: cpu_of_polls(server, calls),
            rounds=rounds,
            say=say,
        )
    return [told, Row(goal=WATCHER_MEMORY, ours=(kilobytes,), ceilings=(ALLOWED_KILOBYTES,))]


@asynccontextmanager
async def _watching(server: Started, watchers: int) -> AsyncIterator[Sequence[Any]]:
    """Watch from so many connections; each stream has brought the head it begins with."""
    own_connection = [("grpc.use_local_subchannel_pool", 1)]
    channels = [grpc.aio.insecure_channel(server.address, options=own_connection) for _ in range(watchers)]
    request = pb.WatchGlobalVersionsRequest(federation=FEDERATION, agent_id=AGENT)
    try:
        streams = []
        for channel in channels:
            stub: Any = agent_service_pb2_grpc.AgentServiceStub(channel)  # type: ignore[no-untyped-call]  # generated
            streams.append(stub.WatchGlobalVersions(request))
            await streams[-1].read()
        yield streams
    finally:
        for stream in streams:
            stream.cancel()
        for channel in channels:
            await channel.close(None)


async def _cpu_of_pushes(server: Started, operator: OperatorClient, streams: Sequence[Any], changes: int) -> float:
    """Return processor seconds per thousand messages: the federation is paused and resumed, and everybody is told."""
    before = server.cpu_seconds()
    for number in range(changes):
        change = operator.resume if number % 2 else operator.pause
        await asyncio.to_thread(change, FEDERATION)
        await asyncio.gather(*(stream.read() for stream in streams))
    return (server.cpu_seconds() - before) / (changes * len(streams)) * THOUSAND
