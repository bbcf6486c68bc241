"""Spans kept in memory, as OpenTelemetry's SDK makes them."""

from __future__ import annotations

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanContext

from tests.support.waiting import eventually


class RecordedSpans:
    """A tracer and what it has recorded: spans that have ended."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self._provider = TracerProvider(shutdown_on_exit=False)
        self._provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.tracer = self._provider.get_tracer("test")

    def all(self) -> list[ReadableSpan]:
        """Return every span, in the order of their ends."""
        return list(self._exporter.get_finished_spans())

    def named(self, name: str) -> list[ReadableSpan]:
        """Return the spans of that name."""
        return [span for span in self.all() if span.name == name]

    async def ended(self, name: str) -> ReadableSpan:
        """Return the only span of that name, once it has ended: a server's ends after its client has the answer."""

        async def there() -> bool:
            return bool(self.named(name))

        await eventually(there, what=f"a span named {name!r} has ended")
        return self.one(name)

    def one(self, name: str) -> ReadableSpan:
        """Return the only span of that name."""
        found = self.named(name)
        assert len(found) == 1, f"{len(found)} spans named {name!r} among {[span.name for span in self.all()]}"
        return found[0]


def context_of(span: ReadableSpan) -> SpanContext:
    """Return a recorded span's identity."""
    assert span.context is not None
    return span.context


def told(span: ReadableSpan) -> dict[str, object]:
    """Return a span's attributes of AlignFed, without their prefix."""
    return {name.removeprefix("alignfed."): value for name, value in (span.attributes or {}).items()}
