"""The service's parts, put together once per process."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from alignfed.tracing.spans import Tracer
from coordinator.authority.certificates import Authority, load_authority
from coordinator.authority.folder import read_pem
from coordinator.ports import Clock, Store
from coordinator.service.bounds import DrainSwitch
from coordinator.service.caches.heads import HeadCache
from coordinator.service.caches.levels import QueueLevels
from coordinator.service.caches.liveness import Liveness
from coordinator.service.caches.plans import Plans
from coordinator.service.caches.roster import Roster
from coordinator.service.caches.store_room import StoreRoom
from coordinator.service.caches.unfinished import Unfinished
from coordinator.service.caches.versions import RecentVersions
from coordinator.service.config import ServiceConfig
from coordinator.service.identity.certificates import CertificateReader
from coordinator.service.identity.gate import Gate
from coordinator.service.identity.joining import Joining
from coordinator.service.identity.open_calls import OpenCalls
from coordinator.service.identity.rates import Rates
from coordinator.service.identity.revocations import Revocations
from coordinator.service.metrics import ServiceMetrics
from coordinator.service.quotas import Quotas
from coordinator.service.transfers.creation import Creation
from coordinator.service.transfers.download_stream import DownloadStream
from coordinator.service.transfers.downloads import Downloads
from coordinator.service.transfers.parts import PartCache
from coordinator.service.transfers.upload_journal import UploadJournal
from coordinator.service.transfers.uploads import UploadPorts, Uploads
from coordinator.service.transfers.welcome import Welcome
from coordinator.signing import Signer, signer_from


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Assembly:
    """What both servicers call."""

    config: ServiceConfig
    store: Store
    clock: Clock
    metrics: ServiceMetrics
    tracer: Tracer
    drain: DrainSwitch
    plans: Plans
    roster: Roster
    heads: HeadCache
    levels: QueueLevels
    store_room: StoreRoom
    quotas: Quotas
    revocations: Revocations
    gate: Gate
    rates: Rates
    joining: Joining
    liveness: Liveness
    uploads: Uploads
    downloads: DownloadStream
    creation: Creation
    signer: Signer


def assemble(*, config: ServiceConfig, store: Store, clock: Clock, metrics: ServiceMetrics, tracer: Tracer) -> Assembly:
    """Put the parts together; starts nothing.

    Raises:
        RequestInvalid: The signing key cannot be used.
    """
    signer = signer_from(config.signing_key_file)
    drain = DrainSwitch()
    plans = Plans(store.federations, clock)
    roster = Roster(store.agents, clock, lifetime_seconds=config.agent_record_seconds)
    heads = HeadCache(store, clock, drain=drain, reread_seconds=config.head_reread_seconds)
    versions = RecentVersions(store.versions, clock)
    downloads = Downloads(
        heads=heads, versions=versions, parts=PartCache(store.blobs, budget_bytes=config.download_cache_bytes)
    )
    levels = QueueLevels(store.deltas, plans, heads, clock, reread_seconds=config.queue_reread_seconds)
    unfinished = Unfinished(store.blobs, clock)
    calls = OpenCalls()
    revocations = Revocations(store, clock, calls, plans, reread_seconds=config.head_reread_seconds)
    store_room = StoreRoom(
        store, clock, reserve_ratio=config.store_reserve_ratio, reread_seconds=config.queue_reread_seconds
    )
    quotas = Quotas(store.deltas, unfinished, levels, config)
    upload_ports = UploadPorts(
        store=store,
        clock=clock,
        plans=plans,
        heads=heads,
        welcome=Welcome(
            deltas=store.deltas, roster=roster, heads=heads, versions=versions, quotas=quotas, store_room=store_room
        ),
        unfinished=unfinished,
        store_room=store_room,
        journal=UploadJournal(metrics),
        drain=drain,
        tracer=tracer,
    )
    return Assembly(
        config=config,
        store=store,
        clock=clock,
        metrics=metrics,
        tracer=tracer,
        drain=drain,
        plans=plans,
        roster=roster,
        heads=heads,
        levels=levels,
        store_room=store_room,
        quotas=quotas,
        revocations=revocations,
        gate=Gate(CertificateReader() if config.secure else None, revocations, calls, clock),
        rates=Rates(config, clock),
        joining=Joining(
            store,
            clock,
            revocations,
            authority=_agents_authority(config),
            certificate_days=config.agent_certificate_days,
        ),
        liveness=Liveness(store.agents, clock, flush_seconds=config.liveness_flush_seconds),
        uploads=Uploads(upload_ports, config),
        downloads=DownloadStream(downloads, drain=drain, metrics=metrics, config=config),
        creation=Creation(store, clock, config, signer),
        signer=signer,
    )


def _agents_authority(config: ServiceConfig) -> Authority | None:
    if not config.secure or not config.agent_ca_key_file:
        return None
    return load_authority(read_pem(Path(config.agent_ca_file)), read_pem(Path(config.agent_ca_key_file)))
