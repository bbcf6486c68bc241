"""Agents that are connected and wait, by the thousand: no error, news for each, and what one costs the coordinator.

python -m tests.chaos.load.connected_agents --agents 10000 --processes 8 --seconds 3600
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import dataclasses
import json
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from bench.fleet.machine import allow_files
from coordinator.backends.embedded import EmbeddedValkey
from coordinator.backends.urls import open_store
from coordinator.ports import Store
from tests.chaos.load.overload import (
    Helper,
    OverloadedCoordinator,
    coordinator_running,
    end_with_all_that_was_started,
    helper,
    percentile,
)
from tests.support.stores import new_plan, publish, seed_federation
from tests.support.waiting import eventually

FEDERATION = "connected"
VERSION_EVERY_SECONDS = 2.0
NEWS_SECONDS = 60.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ConnectedReport:
    """What one run measured. `news_seconds` is how long each version took to reach the last agent."""

    agents: int
    processes: int
    seconds: float
    answers: int
    errors: dict[str, int]
    kib_per_agent: float
    files_per_agent: float
    news_seconds: list[float]

    def line(self) -> str:
        """Return the figures in one line."""
        return (
            f"agents={self.agents} processes={self.processes} seconds={self.seconds:.0f} answers={self.answers} "
            f"errors={sum(self.errors.values())} kib_per_agent={self.kib_per_agent:.1f} "
            f"files_per_agent={self.files_per_agent:.2f} versions={len(self.news_seconds)} "
            f"news_to_last_agent_p50_ms={1000 * percentile(self.news_seconds, 50):.0f} "
            f"max_ms={1000 * max(self.news_seconds):.0f}"
        )


def run_connected(folder: Path, *, agents: int, processes: int, seconds: float) -> ConnectedReport:
    """Connect `agents` from several processes and publish versions for `seconds`."""
    allow_files(agents)
    with EmbeddedValkey(folder / "store") as valkey:
        return asyncio.run(_run(folder, valkey.url, agents=agents, processes=processes, seconds=seconds))


async def _run(folder: Path, url: str, *, agents: int, processes: int, seconds: float) -> ConnectedReport:
    store = open_store(url)
    with contextlib.ExitStack() as stack:
        coordinator = stack.enter_context(coordinator_running(folder, url))
        crowds = [stack.enter_context(helper("tests.chaos.load.crowd")) for _ in range(processes)]
        try:
            await seed_federation(store, new_plan(FEDERATION))
            return await _measure(store, coordinator, crowds, agents=agents, seconds=seconds)
        finally:
            await store.close()


async def _measure(
    store: Store, coordinator: OverloadedCoordinator, crowds: list[Helper], *, agents: int, seconds: float
) -> ConnectedReport:
    shares = [agents // len(crowds) + (number < agents % len(crowds)) for number in range(len(crowds))]
    orders = [
        f"connect {coordinator.port} {FEDERATION} {sum(shares[:number])} {share}" for number, share in enumerate(shares)
    ]
    await _ask(crowds[:1], [f"connect {coordinator.port} {FEDERATION} {agents} 1"])  # a first use costs once
    resident_bytes, files = coordinator.resident_bytes(), coordinator.open_files()
    connected = await _ask(crowds, orders)
    assert sum(seen["agents"] for seen in connected) == agents + 1
    news: list[float] = []
    began = time.monotonic()
    while not news or time.monotonic() - began < seconds:
        news.append(await _news(store, crowds))
        await asyncio.sleep(VERSION_EVERY_SECONDS)
    grown_bytes, more_files = coordinator.resident_bytes() - resident_bytes, coordinator.open_files() - files
    seen = await _ask(crowds, ["report"] * len(crowds))
    return ConnectedReport(
        agents=agents,
        processes=len(crowds),
        seconds=time.monotonic() - began,
        answers=sum(it["answers"] for it in seen),
        errors=dict(sum((Counter(it["errors"]) for it in seen), Counter())),
        kib_per_agent=grown_bytes / 1024 / agents,
        files_per_agent=more_files / agents,
        news_seconds=news,
    )


async def _news(store: Store, crowds: list[Helper]) -> float:
    """Publish a version and return how long it took until the last agent knew."""
    published_at = time.time()
    number = (await publish(store, FEDERATION)).id.number
    seen: list[dict[str, Any]] = []

    async def everybody_knows() -> bool:
        seen[:] = await _ask(crowds, ["report"] * len(crowds))
        return all(it["lowest_head"] >= number for it in seen)

    await eventually(everybody_knows, what=f"every agent knows version {number}", timeout_seconds=NEWS_SECONDS)
    return max(it["last_told_at"] for it in seen) - published_at


async def _ask(crowds: list[Helper], orders: list[str]) -> list[dict[str, Any]]:
    """Give each process an order, and return the answers."""
    answers = await asyncio.gather(
        *(asyncio.to_thread(crowd.order, order) for crowd, order in zip(crowds, orders, strict=True))
    )
    return [json.loads(answer) for answer in answers]


def main() -> None:
    """Run it from the command line and exit with 1 if there was an error."""
    parser = argparse.ArgumentParser(description="Keep many agents connected, and count what goes wrong.")
    parser.add_argument("--agents", type=int, default=1000)
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=20.0)
    options = parser.parse_args()
    end_with_all_that_was_started()
    with tempfile.TemporaryDirectory(prefix="alignfed-connected-") as folder:
        report = run_connected(
            Path(folder), agents=options.agents, processes=options.processes, seconds=options.seconds
        )
    print(report.line(), report.errors or "")  # noqa: T201 - a command prints
    raise SystemExit(bool(report.errors))


if __name__ == "__main__":
    main()
