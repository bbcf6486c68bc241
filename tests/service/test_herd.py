"""A fleet that asks all at once, as it does after every version: it waits its turn, nobody is turned away."""

from __future__ import annotations

import asyncio
import time
from collections import Counter

import grpc

from alignfed.plan import FederationPlan
from alignfed.v1 import agent_service_pb2 as pb
from tests.service.conftest import Running

FLEET = 6000
BUSY_SECONDS = 2.0


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
