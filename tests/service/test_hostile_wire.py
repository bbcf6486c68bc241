"""A live coordinator under hostile requests: it goes on serving, and keeps nothing that nobody owns.

`ALIGNFED_HOSTILE_REQUESTS` is how many are sent in all, `ALIGNFED_HOSTILE_SEED` what they follow from.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import time
from collections import Counter
from pathlib import Path

import grpc
import pytest

from alignfed.plan import FederationPlan
from alignfed.v1 import types_pb2 as pb
from coordinator.backends.memory.state import MemoryState
from coordinator.domain import VersionId
from tests.fuzz.reader import peak_bytes, reset_peak_bytes
from tests.service.conftest import Running, Start
from tests.support.cases import seed_of
from tests.support.hostile_client import HostileClient
from tests.support.raw_client import WireDelta, refused
from tests.support.waiting import eventually
from tests.support.watched_store import WatchedStore

REQUESTS = int(os.environ.get("ALIGNFED_HOSTILE_REQUESTS", "400"))
SEED = seed_of("ALIGNFED_HOSTILE_SEED")
CLIENTS = 8
MEMORY_BYTES = 256 << 20
"""How far the process, which also holds the clients, may grow: a header of 4 MiB unfolds to 92 MiB while it is read."""
FILES = 16


@pytest.mark.timeout(120 + REQUESTS // 20)
async def test_a_coordinator_outlives_hostile_requests(
    start: Start,
    store: WatchedStore,
    plan: FederationPlan,
    base: VersionId,
    delta: WireDelta,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.ERROR)  # a hostile client must not fill the log either
    # An upload that says nothing more is ended soon, and the line is short; quotas are another test's.
    running = await start(
        progress_timeout_seconds=2.0, max_active_uploads=8, upload_wait_seconds=5.0, max_agent_deltas=10 * REQUESTS
    )
    await running.client.submit(WireDelta.of(plan, base, seed=1).messages())  # everything is loaded and connected
    tasks, files, memory = len(asyncio.all_tasks()), open_files(), reset_peak_bytes()
    began = time.perf_counter()
    ended, accepted = await attacks(running, delta)
    seconds = time.perf_counter() - began
    grown = peak_bytes() - memory

    async def quiet() -> bool:
        in_progress = running.metric("alignfed_uploads_in_progress")
        return in_progress == 0 and len(asyncio.all_tasks()) <= tasks and open_files() <= files + FILES

    await eventually(quiet, what=f"tasks ({tasks} before) and files ({files} before) are as few as before")
    said = f"seed {SEED}: {REQUESTS} requests in {seconds:.1f} s, memory +{grown / 2**20:.0f} MiB, {dict(ended)}"
    print(said)  # noqa: T201 (figures, for whoever runs it with -s)
    assert grown < MEMORY_BYTES + 2 * stored_bytes(store), said
    assert not caplog.records, caplog.text
    assert "UNKNOWN" not in ended, said
    assert set(ended) > {"OK", "INVALID_ARGUMENT"}, said

    response = await running.client.submit(delta.messages())
    assert response.receipt.state == pb.DELTA_STATE_QUEUED
    for delta_id in accepted:
        assert await store.deltas.receipt(plan.federation, delta_id), f"the receipt of {delta_id} is lost"
    queued = (await store.deltas.depth(plan.federation)).queued
    assert queued >= 2 + len(accepted)  # more when an answer came after its client had gone
    await assert_everything_owned(store, plan, deltas=queued)


async def test_bytes_that_are_no_message_are_refused_with_a_reason(coordinator: Running) -> None:
    for method in ("RegisterAgent", "QueryUpload", "GetGlobalVersion"):
        call = coordinator.client.channel.unary_unary(f"/alignfed.v1.AgentService/{method}")
        refusal = await refused(call(b"\xff\xff\xff", timeout=20))
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "REQUEST_INVALID")


async def attacks(running: Running, delta: WireDelta) -> tuple[Counter[str], set[str]]:
    """Make all attacks and return how many ended with which status, and the deltas that were accepted."""
    left = REQUESTS
    ended: Counter[str] = Counter()
    accepted: set[str] = set()

    async def one(number: int) -> None:
        nonlocal left
        client = HostileClient(running.server.agent_port, delta, random.Random(f"{SEED}:{number}"))
        try:
            while left > 0:
                left -= 1
                ended[await client.attack()] += 1
        finally:
            await client.close()
            accepted.update(client.accepted)

    await asyncio.gather(*(one(number) for number in range(CLIENTS)))
    return ended, accepted


async def assert_everything_owned(store: WatchedStore, plan: FederationPlan, *, deltas: int) -> None:
    """Every payload is noted as unclaimed or adopted; once the unclaimed expire, what is left belongs to something."""
    state: MemoryState = store._inner._state  # type: ignore[attr-defined]
    noted = {blob for book in state.books.values() for blob in (*book.unclaimed, *book.kept_until)}
    assert set(state.parts) <= noted, f"parts that nobody owns: {sorted(set(state.parts) - noted)[:5]}"
    assert set(state.federations) == {plan.federation}
    await store.blobs.sweep(plan.federation, unclaimed_before=time.time() + 1e6)
    assert len(state.parts) == deltas + 2, "more is left than the deltas, version 0 and the calibration set"
    assert not state.books[plan.federation].unclaimed


def stored_bytes(store: WatchedStore) -> int:
    """Return what the memory store, which lives in this process too, holds of payloads."""
    state: MemoryState = store._inner._state  # type: ignore[attr-defined]
    return sum(len(part) for parts in state.parts.values() for part in parts.values())


def open_files() -> int:
    """Return how many files this process has open; 0 where the system does not tell."""
    listing = Path("/proc/self/fd")
    return len(list(listing.iterdir())) if listing.is_dir() else 0
