"""Deltas with real payloads, sent as agents send them: stored under the names that a coordinator gives."""

from __future__ import annotations

import dataclasses

import torch

from alignfed.codec import Factors, encode
from alignfed.plan import FederationPlan
from coordinator.domain import VersionId
from coordinator.ports import Store
from coordinator.service.config import ServiceConfig
from coordinator.service.server import CoordinatorServer
from tests.support.factors import filled
from tests.support.raw_client import RawClient, WireDelta

ANY_PORT = "127.0.0.1:0"


def drawn_factors(seed: int) -> Factors:
    """Return random factors of `tests.support.factors.merging_plan`."""
    generator = torch.Generator().manual_seed(seed)
    return {name: 0.1 * torch.randn(tensor.shape, generator=generator) for name, tensor in filled(0.0).items()}


async def upload(store: Store, plan: FederationPlan, *seeds: int, base: VersionId | None = None) -> None:
    """Send a delta for each seed through a coordinator that runs meanwhile, trained from the head or `base`."""
    base = base or (await store.versions.head(plan.federation)).id
    server = CoordinatorServer(store, config=ServiceConfig(agent_listen=ANY_PORT, operator_listen=ANY_PORT))
    await server.start()
    client = RawClient(agent_port=server.agent_port, operator_port=server.operator_port)
    try:
        for seed in seeds:
            payload = bytes(encode(drawn_factors(seed), plan.delta_encoding))
            delta = WireDelta.of(plan, base, agent_id=f"agent-{1 + seed % 2}")
            await client.submit(dataclasses.replace(delta, payload=payload).messages())
    finally:
        await client.close()
        await server.stop()
