"""So many hostile messages against a live coordinator, while a healthy agent goes on being served."""

from __future__ import annotations

import asyncio
import dataclasses
import random
import time
from collections import Counter

import grpc

from alignfed.plan import FederationPlan
from alignfed.v1 import agent_service_pb2 as pb
from coordinator.domain import Rejection, VersionId
from coordinator.ports import Store
from tests.support.hostile_client import HostileClient
from tests.support.hostile_wire import Endings, WireAttacker
from tests.support.raw_client import RawClient, WireDelta
from tests.support.stores import take_lease

HEALTHY = "agent-well"
ATTACKERS = tuple(f"agent-{number}" for number in range(48))
"""Agents in whose name attacks come: more than one may have uploads open."""
_CONNECTIONS = 8
_LIBRARY_SHARE = 0.5
"""Part of the attacks, not of the messages, that go over gRPC's own client: what takes much to send."""
_POLL_SECONDS = 0.05
_SUBMIT_SECONDS = 1.0
_DRAIN_SECONDS = 0.5
_UNSOUND = ("lie about", "lying frame", "no HTTP/2", "broken off", "spoiled bytes")
"""Kinds of message that gRPC itself answers, or hangs up on, before any code of ours."""


@dataclasses.dataclass(slots=True, kw_only=True)
class Campaign:
    """What was sent, and what came of it."""

    seed: int
    endings: Endings = dataclasses.field(default_factory=Counter)
    untyped: list[str] = dataclasses.field(default_factory=list)
    polls: list[float] = dataclasses.field(default_factory=list)
    submitted: set[str] = dataclasses.field(default_factory=set)
    accepted: set[str] = dataclasses.field(default_factory=set)
    seconds: float = 0.0

    @property
    def messages(self) -> int:
        """How many hostile messages were sent."""
        return sum(self.endings.values())

    @property
    def served(self) -> Counter[str]:
        """How the calls ended that reached our code, by status."""
        found: Counter[str] = Counter()
        for (kind, status), count in self.endings.items():
            if not kind.startswith(_UNSOUND):
                found[status] += count
        return found

    def __str__(self) -> str:
        kinds: dict[str, Counter[str]] = {}
        for (kind, status), count in sorted(self.endings.items()):
            kinds.setdefault(kind, Counter())[status] += count
        polls = sorted(self.polls)
        waits = f"median {polls[len(polls) // 2] * 1000:.0f} ms, slowest {polls[-1] * 1000:.0f} ms" if polls else "none"
        lines = [f"  {kind}: " + ", ".join(f"{status} {n}" for status, n in by.items()) for kind, by in kinds.items()]
        return "\n".join(
            (
                *lines,
                f"{self.messages} hostile messages in {self.seconds:.1f} s, {self.messages / self.seconds:.0f}/s, "
                f"{len(self.untyped)} untyped; meanwhile {len(polls)} polls of a healthy agent ({waits}) and "
                f"{len(self.submitted)} deltas of it accepted; seed {self.seed}",
            )
        )


async def attacked(
    *, messages: int, seed: int, agent_port: int, operator_port: int, store: Store, plan: FederationPlan
) -> Campaign:
    """Send so many hostile messages, and return what came of them; the healthy agent must be served all the time."""
    campaign = Campaign(seed=seed)
    base = (await store.versions.head(plan.federation)).id
    delta = WireDelta.of(plan, base, agent_id=ATTACKERS[0])
    began = time.perf_counter()
    healthy = RawClient(agent_port=agent_port, operator_port=operator_port)
    beside = [
        asyncio.create_task(_poll(healthy, plan, campaign)),
        asyncio.create_task(_submit(healthy, plan, base, campaign)),
        asyncio.create_task(_drain(store, plan)),
    ]
    attacking = [
        asyncio.create_task(_attack(campaign, messages, agent_port, delta, random.Random(f"{seed}:{number}")))
        for number in range(_CONNECTIONS)
    ]
    try:
        left = {*attacking, *beside}
        while left & set(attacking):
            done, left = await asyncio.wait(left, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()  # raises when the healthy agent was refused, or an attack made the coordinator fail
        campaign.seconds = time.perf_counter() - began
    finally:
        for task in (*attacking, *beside):
            task.cancel()
        await asyncio.gather(*attacking, *beside, return_exceptions=True)
        await healthy.close()
    return campaign


async def _attack(campaign: Campaign, messages: int, port: int, delta: WireDelta, rng: random.Random) -> None:
    wire = WireAttacker(port, delta, list(ATTACKERS), rng)
    library = HostileClient(port, delta, rng)
    try:
        while campaign.messages < messages:
            if rng.random() < _LIBRARY_SHARE:
                campaign.endings["call of gRPC's client", await library.attack()] += 1
            else:
                campaign.endings.update(await wire.attack())
    finally:
        await library.close()
        campaign.untyped += wire.untyped
        campaign.accepted |= library.accepted


async def _poll(client: RawClient, plan: FederationPlan, campaign: Campaign) -> None:
    """Ask for the head again and again, over a connection that must stay; a refusal ends the campaign."""
    request = pb.GetGlobalVersionRequest(federation=plan.federation, agent_id=HEALTHY)
    while True:
        began = time.perf_counter()
        response = await client.agents.GetGlobalVersion(request, timeout=60)
        assert response.status.head.digest
        campaign.polls.append(time.perf_counter() - began)
        await asyncio.sleep(_POLL_SECONDS)


async def _submit(client: RawClient, plan: FederationPlan, base: VersionId, campaign: Campaign) -> None:
    """Send whole deltas; one that is told to wait, as all are while many upload, tries again."""
    seed = 0
    while True:
        seed += 1
        delta = WireDelta.of(plan, base, agent_id=HEALTHY, seed=seed)
        try:
            await client.submit(delta.messages(), timeout=60)
            campaign.submitted.add(delta.delta_id)
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED:
                raise
        await asyncio.sleep(_SUBMIT_SECONDS)


async def _drain(store: Store, plan: FederationPlan) -> None:
    """Reject what is queued, as a worker does with deltas that hold nonsense, so that the queue never fills."""
    name = plan.federation
    while True:
        token = await take_lease(store, name)
        while claimed := await store.deltas.claim(name, "worker-1", limit=200):
            rejections = [Rejection(queued=queued, reason="NON_FINITE", detail="nonsense") for queued in claimed]
            await store.deltas.reject(name, token, rejections)
        await asyncio.sleep(_DRAIN_SECONDS)
