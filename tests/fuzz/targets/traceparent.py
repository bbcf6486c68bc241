"""Trace contexts of clients: a sound one or none, never an error."""

from __future__ import annotations

import random

from alignfed.tracing.context import sound_traceparent
from alignfed.tracing.spans import Around, NoOpTracer, SpanKind, span
from tests.fuzz.mutations import mutate_bytes
from tests.fuzz.target import Target


def seeds() -> list[bytes]:
    return [
        b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        b"00-" + b"0" * 32 + b"-b7ad6b7169203331-00",
        b"cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
    ]


def mutate(data: bytes, rng: random.Random) -> bytes:
    return mutate_bytes(data, rng)


def check(data: bytes) -> str:
    text = data.decode("utf-8", "surrogateescape")
    outcomes = {sound_traceparent(value) for value in (text, data, text.lower(), None, 7)} - {""}
    for value in outcomes:
        assert len(value) == 55
        assert value.isascii()
        assert value == value.lower()
    with span(_TRACER, "read", Around(parent=text, kind=SpanKind.SERVER)):
        pass
    return "sound" if outcomes else "none"


_TRACER = NoOpTracer()

TARGET = Target(name="traceparent", seeds=seeds, mutate=mutate, check=check)
