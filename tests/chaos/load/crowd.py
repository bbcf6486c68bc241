"""Agents by the hundred in one process, each with a connection of its own: they register, then poll or watch.

Reads its orders from stdin, one a line, and answers each with one line of JSON:

    connect PORT FEDERATION FIRST COUNT    connect agents from FIRST on; answers when each is registered
    report                                 what they have seen so far
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import sys
import time
from collections import Counter
from typing import Any

import grpc
from google.protobuf.duration_pb2 import Duration

from alignfed.v1 import agent_service_pb2 as pb
from alignfed.v1.agent_service_pb2_grpc import AgentServiceStub

POLL_SECONDS = 10
PATIENCE_SECONDS = 60.0
CONNECTING = 16
OPTIONS = (("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0), ("grpc.enable_http_proxy", 0))


@dataclasses.dataclass(slots=True)
class Seen:
    """What the agents of this process have seen; `heads` is the number each knows, `told_at` when each learnt of it."""

    answers: int = 0
    errors: Counter[str] = dataclasses.field(default_factory=Counter)
    heads: dict[int, int] = dataclasses.field(default_factory=dict)
    told_at: dict[int, float] = dataclasses.field(default_factory=dict)

    def answer(self, agent: int, status: Any) -> None:
        """Note an answer."""
        self.answers += 1
        if status.head.number != self.heads.get(agent):
            self.heads[agent] = status.head.number
            self.told_at[agent] = time.time()

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values: those of the slowest agent where one stands for all."""
        return {
            "agents": len(self.heads),
            "answers": self.answers,
            "errors": dict(self.errors),
            "lowest_head": min(self.heads.values(), default=-1),
            "last_told_at": max(self.told_at.values(), default=0.0),
        }


class ConnectedAgent:
    """One agent with a connection of its own; even ones poll, odd ones watch."""

    def __init__(self, port: int, federation: str, number: int, seen: Seen) -> None:
        self._channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=OPTIONS)
        self._stub: Any = AgentServiceStub(self._channel)
        self._who = {"federation": federation, "agent_id": f"connected-{number}"}
        self._number = number
        self._seen = seen

    async def connect(self) -> None:
        """Register; an error is counted, and tried again."""
        while self._number not in self._seen.heads:
            try:
                answer = await self._stub.RegisterAgent(pb.RegisterAgentRequest(**self._who), timeout=PATIENCE_SECONDS)
                self._seen.answer(self._number, answer.status)
            except grpc.aio.AioRpcError as error:
                await self._failed(error)

    async def run(self) -> None:
        """Follow the head until cancelled; an error is counted, and the agent goes on."""
        while True:
            try:
                await (self._watch() if self._number % 2 else self._poll())
            except grpc.aio.AioRpcError as error:
                await self._failed(error)

    async def _failed(self, error: grpc.aio.AioRpcError) -> None:
        self._seen.errors[f"{error.code().name}: {error.details()}"[:120]] += 1
        await asyncio.sleep(1)

    async def _poll(self) -> None:
        while True:
            after = self._seen.heads[self._number]
            request = pb.GetGlobalVersionRequest(
                **self._who, after_number=after, max_wait=Duration(seconds=POLL_SECONDS)
            )
            answer = await self._stub.GetGlobalVersion(request, timeout=POLL_SECONDS + PATIENCE_SECONDS)
            self._seen.answer(self._number, answer.status)

    async def _watch(self) -> None:
        async for answer in self._stub.WatchGlobalVersions(pb.WatchGlobalVersionsRequest(**self._who)):
            self._seen.answer(self._number, answer.status)
        self._seen.errors["a watch ended by itself"] += 1


class Crowd:
    """All agents of this process."""

    def __init__(self) -> None:
        self._seen = Seen()
        self._running: list[asyncio.Task[None]] = []

    async def connect(self, port: int, federation: str, first: int, count: int) -> dict[str, Any]:
        """Connect agents, a few at a time, and let them run."""
        slots = asyncio.Semaphore(CONNECTING)

        async def one(number: int) -> None:
            agent = ConnectedAgent(port, federation, number, self._seen)
            async with slots:
                await agent.connect()
            self._running.append(asyncio.create_task(agent.run()))

        await asyncio.gather(*(one(number) for number in range(first, first + count)))
        return self._seen.to_json()

    def report(self) -> dict[str, Any]:
        """Return what they have seen."""
        return self._seen.to_json()


async def main() -> None:
    """Follow orders until stdin ends."""
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    crowd = Crowd()
    while order := (await reader.readline()).decode().split():
        match order:
            case ["connect", port, federation, first, count]:
                answer = await crowd.connect(int(port), federation, int(first), int(count))
            case _:
                answer = crowd.report()
        sys.stdout.write(f"{json.dumps(answer)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main())
