"""The agents' contract over grpc.aio: a few connections that many agents share, calls timed and counted."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import grpc

from alignfed.chunks import cut
from alignfed.errors import ERRORS_BY_REASON, AlignFedError
from alignfed.plan import DEFAULT_CHUNK_BYTES
from alignfed.v1 import agent_service_pb2 as pb
from alignfed.v1 import agent_service_pb2_grpc, types_pb2
from bench.fleet.figures import Figures
from edge_agent.domain import DeltaMeta, GlobalVersion
from edge_agent.wire.errors import error_of
from edge_agent.wire.messages import header_to_proto

CALL_SECONDS = 60.0
"""Deadline of a call, three times the agent's own: a slow answer is to be measured, not repeated."""
OPTIONS = (
    ("grpc.use_local_subchannel_pool", 1),  # or all channels of a process would share one connection
    ("grpc.enable_retries", 0),
    ("grpc.enable_http_proxy", 0),
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 2_000),
)


class NoAnswer(Exception):
    """A call got no answer of AlignFed's own: its deadline passed, or the connection broke."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Payload:
    """A delta that the agent's own code has made, ready to be sent under any id from any base version."""

    meta: DeltaMeta
    chunks: tuple[pb.SubmitDeltaRequest, ...]

    @classmethod
    def read(cls, folder: Path, *, chunk_bytes: int = DEFAULT_CHUNK_BYTES) -> Payload:
        """Read what `bench.fleet.payloads` has written."""
        meta = DeltaMeta.from_dict(json.loads((folder / "meta.json").read_text("utf-8")))
        pieces = cut((folder / "delta").read_bytes(), chunk_bytes=chunk_bytes)
        return cls(
            meta=meta,
            chunks=tuple(
                pb.SubmitDeltaRequest(chunk=types_pb2.Chunk(offset=it.offset, data=it.data, crc32c=it.crc32c))
                for it in pieces
            ),
        )

    def parts(self, meta: DeltaMeta, *, federation: str, agent_id: str) -> list[pb.SubmitDeltaRequest]:
        """Return the messages of one upload."""
        header = header_to_proto(meta, federation=federation, agent_id=agent_id)
        return [pb.SubmitDeltaRequest(header=header), *self.chunks]

    def as_another(self, delta_id: str, base: GlobalVersion) -> DeltaMeta:
        """Return what announces it under an id, as trained from `base`."""
        return dataclasses.replace(self.meta, delta_id=delta_id, base=base)


class Wire:
    """Owns the connections of one process.

    Args:
        address: `host:port` of the coordinator's agent service.
        connections: How many.
        figures: Is told of every call.
    """

    def __init__(self, address: str, *, connections: int, figures: Figures) -> None:
        self.address = address
        self.figures = figures
        self._channels = [grpc.aio.insecure_channel(address, options=OPTIONS) for _ in range(connections)]
        self._stubs: Sequence[Any] = [agent_service_pb2_grpc.AgentServiceStub(it) for it in self._channels]  # type: ignore[no-untyped-call]  # generated

    async def close(self) -> None:
        """Close the connections."""
        for channel in self._channels:
            await channel.close(grace=None)

    def stub(self, number: int) -> Any:
        """Return the stub that an agent calls."""
        return self._stubs[number % len(self._stubs)]

    async def call(self, what: str, make: Callable[[], Awaitable[Any]], *, timed: bool = True) -> Any:
        """Make a call, time it and count it as `what`.

        Args:
            what: Its name in the figures.
            make: Makes the call.
            timed: Whether its duration says anything: a long poll's does not.

        Raises:
            AlignFedError: The coordinator's own answer, counted as a refusal.
            NoAnswer: There was none, counted as a failure.
        """
        began = time.perf_counter()
        try:
            answer = await make()
        except grpc.aio.AioRpcError as error:
            raise self.failed(error) from error
        if timed:
            self.figures.took(what, time.perf_counter() - began)
        self.figures.counts[what] += 1
        return answer

    def failed(self, error: grpc.aio.AioRpcError) -> AlignFedError | NoAnswer:
        """Count a failed call and return what it stands for."""
        known = error_of(error, address=self.address)
        if known.reason in ERRORS_BY_REASON and known.reason != "COORDINATOR_UNREACHABLE":
            self.figures.refusals[known.reason] += 1
            return known
        self.figures.failures[error.code().name] += 1
        return NoAnswer(f"{error.code().name}: {error.details()}")
