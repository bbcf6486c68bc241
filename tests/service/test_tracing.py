"""Traces of RPCs: a client's context is taken when it is sound, and nothing else about a call depends on it."""

from __future__ import annotations

import dataclasses

import pytest
from opentelemetry.trace import SpanKind, StatusCode

from alignfed.plan import FederationPlan
from alignfed.tracing.context import TRACEPARENT
from alignfed.v1 import agent_service_pb2 as pb
from tests.service.conftest import Start
from tests.support.raw_client import WireDelta, refused
from tests.support.recorded_spans import RecordedSpans, context_of, told
from tests.support.watched_store import WatchedStore

TRACE, SPAN = "ab" * 16, "cd" * 8
SOUND = f"00-{TRACE}-{SPAN}-01"
SUBMIT = "alignfed.v1.AgentService/SubmitDelta"
POLL = "alignfed.v1.AgentService/GetGlobalVersion"


async def context_in_queue(store: WatchedStore) -> str:
    (queued,) = await store.deltas.claim("fed", "worker-1", limit=2)
    return queued.delta.trace_context


async def test_an_upload_is_a_part_of_its_agents_trace(start: Start, store: WatchedStore, delta: WireDelta) -> None:
    spans = RecordedSpans()
    coordinator = await start(tracer=spans.tracer)
    await coordinator.client.submit(delta.messages(), metadata=[(TRACEPARENT, SOUND)])

    server = await spans.ended(SUBMIT)
    assert server.kind is SpanKind.SERVER
    assert server.parent is not None
    assert (f"{server.parent.trace_id:032x}", f"{server.parent.span_id:016x}") == (TRACE, SPAN)
    assert server.status.status_code is not StatusCode.ERROR
    expected = {"federation": "fed", "agent_id": "agent-1", "delta_id": delta.delta_id, "base_version": 0}
    assert told(server).items() >= (expected | {"staleness_versions": 0, "outcome": "accepted"}).items()
    steps = [span for span in spans.all() if span is not server]
    assert [span.name for span in steps] == ["admit delta", "store payload", "enqueue delta"]
    for step in steps:
        assert step.parent is not None
        assert step.parent.span_id == context_of(server).span_id

    queued = await context_in_queue(store)
    assert queued == f"00-{TRACE}-{context_of(spans.one('enqueue delta')).span_id:016x}-01"


@pytest.mark.parametrize(
    "metadata",
    [
        [(TRACEPARENT, "nonsense")],
        [(TRACEPARENT, SOUND + " ")],
        [(TRACEPARENT, SOUND + "-" + "x" * 2000)],
        [(TRACEPARENT, f"00-{'0' * 32}-{SPAN}-01")],
        [(TRACEPARENT + "-bin", b"\x00\xff")],
        [("tracestate", "a=b")],
    ],
)
async def test_a_malformed_context_costs_nothing_but_the_trace(
    start: Start, store: WatchedStore, delta: WireDelta, metadata: list[tuple[str, str | bytes]]
) -> None:
    spans = RecordedSpans()
    coordinator = await start(tracer=spans.tracer)
    response = await coordinator.client.submit(delta.messages(), metadata=metadata)
    assert response.receipt.delta_id == delta.delta_id
    server = await spans.ended(SUBMIT)
    assert server.parent is None
    assert f"{context_of(server).trace_id:032x}" != TRACE
    assert f"{context_of(server).trace_id:032x}" in await context_in_queue(store)


async def test_a_coordinator_that_is_not_traced_passes_the_agents_context_on(
    start: Start, store: WatchedStore, delta: WireDelta
) -> None:
    coordinator = await start()
    await coordinator.client.submit(delta.messages(), metadata=[(TRACEPARENT, SOUND)])
    assert await context_in_queue(store) == SOUND


async def test_without_any_tracing_the_queue_holds_no_context(
    start: Start, store: WatchedStore, delta: WireDelta
) -> None:
    coordinator = await start()
    await coordinator.client.submit(delta.messages())
    assert await context_in_queue(store) == ""


async def test_a_refusal_is_a_failed_span_with_its_reason(start: Start, delta: WireDelta) -> None:
    spans = RecordedSpans()
    coordinator = await start(tracer=spans.tracer)
    await refused(coordinator.client.submit(dataclasses.replace(delta, agent_id="nobody").messages()))
    server = await spans.ended(SUBMIT)
    assert server.status.status_code is StatusCode.ERROR
    assert told(server).items() >= {"reason": "AGENT_UNKNOWN", "outcome": "rejected_agent_unknown"}.items()
    assert told(spans.one("admit delta"))["error.type"] == "AGENT_UNKNOWN"


async def test_polls_are_traced_only_for_those_who_ask(start: Start, plan: FederationPlan) -> None:
    spans = RecordedSpans()
    coordinator = await start(tracer=spans.tracer)
    request = pb.GetGlobalVersionRequest(federation=plan.federation, agent_id="agent-1")
    await coordinator.client.agents.GetGlobalVersion(request)
    assert spans.all() == []
    await coordinator.client.agents.GetGlobalVersion(request, metadata=[(TRACEPARENT, SOUND)])
    assert f"{context_of(await spans.ended(POLL)).trace_id:032x}" == TRACE
