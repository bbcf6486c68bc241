"""A long life in short: real processes under a steady stream of tiny deltas, and what grows while they live.

    python -m tests.chaos.endurance.long_life --minutes 1.5
    python -m tests.chaos.endurance.long_life --hours 24 --folder /var/tmp/soak

A coordinator, a worker and a store serve agents that come and go, each with an identity of its own, and some that stay.
Retention is short, so that everything that it bounds has reached its bound by the end of the warm-up. From then on no
process' memory, open files or threads, and no count of keys, payloads or records of the store may grow. The store's own
memory may, by what is kept of each version for good; see `KEPT_PER_VERSION_BYTES`.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from alignfed.plan import Buffer, Retention
from coordinator.backends.redis.keys import FederationKeys
from coordinator.backends.redis.store import RedisStore
from coordinator.backends.urls import open_store
from tests.chaos.endurance.slopes import Trend, trend
from tests.chaos.harness.fleet import Fleet
from tests.chaos.harness.plan import FEDERATION, federation_plan
from tests.support.owners import unowned

KIB, MIB = 1024, 1024 * 1024
RETENTION = Retention(
    versions=8, delta_versions=2, receipt_versions=20, record_versions=10, dead_letters=10, agent_seconds=10.0
)
SWEEP_SECONDS = 1.0
WARM_UP_RATIO = 0.4
"""Of the whole time: caches fill, allocators settle, and retention begins to bite."""

VISIT_DELTAS, VISIT_IDENTITIES = 40, 4
"""What a passing process sends before it leaves, and as how many agents."""

RSS_PER_DELTA_BYTES = 512
"""Memory a process may gain per delta: one small object kept of each, with its place in a dictionary, is more."""

RSS_NOISE_BYTES = 6 * MIB
"""What memory may wander over the whole time for reasons of the allocator's."""

FILES_NOISE = 4
KEYS_NOISE = 60
"""Payloads on their way, which come and go."""

KEPT_PER_VERSION_BYTES = 1500
"""What the store may gain per version: its short record, its place in the lineage, and the allocator's rounding."""

MOST_SAMPLES = 4000
SAMPLES_NAME = "samples.jsonl"
"""Every sample, one per line, in the run's folder: for plots of a soak."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One look at everything. Figures of processes are by their names."""

    seconds: float
    versions: int
    rss_bytes: dict[str, int]
    files: dict[str, int]
    threads: dict[str, int]
    store_keys: int
    store_records: int
    store_bytes: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Life:
    """What a run came to: its last sample, the trends after the warm-up, and everything that grew."""

    last: Sample
    deltas: int
    identities: int
    trends: dict[str, Trend]
    faults: tuple[str, ...]

    def line(self) -> str:
        """Return the figures in one line."""
        figures = {
            "seconds": f"{self.last.seconds:.0f}",
            "deltas": self.deltas,
            "versions": self.last.versions,
            "identities": self.identities,
            **{name: _shown(name, found) for name, found in self.trends.items()},
            "grew": len(self.faults),
        }
        return "long_life " + " ".join(f"{name}={value}" for name, value in figures.items())

    def report(self) -> str:
        """Return the line and, below it, what grew."""
        return "\n".join([self.line(), *(f"  AGAINST IT: {fault}" for fault in self.faults)])


def _shown(name: str, found: Trend) -> str:
    if name.startswith("rss") or name.endswith("bytes"):
        return f"{found.last / MIB:.1f}MiB{found.slope:+.0f}B({found.low:+.0f}..{found.high:+.0f})"
    return f"{found.last:.0f}{found.slope:+.4f}"


class Observer:
    """Looks at processes through /proc, and at the store through a connection of its own."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._began = time.monotonic()
        self._keys = FederationKeys(FEDERATION)

    def look(self) -> Sample:
        """Take one sample."""
        watched = {name: fleet_child.pid for name, fleet_child in self._fleet.children.items() if _stays(name)}
        store = asyncio.run(self._store())
        return Sample(
            seconds=time.monotonic() - self._began,
            rss_bytes={name: _status(pid, "VmRSS") * KIB for name, pid in watched.items()},
            files={name: sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir()) for name, pid in watched.items()},
            threads={name: _status(pid, "Threads") for name, pid in watched.items()},
            **store,
        )

    async def _store(self) -> dict[str, int]:
        store = open_store(self._fleet.store.url)
        assert isinstance(store, RedisStore)
        keys, calls = self._keys, store._calls
        try:
            memory = await calls.command("INFO", "memory")
            head = (await store.versions.head(FEDERATION)).id.number
            bounded = [
                await calls.command(command, key)
                for command, key in (
                    ("HLEN", keys.receipts),
                    ("HLEN", keys.outcomes),
                    ("ZCARD", keys.settled),
                    ("HLEN", keys.agents),
                    ("HLEN", keys.waiting),
                    ("ZCARD", keys.lifetimes),
                    ("HLEN", keys.dead),
                )
            ]
            stored = await calls.command("DBSIZE")
            return {
                "versions": head,
                "store_keys": int(stored),
                "store_records": sum(map(int, bounded)),
                "store_bytes": int(memory["used_memory_dataset"]),
            }
        finally:
            await store.close()


def _stays(name: str) -> bool:
    return name.startswith(("coordinator", "worker", "agent"))


def _status(pid: int, field: str) -> int:
    """Return a number of /proc/PID/status, kB or a count."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1])
    raise ValueError(f"process {pid} has no {field}: it has ended")


