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

from alignfed.plan import FederationPlan
from edge_agent.domain import Capabilities, DeltaMeta, DeltaState, GlobalVersion, Receipt, ResumeAt
from edge_agent.stopping import Interrupted
from edge_agent.wire.client import CoordinatorClient
from edge_agent.wire.link import Link
from tests.chaos.harness.journals import ACKNOWLEDGED, REFUSED, SENDING, EventLog, read_events
from tests.chaos.harness.payloads import delta_with

VARIANTS = 4
"""Different payloads of one stream; more would only take longer to prepare."""
RETRIES = "all sent; retries"
"""What a sender says at its end, followed by their number."""
BASE_SECONDS = 1.0
"""How often a sender asks for the head, to train from it."""

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SenderSettings:
    """What a sender needs to know.

    Attributes:
        coordinator: `host:port` for agents.
        federation: Where to.
        agent_id: The process' name; its agents have numbers in addition.
        folder: Journal and payloads.
        count: Deltas in all.
        streams: Agents, each with one upload at a time.
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


def delta_id_of(agent_id: str, number: int) -> str:
    """Return the id of a sender's delta, the same in every process."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, f"{agent_id}-{number}"))


class Sender:
    """One process of several agents, `NAME.0` to `NAME.(streams-1)`, each with a client and a thread."""

    def __init__(self, settings: SenderSettings) -> None:
        self._settings = settings
        self._stop, self._enough = threading.Event(), threading.Event()
        told = read_events(settings.journal)
        self._settled = set(told.get(ACKNOWLEDGED, ())) | set(told.get(REFUSED, ()))
        self._events = EventLog(settings.journal)
        self._failure: BaseException | None = None
        self._retries: list[str] = []
        self._longest_seconds = 0.0

    def run(self) -> None:
        """Send until every delta is settled, or until SIGTERM: each stream then ends after the delta it is at."""
        signal.signal(signal.SIGTERM, lambda *_: self._enough.set())
        count = self._settings.streams
        streams = [threading.Thread(target=self._guarded_stream, args=(index,)) for index in range(count)]
        for stream in streams:
            stream.start()
        for stream in streams:
            stream.join()
        if self._failure is not None:
            raise self._failure
        logger.info("%s %d, longest upload %.3f s", RETRIES, len(self._retries), self._longest_seconds)

    def _guarded_stream(self, index: int) -> None:
        try:
            self._stream(index)
        except Interrupted:
            pass
        except BaseException as error:  # noqa: BLE001  # raised by `run`
            self._failure = error
            self._stop.set()

    def _stream(self, index: int) -> None:
        settings = self._settings
        agent_id = f"{settings.agent_id}.{index}"
        with CoordinatorClient(settings.coordinator, federation=settings.federation, agent_id=agent_id) as client:
            link = Link(
                client=client,
                capabilities=Capabilities(),
                stop=self._stop,
                on_retry=lambda error: self._retries.append(error.reason),
                rng=random.Random(),
            )
            plan = link.register()
            payloads = list(_prepare(plan, Path(settings.folder), index))
            base, base_at = link.call(client.global_version).head, time.monotonic()
            for number in range(index, settings.count, settings.streams):
                delta_id = delta_id_of(settings.agent_id, number)
                if delta_id in self._settled:
                    continue
                if self._enough.is_set():
                    return
                if time.monotonic() - base_at > BASE_SECONDS:
                    base, base_at = link.call(client.global_version).head, time.monotonic()
                meta, payload = payloads[number // settings.streams % len(payloads)]
                meta = dataclasses.replace(meta, delta_id=delta_id, sequence=number, base=base)
                began = time.monotonic()
                self._events.note(SENDING, delta_id)
                receipt = self._deliver(link, client, meta, payload)
                self._events.note(REFUSED if receipt.state is DeltaState.REJECTED else ACKNOWLEDGED, delta_id)
                self._longest_seconds = max(self._longest_seconds, time.monotonic() - began)
                if settings.pause_seconds:
                    link.pause(settings.pause_seconds)

    def _deliver(self, link: Link, client: CoordinatorClient, meta: DeltaMeta, payload: Path) -> Receipt:
        """Upload a delta as often as it takes; before any but the first try ask what became of the last one."""
        tries = itertools.count(int(self._settings.query_first))

        def transfer() -> Receipt:
            answer: Receipt | ResumeAt = ResumeAt(offset=0)
            if next(tries):
                answer = client.query_upload(meta.delta_id, meta.sha256, rank=meta.rank)
            if isinstance(answer, Receipt):
                return answer
            return client.submit(meta, payload, answer, chunk_bytes=link.plan.limits.chunk_bytes)

        return link.call(transfer)


def _prepare(plan: FederationPlan, folder: Path, index: int) -> Iterator[tuple[DeltaMeta, Path]]:
    """Write the payloads of a stream and yield each with everything but its delta's id, place and base."""
    drawn = torch.Generator().manual_seed(index)
    for variant in range(VARIANTS):
        factors = {spec.name: 0.01 * torch.randn(spec.shape, generator=drawn) for spec in plan.tensors}
        delta = delta_with(factors, plan, base=GlobalVersion(epoch=0, number=0, digest=""))
        path = folder / f"payload-{index}-{variant}"
        path.write_bytes(delta.payload)
        yield delta.meta, path


def run_sender(settings: SenderSettings) -> None:
    """Send every delta, then end."""
    Sender(settings).run()
