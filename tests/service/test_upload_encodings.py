"""Every encoding on the wire: length and manifest follow from the plan, and nothing else is let in."""

from __future__ import annotations

import dataclasses

import pytest

from alignfed.layout import layout_of
from alignfed.plan import Encoding, FederationPlan
from alignfed.plan_proto import ENCODING_TO_PROTO
from alignfed.v1 import types_pb2 as pb
from coordinator.domain import VersionId
from tests.service.conftest import Running
from tests.support.raw_client import WireDelta, refused, wire_plan
from tests.support.stores import seed_federation, take_lease
from tests.support.watched_store import WatchedStore

RATIO = 0.07


@pytest.fixture(params=Encoding)
async def plan(request: pytest.FixtureRequest, store: WatchedStore) -> FederationPlan:
    """A federation of each encoding."""
    plan = dataclasses.replace(wire_plan(), delta_encoding=request.param, topk_ratio=RATIO)
    return await seed_federation(store, plan.validate())


async def test_a_delta_of_the_plan_s_encoding_is_accepted_at_its_length(
    coordinator: Running, store: WatchedStore, plan: FederationPlan, base: VersionId
) -> None:
    delta = WireDelta.of(plan, base)
    response = await coordinator.client.submit(delta.messages())
    assert response.receipt.state == pb.DELTA_STATE_QUEUED
    await take_lease(store, plan.federation)
    (queued,) = await store.deltas.claim(plan.federation, "worker-1", limit=10)
    assert queued.delta.encoding is plan.delta_encoding
    wanted = layout_of(plan.tensors, plan.delta_encoding, topk_ratio=RATIO).total_bytes
    assert queued.delta.payload.total_bytes == wanted == len(delta.payload)


async def test_another_encoding_or_another_share_is_refused(
    coordinator: Running, plan: FederationPlan, base: VersionId
) -> None:
    delta = WireDelta.of(plan, base)
    for other in set(Encoding) - {plan.delta_encoding}:
        header = delta.header(encoding=ENCODING_TO_PROTO[other])
        assert (await refused(coordinator.client.submit([header]))).reason == "ENCODING_NOT_ALLOWED"
    if plan.delta_encoding is Encoding.TOPK:
        more = WireDelta.of(dataclasses.replace(plan, topk_ratio=2 * RATIO), base)
        assert (await refused(coordinator.client.submit(more.messages()))).reason == "PAYLOAD_OVERSIZED"
        fewer = WireDelta.of(dataclasses.replace(plan, topk_ratio=RATIO / 2), base)
        assert (await refused(coordinator.client.submit(fewer.messages()))).reason == "PAYLOAD_TRUNCATED"
