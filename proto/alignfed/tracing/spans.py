"""Spans as AlignFed makes them: named attributes, parents and links from a `traceparent`, failures by their reason."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, NoOpTracer, Span, SpanContext, SpanKind, Status, StatusCode, TraceFlags, Tracer

from alignfed.errors import AlignFedError
from alignfed.tracing.context import sound_traceparent

__all__ = ["NoOpTracer", "Span", "SpanKind", "Tracer"]

Value = str | int | float | bool | None

PREFIX = "alignfed."
"""Of every attribute that is not one of OpenTelemetry's own."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Around:
    """Where a span belongs.

    Attributes:
        parent: `traceparent` of the span it is a part of; empty for the span that runs, or else a new trace.
        links: `traceparent` of each span that led to it, with attributes of the link; malformed ones are left out.
        kind: Its role in a call between processes.
    """

    parent: str = ""
    links: Sequence[tuple[str, Mapping[str, Value]]] = ()
    kind: SpanKind = SpanKind.INTERNAL


@contextmanager
def span(tracer: Tracer, name: str, around: Around | None = None, /, **attributes: Value) -> Iterator[Span]:
    """Run the body in a span, which is the current one meanwhile; a failure of the body is recorded and goes on.

    Args:
        tracer: Makes spans, or does nothing.
        name: What is done, from a closed set.
        around: Where it belongs; by default to the span that runs.
        **attributes: See `annotate`.
    """
    around = around or Around()
    links = [Link(found, _named(told)) for context, told in around.links if (found := _context_of(context)) is not None]
    with tracer.start_as_current_span(
        name,
        context=_as_parent(around.parent),
        kind=around.kind,
        attributes=_named(attributes),
        links=links,
        record_exception=False,
        set_status_on_exception=False,
    ) as made:
        try:
            yield made
        except Exception as error:
            fail(made, error)
            raise


def annotate(target: Span | None = None, /, **attributes: Value) -> None:
    """Add attributes to a span, the current one by default; None says nothing."""
    found = target or trace.get_current_span()
    if found.is_recording():
        found.set_attributes(_named(attributes))


def fail(target: Span, error: BaseException) -> None:
    """Mark a span as failed, by the stable reason of an error of AlignFed and by the class of any other.

    The first failure stays: what follows from it, such as the call being aborted, is not the cause.
    """
    status = getattr(target, "status", None)  # the SDK's spans have one
    if not target.is_recording() or (status is not None and status.status_code is StatusCode.ERROR):
        return
    if isinstance(error, AlignFedError):
        target.set_attributes({"error.type": error.reason, f"{PREFIX}reason": error.reason})
        target.set_status(Status(StatusCode.ERROR, error.reason))
        return
    target.set_attribute("error.type", type(error).__name__)
    target.record_exception(error)
    target.set_status(Status(StatusCode.ERROR, type(error).__name__))


def fail_current(error: BaseException) -> None:
    """Mark the span that runs as failed; see `fail`."""
    fail(trace.get_current_span(), error)


def current_traceparent() -> str:
    """Return the `traceparent` of the span that runs, also one of another process; empty outside every span."""
    context = trace.get_current_span().get_span_context()
    if not context.is_valid:
        return ""
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags & 0xFF:02x}"


def current_ids() -> tuple[str, str] | None:
    """Return trace id and span id of the span that runs, in hexadecimal; None outside every span."""
    context = trace.get_current_span().get_span_context()
    return (f"{context.trace_id:032x}", f"{context.span_id:016x}") if context.is_valid else None


def _context_of(traceparent: str) -> SpanContext | None:
    """Return what a `traceparent` names; None when it is malformed."""
    if not sound_traceparent(traceparent):
        return None
    _version, trace_id, span_id, flags = traceparent.split("-")
    return SpanContext(
        trace_id=int(trace_id, 16), span_id=int(span_id, 16), is_remote=True, trace_flags=TraceFlags(int(flags, 16))
    )


def _as_parent(traceparent: str) -> Context | None:
    found = _context_of(traceparent)
    return None if found is None else trace.set_span_in_context(trace.NonRecordingSpan(found))


def _named(attributes: Mapping[str, Value]) -> dict[str, str | int | float | bool]:
    return {PREFIX + name: value for name, value in attributes.items() if value is not None and value != ""}
