"""Stalled uploads against a real coordinator: what healthy agents notice of them, and what they cost in memory.

    python -m tests.chaos.load.stalled_uploads --stalled 2000 --rounds 20

Each round measures the same healthy agents first without and then with the stalled uploads, so that a noisy machine is
noisy for both; what counts is the median over the rounds.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
import statistics
import tempfile
import time
from base64 import b64encode
from itertools import cycle
from pathlib import Path
from typing import Any

import grpc

from alignfed.plan import FederationPlan
from alignfed.v1 import agent_service_pb2 as pb
from alignfed.v1.agent_service_pb2_grpc import AgentServiceStub
from coordinator.backends.embedded import EmbeddedValkey
from coordinator.backends.urls import open_store
from coordinator.domain import VersionId
from tests.chaos.load.overload import (
    MIB,
    Helper,
    OverloadedCoordinator,
    coordinator_running,
    end_with_all_that_was_started,
    helper,
    percentile,
)
from tests.support.raw_client import WireDelta, version_id, wire_plan
from tests.support.stores import seed_federation
from tests.support.waiting import wait_until

HEALTHY_AGENTS = 200
HEALTHY_AT_A_TIME = 4
STALLED_PER_AGENT = 2
CHUNK_BYTES = 1020 * 1024
BOUND_RATIO = 2.0
CUT_SECONDS = 30.0
"""The coordinator's patience with one message."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class StalledReport:
    """What one run measured. Times in seconds, per round: without and with stalled uploads."""

    stalled: int
    uploads: list[tuple[float, float]]
    polls: list[tuple[float, float]]
    grown_bytes: int
    cut: int

    @property
    def upload_ratio(self) -> float:
        """Healthy uploads' p99 with stalled ones, relative to without."""
        return ratio_of(self.uploads)

    @property
    def poll_ratio(self) -> float:
        """The same of polls."""
        return ratio_of(self.polls)

    def line(self) -> str:
        """Return the figures in one line."""
        uploads, polls = (
            [1000 * statistics.median(side) for side in zip(*rounds, strict=True)]
            for rounds in (self.uploads, self.polls)
        )
        return (
            f"stalled={self.stalled} rounds={len(self.uploads)} "
            f"upload_p99_ms={uploads[0]:.1f}->{uploads[1]:.1f} ratio={self.upload_ratio:.2f} "
            f"poll_p99_ms={polls[0]:.1f}->{polls[1]:.1f} ratio={self.poll_ratio:.2f} "
            f"memory_grown_mib={self.grown_bytes / MIB:.0f} "
            f"kib_per_stalled={self.grown_bytes / 1024 / self.stalled:.0f} "
            f"cut={self.cut}"
        )


def ratio_of(rounds: list[tuple[float, float]]) -> float:
    """Return the median with stalled uploads relative to the median without."""
    before, during = zip(*rounds, strict=True)
    return statistics.median(during) / statistics.median(before)


