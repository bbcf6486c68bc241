"""A fleet that asks all at once, as it does after every version: it waits its turn, nobody is turned away."""

from __future__ import annotations

import asyncio
import time
from collections import Counter

import grpc
from google.protobuf.duration_pb2 import Duration

from alignfed.plan import FederationPlan
from alignfed.v1 import agent_service_pb2 as pb
from tests.service.conftest import Running, Start
from tests.support.stores import publish
from tests.support.waiting import eventually
from tests.support.watched_store import WatchedStore

FLEET = 6000
BUSY_SECONDS = 2.0
FOLLOWERS = 1500
VERSIONS = 2


async def test_thousands_of_requests_that_wait_at_once_are_all_answered(
    coordinator: Running, plan: FederationPlan
) -> None:
    """Requests that the process has not taken up yet wait in gRPC, which by default drops them from 1,000 on."""
    request = pb.GetGlobalVersionRequest(federation=plan.federation, agent_id="agent-1")
    calls = [coordinator.client.agents.GetGlobalVersion(request, timeout=60) for _ in range(FLEET)]
    await asyncio.sleep(0)
    time.sleep(BUSY_SECONDS)  # noqa: ASYNC251  # the process is busy; all requests arrive meanwhile
    answers = await asyncio.gather(*calls, return_exceptions=True)
    codes = Counter(answer.code().name if isinstance(answer, grpc.aio.AioRpcError) else "OK" for answer in answers)
    assert codes == {"OK": FLEET}


async def test_versions_that_thousands_wait_for_melt_nothing(
    start: Start, plan: FederationPlan, store: WatchedStore
) -> None:
    """Everybody is answered and asks again at once, which is the herd; nobody is turned away, and the store is asked
    for a head once for each version, not once for each that waits."""
    running = await start(head_reread_seconds=60.0, liveness_flush_seconds=60.0)
    stub = running.client.agents

    async def ask(after: int, wait_seconds: int) -> int:
        request = pb.GetGlobalVersionRequest(
            federation=plan.federation, agent_id="agent-1", after_number=after, max_wait=Duration(seconds=wait_seconds)
        )
        return int((await stub.GetGlobalVersion(request, timeout=60)).status.head.number)

    async def follow() -> None:
        known = 0
        while known < VERSIONS:
            known = await ask(known, 30)

    async def all_wait() -> bool:
        return running.server._assembly.heads.waiting == FOLLOWERS

    followers = [asyncio.ensure_future(follow()) for _ in range(FOLLOWERS)]
    await eventually(all_wait, what="every follower waits", timeout_seconds=60)
    store.calls.clear()
    bystanders = []
    for _ in range(VERSIONS):
        await publish(store, plan.federation)
        bystanders.append(
            asyncio.ensure_future(ask(0, 0))
        )  # stands in line with the herd, and is answered all the same
    ends = await asyncio.gather(*followers, return_exceptions=True)
    assert Counter(type(end).__name__ for end in ends) == {"NoneType": FOLLOWERS}
    assert min(await asyncio.gather(*bystanders)) >= 1
    # `publish` itself reads the head twice; each announcement makes the coordinator read it once more
    assert store.calls["versions.head"] <= 3 * VERSIONS
