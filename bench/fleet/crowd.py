"""One of the processes that drive a fleet: it connects to whoever started it, and follows orders, a line of JSON each.

    python -m bench.fleet.crowd SOCKET INDEX

Orders: `begin` (agents arrive), `counts`, `figures`, `pace`, `end` (no new deltas; answers what was acknowledged),
`fates` (what has become of some deltas). Each is answered by one line.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from alignfed.v1 import agent_service_pb2 as pb
from alignfed.v1 import types_pb2
from bench.fleet.draws import Habits, share_of
from bench.fleet.figures import Figures
from bench.fleet.light_agent import LightAgent, Surroundings
from bench.fleet.machine import usage_of
from bench.fleet.pacing import Pacing
from bench.fleet.settings import FleetSettings
from bench.fleet.wire import CALL_SECONDS, Payload, Wire

LINE_BYTES = 1 << 28
"""A hundred thousand delta ids are some ten megabytes."""
LAST_UPLOADS_SECONDS = 20.0
LAG_LOOK_SECONDS = 0.05
ASKING = 32
"""Questions at a time about the fates of deltas."""


class Crowd:
    """The agents of this process."""

    def __init__(self, index: int) -> None:
        self._index = index
        self._figures = Figures()
        self._pacing = Pacing()
        self._ending = asyncio.Event()
        self._agents: list[tuple[LightAgent, asyncio.Task[None]]] = []
        self._wire: Wire | None = None
        self._arounds: list[Surroundings] = []
        self._lag = asyncio.create_task(self._measure_lag())

    async def follow(self, order: dict[str, Any]) -> dict[str, Any]:
        """Carry out an order and return the answer."""
        match order["order"]:
            case "begin":
                return self._begin(order)
            case "pace":
                self._pacing.set(order["factor"])
                return {}
            case "counts":
                return {
                    "counts": dict(self._figures.counts),
                    "head": max((number for _, number in self._figures.news), default=0),
                }
            case "end":
                return await self._end()
            case "fates":
                return {"fates": await self._fates(order["delta_ids"])}
            case _:
                usage = usage_of(os.getpid())
                busy_seconds = usage.cpu_seconds + usage.waited_seconds
                return {"figures": self._figures.to_plain(), "busy_seconds": busy_seconds}

    def _begin(self, order: dict[str, Any]) -> dict[str, Any]:
        settings = FleetSettings.from_dict(order["settings"])
        self._wire = Wire(order["address"], connections=settings.connections, figures=self._figures)
        folders = [Path(folder) for folder in order["payloads"]]
        payloads = tuple(Payload.read(folder, chunk_bytes=order["chunk_bytes"]) for folder in folders)
        self._arounds = [
            Surroundings(
                federation=federation,
                prefix=order["prefix"],
                wire=self._wire,
                pacing=self._pacing,
                payloads=payloads,
                poll_seconds=settings.poll_seconds,
                ending=self._ending,
            )
            for federation in order["federations"]
        ]
        for number in share_of(settings.agents, settings.processes, self._index):
            agent = LightAgent(Habits(settings, number), self._arounds[number % len(self._arounds)])
            self._agents.append((agent, asyncio.create_task(agent.live())))
        return {"agents": len(self._agents)}

    async def _end(self) -> dict[str, Any]:
        """Let uploads in progress finish, end everything else, and tell what was acknowledged."""
        self._ending.set()
        for agent, task in self._agents:
            if agent.idle.is_set():
                task.cancel()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LAST_UPLOADS_SECONDS):
                await asyncio.gather(*(agent.idle.wait() for agent, _ in self._agents))
        for _, task in self._agents:
            task.cancel()
        ends = await asyncio.gather(*(task for _, task in self._agents), return_exceptions=True)
        crashed = [repr(end) for end in ends if end is not None and not isinstance(end, asyncio.CancelledError)]
        return {
            "acknowledged": {around.federation: list(around.acknowledged) for around in self._arounds},
            "unanswered": {around.federation: len(around.unanswered) for around in self._arounds},
            "crashed": crashed[:5],
        }

    async def _fates(self, delta_ids: list[str]) -> dict[str, str]:
        """Ask the coordinator for the receipts of deltas that this process has sent; empty for none."""
        sent = {delta_id: around for around in self._arounds for delta_id in around.acknowledged}
        slots, fates = asyncio.Semaphore(ASKING), dict[str, str]()

        async def ask(number: int, delta_id: str) -> None:
            around = sent[delta_id]
            agent_id, sha256 = around.acknowledged[delta_id]
            request = pb.QueryUploadRequest(
                federation=around.federation, agent_id=agent_id, delta_id=delta_id, sha256=sha256
            )
            async with slots:
                answer = await around.wire.stub(number).QueryUpload(request, timeout=CALL_SECONDS)
            fates[delta_id] = types_pb2.DeltaState.Name(answer.receipt.state) if answer.HasField("receipt") else ""

        mine = [delta_id for delta_id in delta_ids if delta_id in sent]
        await asyncio.gather(*(ask(number, delta_id) for number, delta_id in enumerate(mine)))
        return fates

    async def _measure_lag(self) -> None:
        """Time how late this process' own loop is: what its agents measure is at least as uncertain."""
        while True:
            began = time.perf_counter()
            await asyncio.sleep(LAG_LOOK_SECONDS)
            self._figures.took("own_lag", max(0.0, time.perf_counter() - began - LAG_LOOK_SECONDS))

    async def close(self) -> None:
        """End everything."""
        for task in (self._lag, *(task for _, task in self._agents)):
            task.cancel()
        if self._wire is not None:
            await self._wire.close()


async def main(socket: str, index: int) -> None:
    """Follow orders until the other side is gone."""
    reader, writer = await asyncio.open_unix_connection(socket, limit=LINE_BYTES)
    writer.write(json.dumps({"index": index}).encode() + b"\n")
    crowd = Crowd(index)
    try:
        while line := await reader.readline():
            answer = await crowd.follow(json.loads(line))
            writer.write(json.dumps(answer).encode() + b"\n")
            await writer.drain()
    finally:
        await crowd.close()
        with contextlib.suppress(OSError):
            writer.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
