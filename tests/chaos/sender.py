"""A light agent: real client, real link, prepared payloads, no training; its durable journal says what it was told.

It sends a number of deltas, whose ids follow from its name, over several streams. Killed and started again it goes on
with those whose acknowledgement is not in its journal, under the same ids: the coordinator must tell the resent ones.
"""

from __future__ import annotations

import dataclasses
import itertools
import logging
import random
import signal
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import torch

from alignfed.chunks import sha256_of
from alignfed.codec import encode
from alignfed.errors import AlignFedError
from alignfed.plan import FederationPlan
from edge_agent.domain import Capabilities, DeltaMeta, DeltaState, GlobalVersion, Receipt, ResumeAt
from edge_agent.stopping import Interrupted
from edge_agent.wire.client import CoordinatorClient
from edge_agent.wire.link import Link
from tests.chaos.journals import ACKNOWLEDGED, REFUSED, EventLog, read_events

VARIANTS = 16
"""Different payloads of one sender; more would only take longer to prepare."""
BASE_SECONDS = 1.0
"""How often a sender asks for the head, to train from it."""

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SenderSettings:
    """What a sender needs to know.

    Attributes:
        coordinator: `host:port` for agents.
        federation: Where to.
        agent_id: As whom.
        folder: Journal and payloads.
        count: Deltas in all.
        streams: Uploads at a time.
        pause_seconds: Between two deltas of one stream.
        query_first: Ask before each upload, as agents do; otherwise only before the second try.
    """

    coordinator: str
    federation: str
    agent_id: str
    folder: str
    count: int
    streams: int = 4
    pause_seconds: float = 0.0
    query_first: bool = False

    @property
    def journal(self) -> Path:
        """Where the acknowledgements are noted."""
        return Path(self.folder) / "events.log"

    def delta_id(self, number: int) -> str:
        """Return the id of a delta."""
        return delta_id_of(self.agent_id, number)


def delta_id_of(agent_id: str, number: int) -> str:
    """Return the id of a sender's delta, the same in every process."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, f"{agent_id}-{number}"))


class Sender:
    """Owns one client and its streams."""

    def __init__(self, settings: SenderSettings) -> None:
        self._settings = settings
        self._stop = threading.Event()
        self._lock = threading.Lock()
        told = read_events(settings.journal)
        self._settled = set(told.get(ACKNOWLEDGED, ())) | set(told.get(REFUSED, ()))
        self._events = EventLog(settings.journal)
        self._numbers = itertools.count()
        self._failure: BaseException | None = None
        self.retries = 0
        self.longest_seconds = 0.0

    def run(self) -> None:
        """Send until every delta is settled, or until SIGTERM."""
        settings = self._settings
        signal.signal(signal.SIGTERM, lambda *_: self._stop.set())
        client = CoordinatorClient(settings.coordinator, federation=settings.federation, agent_id=settings.agent_id)
        with client:
            self._client = client
            self._link = Link(
                client=client,
                capabilities=Capabilities(),
                stop=self._stop,
                on_retry=self._retried,
                rng=random.Random(),
            )
            plan = self._link.register()
            self._payloads = list(_prepare(plan, Path(settings.folder), settings.agent_id))
            self._base, self._base_at = self._link.call(client.global_version).head, time.monotonic()
            streams = [threading.Thread(target=self._guarded_stream, args=(plan,)) for _ in range(settings.streams)]
            for stream in streams:
                stream.start()
            for stream in streams:
                stream.join()
        if self._failure is not None:
            raise self._failure
        logger.info("done: %d retries, longest upload %.3f s", self.retries, self.longest_seconds)

    def _guarded_stream(self, plan: FederationPlan) -> None:
        try:
            self._stream(plan)
        except Interrupted:
            pass
        except BaseException as error:  # noqa: BLE001  # raised by `run`
            self._failure = error
            self._stop.set()

    def _stream(self, plan: FederationPlan) -> None:
        settings = self._settings
        while (number := next(self._numbers)) < settings.count:
            delta_id = settings.delta_id(number)
            if delta_id in self._settled:
                continue
            meta, payload = self._payloads[number % len(self._payloads)]
            meta = dataclasses.replace(meta, delta_id=delta_id, sequence=number, base=self._newest_base())
            began = time.monotonic()
            receipt = self._deliver(meta, payload, plan.limits.chunk_bytes)
            self._events.note(REFUSED if receipt.state is DeltaState.REJECTED else ACKNOWLEDGED, delta_id)
            self.longest_seconds = max(self.longest_seconds, time.monotonic() - began)
            if settings.pause_seconds:
                self._link.pause(settings.pause_seconds)

    def _deliver(self, meta: DeltaMeta, payload: Path, chunk_bytes: int) -> Receipt:
        tries = itertools.count(0 if not self._settings.query_first else 1)

        def transfer() -> Receipt:
            answer: Receipt | ResumeAt = ResumeAt(offset=0)
            if next(tries):
                answer = self._client.query_upload(meta.delta_id, meta.sha256, rank=meta.rank)
            if isinstance(answer, Receipt):
                return answer
            return self._client.submit(meta, payload, answer, chunk_bytes=chunk_bytes)

        return self._link.call(transfer)

    def _newest_base(self) -> GlobalVersion:
        with self._lock:
            if time.monotonic() - self._base_at > BASE_SECONDS:
                self._base_at = time.monotonic()
                self._base = self._link.call(self._client.global_version).head
            return self._base

    def _retried(self, _error: AlignFedError) -> None:
        with self._lock:
            self.retries += 1


def _prepare(plan: FederationPlan, folder: Path, agent_id: str) -> Iterator[tuple[DeltaMeta, Path]]:
    """Write the payloads and yield each with everything but its delta's id, place and base."""
    drawn = torch.Generator().manual_seed(sum(agent_id.encode()))
    for variant in range(VARIANTS):
        payload = bytes(
            encode(
                {spec.name: 0.01 * torch.randn(spec.shape, generator=drawn) for spec in plan.tensors},
                plan.delta_encoding,
            )
        )
        path = folder / f"payload-{variant}"
        path.write_bytes(payload)
        meta = DeltaMeta(
            delta_id="",
            sequence=0,
            base=GlobalVersion(epoch=0, number=0, digest=""),
            base_model_digest=plan.base_model.digest,
            examples=1,
            local_steps=1,
            encoding=plan.delta_encoding,
            rank=plan.lora.rank,
            tensors=plan.tensors,
            total_bytes=len(payload),
            sha256=sha256_of(payload),
        )
        yield meta, path


def run_sender(settings: SenderSettings) -> None:
    """Send every delta, then end."""
    Sender(settings).run()
