"""The trace context that travels with a delta: one W3C `traceparent`, checked wherever it enters."""

from __future__ import annotations

import re

TRACEPARENT = "traceparent"
"""Name of the gRPC metadata entry."""

_SOUND = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


def sound_traceparent(value: object) -> str:
    """Return `value` if it is a `traceparent` of version 00, 55 characters; otherwise nothing, never an error.

    A trace helps people to look into what happened. It comes from outside, and must not decide about a delta.

    Source: W3C Trace Context, section 3.2.
    """
    return value if isinstance(value, str) and _SOUND.fullmatch(value) else ""
