"""One agent without a model: it speaks the whole contract, and sleeps where a real one trains."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import time
import uuid
from typing import Any

import grpc

from alignfed.errors import AlignFedError, Rejected, UnknownAgent
from alignfed.plan_proto import duration_to_proto
from alignfed.v1 import agent_service_pb2 as pb
from alignfed.v1 import types_pb2
from bench.fleet.draws import Habits
from bench.fleet.pacing import Pacing
from bench.fleet.wire import CALL_SECONDS, NoAnswer, Payload, Wire
from edge_agent.domain import DeltaMeta, GlobalVersion
from edge_agent.pace import Pace
from edge_agent.wire.backoff import delays, wait_seconds
from edge_agent.wire.messages import version_from_proto

SETTLE_SECONDS = 10.0
"""How often an agent asks what has become of acknowledged deltas; at once when it begins from a newer version. As the
real one, which follows the head no more closely than that."""
UPDATE_SECONDS = 1.0
"""Pause before a follower that was broken off begins again, at most: spread evenly."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What all agents of one federation in one process share.

    `acknowledged` maps each delta that was acknowledged to its agent and digest; `unanswered` holds those that were
    sent without an answer: they may have been accepted.
    """

    federation: str
    prefix: str
    wire: Wire
    pacing: Pacing
    payloads: tuple[Payload, ...]
    poll_seconds: float
    ending: asyncio.Event
    acknowledged: dict[str, tuple[str, str]] = dataclasses.field(default_factory=dict)
    unanswered: set[str] = dataclasses.field(default_factory=set)


class LightAgent:
    """One agent from its arrival until it is cancelled.

    Args:
        habits: Its draws.
        around: What it shares.
    """

    def __init__(self, habits: Habits, around: Surroundings) -> None:
        self._habits, self._profile, self._around = habits, habits.profile, around
        self._wire, self._figures = around.wire, around.wire.figures
        self._stub = around.wire.stub(self._profile.number)
        self.agent_id = f"{around.prefix}-{self._profile.number}"
        self._who: dict[str, Any] = {"federation": around.federation, "agent_id": self.agent_id}
        self._pace = Pace(habits.rng)
        self._head = GlobalVersion(epoch=0, number=0, digest="")
        self._outstanding: dict[str, DeltaMeta] = {}
        self._base = self._head
        self._settle_soon = asyncio.Event()
        self.idle = asyncio.Event()  # set unless a delta is on its way
        self.idle.set()

    async def live(self) -> None:
        """Arrive, take part, vanish now and then and come back, until cancelled."""
        await asyncio.sleep(self._profile.arrives_after_seconds)
        first = True
        while True:
            await self._register(first=first)
            self._figures.counts["online"] += 1
            helpers = [asyncio.create_task(self._settle())]
            if self._profile.follows:
                helpers.append(asyncio.create_task(self._follow()))
            try:
                await self._work(self._habits.first_training_seconds() if first else None)
            finally:
                self._figures.counts["gone"] += 1
                for helper in helpers:
                    helper.cancel()
                await asyncio.gather(*helpers, return_exceptions=True)
            first = False
            self._figures.counts["dropouts"] += 1
            await asyncio.sleep(self._habits.offline_seconds())

    async def _register(self, *, first: bool) -> None:
        capabilities = types_pb2.AgentCapabilities(device="cpu", software_version="bench", tier=self._profile.tier.name)
        request = pb.RegisterAgentRequest(**self._who, capabilities=capabilities)
        answer = await self._until_answered(
            "registrations", lambda: self._stub.RegisterAgent(request, timeout=CALL_SECONDS)
        )
        self._head = version_from_proto(answer.status.head)  # what it slept through is no news
        if first:
            self._figures.counts["registered"] += 1

    # ---- following the head ----------------------------------------------------------------------------------------

    async def _follow(self) -> None:
        while True:
            try:
                await (self._watch() if self._profile.watches else self._long_poll())
            except UnknownAgent:
                await self._register(first=False)
            except (AlignFedError, NoAnswer):
                pass  # counted
            await asyncio.sleep(self._habits.rng.uniform(0, UPDATE_SECONDS))

    async def _watch(self) -> None:
        call = self._stub.WatchGlobalVersions(pb.WatchGlobalVersionsRequest(**self._who))
        try:
            async for answer in call:
                self._figures.counts["watch_events"] += 1
                self._told(answer)
        except grpc.aio.AioRpcError as error:
            raise self._wire.failed(error) from error
        finally:
            call.cancel()

    async def _long_poll(self) -> None:
        wait = duration_to_proto(self._around.poll_seconds)
        patience_seconds = self._around.poll_seconds + CALL_SECONDS
        while True:
            request = pb.GetGlobalVersionRequest(**self._who, after_number=self._head.number, max_wait=wait)
            ask = functools.partial(self._stub.GetGlobalVersion, request, timeout=patience_seconds)
            self._told(await self._wire.call("long_polls", ask, timed=False))

    def _told(self, answer: Any) -> None:
        """Take in an answer that tells the head and the pace."""
        head = version_from_proto(answer.status.head)
        self._pace.advised(answer.pace.come_back_after.ToTimedelta().total_seconds())
        if head.number > self._head.number:
            if self._profile.follows:
                self._figures.learnt(self._around.federation, self._head.number, head.number, at=time.time())
            self._head = head

    # ---- training and sending --------------------------------------------------------------------------------------

    async def _work(self, first_seconds: float | None) -> None:
        """Make one delta after the other until dropping out."""
        while True:
            base = await self._begin()
            await self._around.pacing.train(first_seconds or self._habits.training_seconds())
            first_seconds = None
            if self._habits.vanishes():
                return
            await self._deliver(base)

    async def _begin(self) -> GlobalVersion:
        """Wait as the coordinator asks, poll as a real agent does before it trains, and return what to train from."""
        while (seconds := self._pace.remaining_seconds()) > 0:
            self._figures.counts["paced_waits"] += 1
            await asyncio.sleep(seconds)
        await asyncio.sleep(self._profile.latency_seconds)
        request = pb.GetGlobalVersionRequest(**self._who, after_number=self._head.number)
        self._told(
            await self._until_answered("polls", lambda: self._stub.GetGlobalVersion(request, timeout=CALL_SECONDS))
        )
        if self._head != self._base:
            self._base = self._head
            self._settle_soon.set()
        base = self._base
        if self._habits.downloads():
            with contextlib.suppress(AlignFedError, NoAnswer):  # counted; it trains from what it knows
                await self._download(base)
        return base

    async def _download(self, version: GlobalVersion) -> None:
        request = pb.DownloadAdapterRequest(
            federation=self._around.federation, number=version.number, kind=types_pb2.ADAPTER_KIND_TRAINING
        )

        async def read() -> int:
            parts = self._stub.DownloadAdapter(request, timeout=CALL_SECONDS)
            return sum([len(part.chunk.data) async for part in parts])

        nbytes = await self._wire.call("downloads", read)
        self._figures.counts["downloaded_bytes"] += nbytes
        await asyncio.sleep(self._profile.transfer_seconds(nbytes))

    async def _deliver(self, base: GlobalVersion) -> None:
        """Bring a delta to the coordinator, however long it takes, or learn that it is not wanted."""
        payload = self._around.payloads[self._profile.number % len(self._around.payloads)]
        meta = payload.as_another(str(uuid.UUID(int=self._habits.rng.getrandbits(128), version=4)), base)
        self._figures.counts["offered"] += 1
        waits = delays(self._habits.rng)
        while not self._around.ending.is_set():
            self.idle.clear()
            try:
                if await self._send(payload, meta):
                    return
            except Rejected:
                self._around.unanswered.discard(meta.delta_id)
                return  # counted
            except AlignFedError as error:
                hint = wait_seconds(next(waits), error)
            except NoAnswer:
                hint = next(waits)
            finally:
                self.idle.set()
            await asyncio.sleep(hint)

    async def _send(self, payload: Payload, meta: DeltaMeta) -> bool:
        """Ask, then upload; return whether it is acknowledged or known already."""
        profile, around = self._profile, self._around
        await asyncio.sleep(profile.latency_seconds)
        if (await self._ask(meta, before_upload=True)).HasField("receipt"):
            self._acknowledge(meta)
            return True
        await asyncio.sleep(profile.latency_seconds + profile.transfer_seconds(meta.total_bytes))
        parts = payload.parts(meta, federation=around.federation, agent_id=self.agent_id)
        try:
            around.unanswered.add(meta.delta_id)
            answer = await self._wire.call("uploads", lambda: self._stub.SubmitDelta(iter(parts), timeout=CALL_SECONDS))
        except AlignFedError:
            around.unanswered.discard(meta.delta_id)
            raise
        self._acknowledge(meta)
        self._told(answer)
        return True

    def _acknowledge(self, meta: DeltaMeta) -> None:
        self._around.unanswered.discard(meta.delta_id)
        self._around.acknowledged[meta.delta_id] = (self.agent_id, meta.sha256)
        self._figures.counts["acknowledged"] += 1
        self._outstanding[meta.delta_id] = meta

    # ---- what has become of deltas ---------------------------------------------------------------------------------

    async def _settle(self) -> None:
        """Ask about acknowledged deltas now and then until each is merged or rejected."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(SETTLE_SECONDS):
                    await self._settle_soon.wait()
            self._settle_soon.clear()
            await asyncio.sleep(self._profile.latency_seconds)
            for meta in list(self._outstanding.values()):
                with contextlib.suppress(AlignFedError, NoAnswer):
                    answer = await self._ask(meta, before_upload=False)
                    state = answer.receipt.state if answer.HasField("receipt") else None
                    if state != types_pb2.DELTA_STATE_QUEUED:
                        self._outstanding.pop(meta.delta_id, None)
                        self._figures.counts[f"settled_{types_pb2.DeltaState.Name(state) if state else 'unknown'}"] += 1

    async def _ask(self, meta: DeltaMeta, *, before_upload: bool) -> Any:
        request = pb.QueryUploadRequest(**self._who, delta_id=meta.delta_id, sha256=meta.sha256, rank=meta.rank)
        if before_upload:
            base = meta.base
            request.base_version.CopyFrom(types_pb2.VersionId(epoch=base.epoch, number=base.number, digest=base.digest))
        return await self._wire.call("queries", lambda: self._stub.QueryUpload(request, timeout=CALL_SECONDS))

    async def _until_answered(self, what: str, make: Any) -> Any:
        """Repeat a call until it is answered, as a real agent does."""
        waits = delays(self._habits.rng)
        while True:
            try:
                return await self._wire.call(what, make)
            except UnknownAgent:
                if what == "registrations":
                    raise
                await self._register(first=False)
            except AlignFedError as error:
                await asyncio.sleep(wait_seconds(next(waits), error))
            except NoAnswer:
                await asyncio.sleep(next(waits))
