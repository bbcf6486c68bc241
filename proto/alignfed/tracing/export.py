"""Where spans go: an OpenTelemetry collector, as the standard `OTEL_*` variables say; nowhere unless they ask for it.

The SDK and its exporter are the extra `tracing`. They load only when tracing is on.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from opentelemetry.trace import NoOpTracer, Tracer

from alignfed import __version__
from alignfed.errors import RequestInvalid

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter

log = logging.getLogger(__name__)

LAST_SPANS_SECONDS = 3.0
"""How long a process that ends waits for a collector to take its last spans."""

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_NONE, _OTLP, _CONSOLE = "none", "otlp", "console"


@contextmanager
def tracing(component: str, environment: Mapping[str, str] = os.environ) -> Iterator[Tracer]:
    """Yield what makes spans while the body runs; afterwards the last spans are sent, within a few seconds.

    Args:
        component: Which process this is, such as `worker`; the service is called `alignfed-<component>` unless
            `OTEL_SERVICE_NAME` or `OTEL_RESOURCE_ATTRIBUTES` name it.
        environment: Whether to trace, and which exporter to use. The SDK reads everything else from the process.

    Raises:
        RequestInvalid: Tracing is asked for, and the extra is not installed, or the exporter or its protocol is not one
            that AlignFed has.
    """
    wanted = exporter_wanted(environment)
    if wanted == _NONE:
        yield NoOpTracer()
        return
    try:
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        exporter = _new_exporter(wanted)
    except ImportError as error:
        raise RequestInvalid(
            "OTEL_* variables ask for traces, and OpenTelemetry's SDK is not installed: pip install "
            "'alignfed[tracing]', or set OTEL_TRACES_EXPORTER=none"
        ) from error
    provider = TracerProvider(resource=Resource.create(_resource(component, environment)), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    log.info("tracing is on", extra={"exporter": wanted})
    impatient = threading.Timer(LAST_SPANS_SECONDS, exporter.shutdown)  # ends retries towards a collector that is gone
    try:
        yield provider.get_tracer("alignfed", __version__)
    finally:
        impatient.daemon = True
        impatient.start()
        provider.shutdown()
        impatient.cancel()


def exporter_wanted(environment: Mapping[str, str]) -> str:
    """Return `otlp`, `console`, or `none`, which is the default: an endpoint or an exporter must be named.

    Raises:
        RequestInvalid: An exporter or protocol is named that AlignFed does not have.
    """
    named = environment.get("OTEL_TRACES_EXPORTER", "").strip().lower()
    endpoint = any(environment.get(name, "").strip() for name in _ENDPOINTS)
    if environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true" or named == _NONE:
        return _NONE
    if not named and not endpoint:
        return _NONE
    if named not in ("", _OTLP, _CONSOLE):
        raise RequestInvalid(f"OTEL_TRACES_EXPORTER is {named!r}: AlignFed has otlp, console and none")
    protocol = next((environment[name] for name in _PROTOCOLS if environment.get(name, "").strip()), "grpc")
    if named != _CONSOLE and protocol.strip().lower() != "grpc":
        raise RequestInvalid(
            f"{_PROTOCOLS[1]} is {protocol!r}: AlignFed sends traces over grpc only (port 4317 of most collectors)"
        )
    return named or _OTLP


def _new_exporter(name: str) -> SpanExporter:
    if name == _CONSOLE:
        import sys

        from opentelemetry.sdk.trace.export import ConsoleSpanExporter

        return ConsoleSpanExporter(out=sys.stderr)
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

    return OTLPSpanExporter()


def _resource(component: str, environment: Mapping[str, str]) -> dict[str, str]:
    """Return what describes this process, without what the environment describes."""
    described = {"service.version": __version__, "service.name": f"alignfed-{component}"}
    if environment.get("OTEL_SERVICE_NAME") or "service.name=" in environment.get("OTEL_RESOURCE_ATTRIBUTES", ""):
        del described["service.name"]
    return described
