"""Tracing is off unless it is asked for, costs nothing then, and says what is missing when it cannot be had."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.trace import NoOpTracer

from alignfed.errors import RequestInvalid
from alignfed.tracing.context import sound_traceparent
from alignfed.tracing.export import exporter_wanted, tracing
from alignfed.tracing.spans import Around, current_ids, current_traceparent, span
from tests.support.recorded_spans import RecordedSpans, context_of, told

SOUND = f"00-{'ab' * 16}-{'cd' * 8}-01"
ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4317"}
UNSOUND = [
    "",
    "nonsense",
    SOUND + "\n",
    SOUND + "-00",
    SOUND.upper(),
    SOUND.replace("00-", "ff-", 1),
    f"00-{'0' * 32}-{'cd' * 8}-01",
    f"00-{'ab' * 16}-{'0' * 16}-01",
    SOUND * 1000,
]


@pytest.mark.parametrize(
    ("environment", "wanted"),
    [
        ({}, "none"),
        ({"OTEL_SERVICE_NAME": "agent-in-the-barn", "OTEL_TRACES_SAMPLER": "always_on"}, "none"),
        (ENDPOINT, "otlp"),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:4317"}, "otlp"),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, "otlp"),
        ({"OTEL_TRACES_EXPORTER": "console"}, "console"),
        (ENDPOINT | {"OTEL_TRACES_EXPORTER": "none"}, "none"),
        (ENDPOINT | {"OTEL_SDK_DISABLED": "true"}, "none"),
    ],
)
def test_tracing_is_on_when_an_exporter_or_its_endpoint_is_named(environment: dict[str, str], wanted: str) -> None:
    assert exporter_wanted(environment) == wanted


@pytest.mark.parametrize(
    "environment", [{"OTEL_TRACES_EXPORTER": "zipkin"}, ENDPOINT | {"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}]
)
def test_what_alignfed_does_not_have_is_refused_by_name(environment: dict[str, str]) -> None:
    with pytest.raises(RequestInvalid, match=r"OTEL_\w+ is '(zipkin|http/protobuf)'"):
        exporter_wanted(environment)


def test_a_missing_sdk_is_named_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(RequestInvalid, match=r"pip install 'alignfed\[tracing\]'"), tracing("worker", ENDPOINT):
        pass
    with tracing("worker", {}) as tracer:
        assert isinstance(tracer, NoOpTracer)


PROGRAM = """
import sys
import coordinator.service.process, edge_agent.wire.client
from alignfed.tracing.export import tracing
with tracing("agent", {}):
    pass
print([name for name in sys.modules if name.startswith(("opentelemetry.sdk.trace", "opentelemetry.exporter"))])
"""


def test_a_process_that_is_not_traced_never_loads_the_sdk() -> None:
    """Of the SDK, `redis` may load the metrics by itself where they are installed."""
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.strip() == "[]"


def test_without_tracing_a_context_passes_through() -> None:
    """A coordinator that is not traced still lets the worker's merges link to the agents' traces."""
    assert current_traceparent() == ""
    assert current_ids() is None
    with span(NoOpTracer(), "serve", Around(parent=SOUND)), span(NoOpTracer(), "enqueue delta"):
        assert current_traceparent() == SOUND
        assert current_ids() == ("ab" * 16, "cd" * 8)
    assert current_traceparent() == ""


def test_only_a_sound_context_is_taken() -> None:
    assert sound_traceparent(SOUND) == SOUND
    for value in (*UNSOUND, None, 7, b"00", ["00"]):
        assert sound_traceparent(value) == ""


@given(st.text())
def test_no_text_is_an_error_as_parent_or_link(text: str) -> None:
    spans = RecordedSpans()
    with span(spans.tracer, "merge", Around(parent=text, links=[(text, {}), (SOUND, {"delta_id": "d"})])):
        pass
    found = spans.one("merge")
    assert found.parent is None or sound_traceparent(text)
    assert found.links[-1].context.trace_id == int("ab" * 16, 16)


def test_a_failure_is_recorded_by_its_first_reason() -> None:
    spans = RecordedSpans()
    with (
        pytest.raises(RequestInvalid),
        span(spans.tracer, "outer"),
        span(spans.tracer, "inner", version=3, reason=None),
    ):
        raise RequestInvalid("no")
    with pytest.raises(ZeroDivisionError), span(spans.tracer, "defect"):
        raise ZeroDivisionError
    for name in ("outer", "inner"):
        assert told(spans.one(name))["reason"] == "REQUEST_INVALID"
        assert spans.one(name).status.description == "REQUEST_INVALID"
        assert spans.one(name).events == ()
    assert told(spans.one("inner"))["version"] == 3
    assert told(spans.one("defect"))["error.type"] == "ZeroDivisionError"
    assert [event.name for event in spans.one("defect").events] == ["exception"]
    parent = spans.one("inner").parent
    assert parent is not None
    assert parent.span_id == context_of(spans.one("outer")).span_id
