"""The worker as a process: settings in, signals handled, metrics served, everything closed at the end."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import os
import secrets
import signal
import socket
from pathlib import Path

from alignfed.exposition import metrics_served, new_registry
from alignfed.tracing.spans import NoOpTracer, Tracer
from coordinator.backends.opening import opened_store
from coordinator.clock import SystemClock
from coordinator.signing import signer_from
from coordinator.store_metrics import store_watched
from coordinator.worker.context import SWEEP_SECONDS, WorkerContext
from coordinator.worker.lease import LEASE_TTL_SECONDS
from coordinator.worker.loop import Worker
from coordinator.worker.metrics import WorkerMetrics
from coordinator.worker.probes import Probes

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class WorkerConfig:
    """Settings of a worker process.

    Attributes:
        store_url: The store that the coordinators use.
        blob_url: Where payloads are kept; empty for in the store.
        federation: The one federation to work for; None for all.
        base_model: Directory of the base model, when it is not where the plan says.
        metrics_listen: `host:port` of `/metrics`; empty for none.
        threads: Threads of torch; 0 for one per core.
        lease_ttl_seconds: How long a worker that died keeps others from merging.
        sweep_seconds: How often what retention does not keep is let go of.
        signing_key_file: Private key (PEM) that signs the published versions; None signs none.
    """

    store_url: str
    blob_url: str = ""
    federation: str | None = None
    base_model: Path | None = None
    metrics_listen: str = "127.0.0.1:9465"
    threads: int = 0
    lease_ttl_seconds: float = LEASE_TTL_SECONDS
    sweep_seconds: float = SWEEP_SECONDS
    signing_key_file: Path | None = None


async def run(config: WorkerConfig, *, tracer: Tracer | None = None) -> None:
    """Merge until SIGTERM or SIGINT; a merge in progress is finished first. `tracer` makes spans; None for none.

    Raises:
        StoreUnreachable, StoreUnsafe: The store cannot be used.
        RequestInvalid: A listen address is malformed or taken, or the signing key cannot be used.
    """
    signer = signer_from(config.signing_key_file)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)

    registry = new_registry("worker")
    metrics = WorkerMetrics(registry)
    clock = SystemClock()
    async with (
        opened_store(config.store_url, blob_url=config.blob_url, observe=metrics.store.observe_call) as store,
        store_watched(store, metrics.store, clock),
    ):
        with metrics_served(registry, config.metrics_listen):
            context = WorkerContext(
                store=store,
                clock=clock,
                metrics=metrics,
                worker_id=new_worker_id(),
                sweep_seconds=config.sweep_seconds,
                signer=signer,
                tracer=tracer or NoOpTracer(),
            )
            probes = Probes(store.blobs, base_model=config.base_model, threads=config.threads)
            worker = Worker(context, probes, only=config.federation, lease_ttl_seconds=config.lease_ttl_seconds)
            log.info("worker %s started", context.worker_id)
            if signer.fingerprint:
                log.info("versions are signed with key %s", signer.fingerprint)
            await worker.run(stop)
            log.info("worker %s stopped", context.worker_id)


def new_worker_id() -> str:
    """Return an id that no other worker process has, not even this machine's next one."""
    return f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"
