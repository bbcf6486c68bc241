"""Spans really leave: over OTLP to a collector that listens, and without delay when none does."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent import futures
from typing import Any

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as pb
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as rpc

from alignfed.tracing.export import LAST_SPANS_SECONDS, tracing
from alignfed.tracing.spans import Around, span
from tests.support.servers import free_port

LINK = f"00-{'ab' * 16}-{'cd' * 8}-01"


class Collector(rpc.TraceServiceServicer):
    """Keeps what arrives."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.received: list[Any] = []

    def Export(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802, ARG002 (as gRPC calls it)
        with self._lock:
            self.received.extend(request.resource_spans)
        return pb.ExportTraceServiceResponse()


@pytest.fixture(autouse=True)
def nothing_else_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OTEL_SERVICE_NAME", "OTEL_RESOURCE_ATTRIBUTES", "OTEL_TRACES_SAMPLER", "OTEL_TRACES_EXPORTER"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    kept = Collector()
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=2))
    rpc.add_TraceServiceServicer_to_server(kept, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{port}")
    yield kept
    server.stop(grace=None).wait()


def described(resource_spans: Any) -> dict[str, str]:
    return {pair.key: pair.value.string_value for pair in resource_spans.resource.attributes}


def test_a_collector_gets_every_span_with_its_service_and_links(collector: Collector) -> None:
    with tracing("worker") as tracer:
        around = Around(links=[(LINK, {"delta_id": "d-1"})])
        with span(tracer, "merge", around, federation="fed"), span(tracer, "commit version", version=1):
            pass
    (resource,) = collector.received
    assert described(resource)["service.name"] == "alignfed-worker"
    assert described(resource)["service.version"]
    spans = {found.name: found for scope in resource.scope_spans for found in scope.spans}
    assert spans.keys() == {"merge", "commit version"}
    assert spans["commit version"].parent_span_id == spans["merge"].span_id
    (link,) = spans["merge"].links
    assert (link.trace_id.hex(), link.span_id.hex()) == ("ab" * 16, "cd" * 8)
    assert [pair.value.string_value for pair in link.attributes] == ["d-1"]


@pytest.mark.parametrize(
    ("name", "value"), [("OTEL_SERVICE_NAME", "barn"), ("OTEL_RESOURCE_ATTRIBUTES", "service.name=barn,site=north")]
)
def test_the_environment_names_the_service(
    collector: Collector, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with tracing("agent") as tracer, span(tracer, "train delta"):
        pass
    assert described(collector.received[0])["service.name"] == "barn"


def test_the_environment_names_the_sampler(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")
    with tracing("agent") as tracer, span(tracer, "train delta"):
        pass
    assert collector.received == []


def test_a_collector_that_is_away_delays_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{free_port()}")
    began = time.monotonic()
    with tracing("agent") as tracer:
        for _ in range(600):  # more than one batch
            with span(tracer, "train delta"):
                pass
        worked = time.monotonic()
    assert worked - began < LAST_SPANS_SECONDS
    assert time.monotonic() - worked < LAST_SPANS_SECONDS + 5.0