def live(folder: Path, *, seconds: float) -> Life:
    """Run everything for a time and return what grew."""
    plan = federation_plan(folder, buffer=Buffer(size=8, timeout_seconds=0.5), retention=RETENTION)
    with Fleet(folder, plan) as fleet:
        fleet.add_coordinators(1)
        fleet.create_federation()
        fleet.add_workers(1, sweep_seconds=SWEEP_SECONDS)
        fleet.add_agent("agent-1", seconds=0.2)
        samples, visits = [], 0
        observer = Observer(fleet)
        for _ in _ticks(seconds):
            visits += _invite(fleet, visits)
            fleet.tend()
            samples.append(observer.look())
            with (folder / SAMPLES_NAME).open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(dataclasses.asdict(samples[-1])) + "\n")
        leaks = asyncio.run(_leaks(fleet))
        faults = [*fleet.accidents, *(f"nothing owns {key}" for key in leaks)]
    warm = [sample for sample in samples if sample.seconds >= WARM_UP_RATIO * seconds]
    trends, grew = judge(warm)
    return Life(
        last=samples[-1],
        deltas=visits * VISIT_DELTAS,
        identities=1 + VISIT_IDENTITIES * visits,
        trends=trends,
        faults=(*faults, *grew),
    )


def _ticks(seconds: float) -> Iterator[None]:
    """Yield now and then until the time is over: twice a second, in a long life less often."""
    began = time.monotonic()
    pause_seconds = max(0.5, seconds / MOST_SAMPLES)
    while time.monotonic() - began < seconds:
        yield
        time.sleep(pause_seconds)


def _invite(fleet: Fleet, visits: int) -> int:
    """Let the next passing agents come when the last ones have left; return how many processes came."""
    if any(role.kind == "sender" for role in fleet.roles.values()):
        return 0
    fleet.add_sender(f"visitor-{visits}", count=VISIT_DELTAS, streams=VISIT_IDENTITIES, pause_seconds=0.02)
    return 1


async def _leaks(fleet: Fleet) -> set[str]:
    store = open_store(fleet.store.url)
    try:
        return await unowned(store)
    finally:
        await store.close()


def judge(samples: list[Sample]) -> tuple[dict[str, Trend], list[str]]:
    """Return the trends of everything, and what grows more than it may."""
    names = sorted(samples[0].rss_bytes)
    versions = [float(sample.versions) for sample in samples]
    seconds = [sample.seconds for sample in samples]
    handled = max(versions) - min(versions)
    trends: dict[str, Trend] = {}
    grew: list[str] = []
    if handled < 20:
        grew.append(f"only {handled:.0f} versions were published after the warm-up: too little to judge by")
    for name in names:
        rss = trend(versions, [float(sample.rss_bytes[name]) for sample in samples])
        trends[f"rss_{name}"] = rss
        allowed = RSS_PER_DELTA_BYTES * 8 + RSS_NOISE_BYTES / max(1.0, handled)
        if rss.slope > allowed:
            grew.append(f"memory of {name}: {rss.slope:+.0f} bytes per version, {allowed:.0f} allowed")
        for kind in ("files", "threads"):
            counts = trend(seconds, [float(getattr(sample, kind)[name]) for sample in samples])
            trends[f"{kind}_{name}"] = counts
            if counts.slope * (seconds[-1] - seconds[0]) > FILES_NOISE:
                grew.append(f"{kind} of {name}: {counts.slope * 3600:+.1f} per hour")
    for kind in ("store_keys", "store_records"):
        counts = trend(seconds, [float(getattr(sample, kind)) for sample in samples])
        trends[kind] = counts
        if counts.slope * (seconds[-1] - seconds[0]) > KEYS_NOISE + 0.1 * counts.last:
            grew.append(f"{kind}: {counts.slope * 3600:+.1f} per hour, {counts.last:.0f} at the end")
    trends["store_bytes"] = trend(versions, [float(sample.store_bytes) for sample in samples])
    if trends["store_bytes"].slope > KEPT_PER_VERSION_BYTES:
        grew.append(f"the store: {trends['store_bytes'].slope:+.0f} bytes per version")
    return trends, grew


def main(arguments: list[str] | None = None) -> int:
    """Live for as long as was asked, print one line, and return 0 unless something grew."""
    parser = argparse.ArgumentParser(prog="long_life", description="Does anything grow in a long life?")
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--minutes", type=float, default=1.5, help="how long to run (default: %(default)s)")
    length.add_argument("--hours", type=float, help="how long to run, in hours")
    parser.add_argument("--folder", type=Path, help="where to keep everything (default: a temporary folder)")
    chosen = parser.parse_args(arguments)
    seconds = chosen.hours * 3600 if chosen.hours else chosen.minutes * 60
    with tempfile.TemporaryDirectory(prefix="alignfed-long-") as folder:
        found = live(chosen.folder or Path(folder), seconds=seconds)
    sys.stdout.write(found.report() + "\n")
    return 1 if found.faults else 0


if __name__ == "__main__":
    sys.exit(main())
