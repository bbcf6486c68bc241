"""What can happen to the bytes of a connection, in each direction."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Iterator
from typing import Self


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """What happens to one direction of a connection.

    Attributes:
        latency_seconds: Every byte arrives that much later; others follow closely behind it.
        jitter_seconds: Up to so much more latency, drawn anew for each chunk; order is kept.
        bytes_per_second: No more than that arrive; None for as many as come.
        slice_bytes: Bytes arrive in writes of 1 to so many; None for as they come.
        held: Nothing arrives. It is kept, and arrives once the flow is free again, as TCP would repeat it.
        reset_after_bytes: The connection is reset once it has carried so many bytes in this direction.
    """

    latency_seconds: float = 0.0
    jitter_seconds: float = 0.0
    bytes_per_second: float | None = None
    slice_bytes: int | None = None
    held: bool = False
    reset_after_bytes: int | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """What happens to connections: `up` is from client to server."""

    up: Flow = Flow()
    down: Flow = Flow()

    @classmethod
    def both(cls, flow: Flow) -> Self:
        """Return the same for both directions."""
        return cls(up=flow, down=flow)


NONE = Faults()
BLACK_HOLE = Faults.both(Flow(held=True))
"""Connections are accepted and nothing passes."""


def pieces(data: bytes, flow: Flow, rng: random.Random) -> Iterator[bytes]:
    """Cut a chunk as the flow says; a narrow flow gets a twentieth of a second at a time, so that it is smooth."""
    longest = flow.slice_bytes or len(data)
    if flow.bytes_per_second is not None:
        longest = max(1, min(longest, int(flow.bytes_per_second / 20)))
    start = 0
    while start < len(data):
        length = rng.randint(1, longest) if flow.slice_bytes is not None else longest
        yield data[start : start + length]
        start += length