class Healthy:
    """Agents that poll, ask and upload as fast as they are answered, a few at a time.

    Args:
        port: The coordinator's.
        plan: Their federation.
        base: Its head.
    """

    def __init__(self, port: int, plan: FederationPlan, base: VersionId) -> None:
        self._plan = plan
        self._base = base
        self._channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}")
        self._stub: Any = AgentServiceStub(self._channel)
        self._agents = cycle(f"healthy-{number}" for number in range(HEALTHY_AGENTS))
        self._seed = 0

    async def close(self) -> None:
        """Close the connection."""
        await self._channel.close()

    async def measure(self, count: int) -> tuple[float, float]:
        """Upload `count` deltas and return the p99 of uploads and of polls, in seconds."""
        uploads: list[float] = []
        polls: list[float] = []
        left = iter(range(count))

        async def work() -> None:
            for _ in left:
                await self._one(uploads, polls)

        await asyncio.gather(*(work() for _ in range(HEALTHY_AT_A_TIME)))
        return percentile(uploads, 99), percentile(polls, 99)

    async def _one(self, uploads: list[float], polls: list[float]) -> None:
        self._seed += 1
        delta = WireDelta.of(self._plan, self._base, agent_id=next(self._agents), seed=self._seed)
        who = {"federation": self._plan.federation, "agent_id": delta.agent_id}
        messages = delta.messages()
        began = time.perf_counter()
        await self._stub.GetGlobalVersion(pb.GetGlobalVersionRequest(**who), timeout=60)
        polled = time.perf_counter()
        query = pb.QueryUploadRequest(
            **who, delta_id=delta.delta_id, sha256=delta.sha256, base_version=version_id(self._base)
        )
        await self._stub.QueryUpload(query, timeout=60)
        await self._stub.SubmitDelta(iter(messages), timeout=60)
        uploads.append(time.perf_counter() - polled)
        polls.append(polled - began)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How much a run measures.

    Attributes:
        stalled: Uploads that stall.
        rounds: Rounds at least.
        most_rounds: Rounds at most: more are added, and count like the others, while a ratio is above its bound.
        uploads: Healthy uploads in each half of a round.
    """

    stalled: int
    rounds: int
    most_rounds: int
    uploads: int


def run_stalled(folder: Path, size: Size) -> StalledReport:
    """Run the measurement."""
    with EmbeddedValkey(folder / "store") as valkey:
        return asyncio.run(_run(folder, valkey.url, size))


async def _run(folder: Path, url: str, size: Size) -> StalledReport:
    store = open_store(url)
    try:
        plan = await seed_federation(
            store,
            wire_plan("healthy", columns=1 << 12, chunk_bytes=1 << 15, max_queue_deltas=10**6),
            agents=[f"healthy-{number}" for number in range(HEALTHY_AGENTS)],
        )
        base = (await store.versions.head("healthy")).id
        other = await seed_federation(
            store,
            wire_plan("stalled", columns=1 << 18, chunk_bytes=CHUNK_BYTES),
            agents=[f"stalled-{number}" for number in range(size.stalled // STALLED_PER_AGENT + 1)],
        )
        messages = folder / "messages.json"
        messages.write_text(_stalled_messages(other, (await store.versions.head("stalled")).id, size.stalled))
    finally:
        await store.close()
    with coordinator_running(folder, url) as coordinator, helper("tests.chaos.load.slow_loris") as crowd:
        healthy = Healthy(coordinator.port, plan, base)
        try:
            order = f"stall {coordinator.port} {size.stalled} {messages}"
            return await Measurement(coordinator, crowd, healthy, order=order).run(size)
        finally:
            await healthy.close()


def _stalled_messages(plan: FederationPlan, base: VersionId, count: int) -> str:
    """Return the header of each upload, with an id of its own and an agent for each few, and the chunk they share."""
    first = WireDelta.of(plan, base)
    deltas = [
        dataclasses.replace(
            first,
            agent_id=f"stalled-{number // STALLED_PER_AGENT}",
            delta_id=f"00000000-0000-4000-8000-{number:012x}",
        )
        for number in range(count)
    ]
    sha256 = first.sha256
    headers = [b64encode(delta.header(sha256=sha256).SerializeToString()).decode() for delta in deltas]
    return json.dumps({"headers": headers, "chunk": b64encode(first.chunks()[0].SerializeToString()).decode()})


class Measurement:
    """Rounds of the same work, without and with stalled uploads."""

    def __init__(self, coordinator: OverloadedCoordinator, crowd: Helper, healthy: Healthy, *, order: str) -> None:
        self._coordinator = coordinator
        self._crowd = crowd
        self._healthy = healthy
        self._order = order
        self._uploads: list[tuple[float, float]] = []
        self._polls: list[tuple[float, float]] = []
        self._resident_bytes = self._grown_bytes = 0

    async def run(self, size: Size) -> StalledReport:
        """Measure, and look whether every stalled upload is ended in the last round."""
        await self._healthy.measure(size.uploads)  # what a first use costs is nobody's fault
        self._resident_bytes = self._coordinator.resident_bytes()
        while len(self._uploads) < size.rounds or (
            len(self._uploads) < size.most_rounds and max(map(ratio_of, (self._uploads, self._polls))) >= BOUND_RATIO
        ):
            await self._round(size)
        cut = await self._all_cut(size.stalled)
        return StalledReport(
            stalled=size.stalled, uploads=self._uploads, polls=self._polls, grown_bytes=self._grown_bytes, cut=cut
        )

    async def _round(self, size: Size) -> None:
        before = await self._healthy.measure(size.uploads)
        await self._stall(size.stalled)
        during = await self._healthy.measure(size.uploads)
        await self._drop()
        self._uploads.append((before[0], during[0]))
        self._polls.append((before[1], during[1]))

    async def _stall(self, count: int) -> None:
        self._coordinator.forget_peak()
        assert await asyncio.to_thread(self._crowd.order, self._order) == f"stalled {count}"
        await _until_open(self._coordinator, count)

    async def _drop(self) -> None:
        self._grown_bytes = max(self._grown_bytes, self._coordinator.peak_bytes() - self._resident_bytes)
        await asyncio.to_thread(self._crowd.order, "drop")
        await _until_open(self._coordinator, 0)

    async def _all_cut(self, count: int) -> int:
        """Stall until the coordinator has ended as many uploads as stall: none is kept for ever; return how many."""
        outcome = {"federation": "stalled", "outcome": "upload_stalled"}
        await self._stall(count)

        def ended() -> bool:
            return self._coordinator.metric("alignfed_uploads_total", **outcome) >= count

        await asyncio.to_thread(
            wait_until, ended, what="every stalled upload is ended", timeout_seconds=4 * CUT_SECONDS
        )
        await self._drop()
        return int(self._coordinator.metric("alignfed_uploads_total", **outcome))


async def _until_open(coordinator: OverloadedCoordinator, count: int) -> None:
    def as_many() -> bool:
        open_now = coordinator.metric("alignfed_uploads_in_progress")
        return open_now >= count if count else open_now == 0

    await asyncio.to_thread(wait_until, as_many, what=f"{count} stalled uploads are open", timeout_seconds=120)


def main() -> None:
    """Run it from the command line."""
    parser = argparse.ArgumentParser(description="Measure what healthy agents notice of stalled uploads.")
    parser.add_argument("--stalled", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--uploads", type=int, default=100, help="healthy uploads in each half of a round")
    options = parser.parse_args()
    end_with_all_that_was_started()
    with tempfile.TemporaryDirectory(prefix="alignfed-stalled-") as folder:
        size = Size(stalled=options.stalled, rounds=options.rounds, most_rounds=options.rounds, uploads=options.uploads)
        report = run_stalled(Path(folder), size)
    print(report.line())  # noqa: T201 - a command prints


if __name__ == "__main__":
    main()
