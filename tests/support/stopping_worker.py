"""A real worker process that announces a chosen point of its first merge and stops there until it is killed.

Run as `python -m tests.support.stopping_worker STORE_URL POINT`; POINT is `aggregate`, `commit` (before the commit), or
`committed` (after it, before anyone hears of it), or `never`.
"""

from __future__ import annotations

import asyncio
import sys
import time
from typing import Any

from coordinator.backends.redis.versions import RedisVersions
from coordinator.domain import Commit, CommitOutcome
from coordinator.worker import candidates
from coordinator.worker.process import WorkerConfig, run

LEASE_SECONDS = 1.0


def stop_here(point: str) -> None:
    """Tell the parent, and wait to be killed; blocks the whole process, as a pause of the machine would."""
    print(f"reached {point}", flush=True)  # noqa: T201 (the parent reads it)
    time.sleep(60)


def arm(point: str) -> None:
    """Put the stop where it was asked for."""
    real_aggregate, real_commit = candidates.aggregate, RedisVersions.commit

    def stopping_aggregate(*arguments: Any) -> Any:
        stop_here(point)
        return real_aggregate(*arguments)

    async def stopping_commit(self: RedisVersions, commit: Commit) -> CommitOutcome:
        if point == "commit":
            stop_here(point)
        outcome = await real_commit(self, commit)
        if point == "committed":
            stop_here(point)
        return outcome

    if point == "aggregate":
        candidates.aggregate = stopping_aggregate
    elif point != "never":
        RedisVersions.commit = stopping_commit  # type: ignore[method-assign]


if __name__ == "__main__":
    url, wanted = sys.argv[1:]
    arm(wanted)
    asyncio.run(run(WorkerConfig(store_url=url, metrics_listen="", threads=1, lease_ttl_seconds=LEASE_SECONDS)))
