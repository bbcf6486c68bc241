"""A client of the wire that means harm: it sends bytes, not messages, and breaks off where it likes.

Each attack is one request or stream and returns how it ended. What it sends follows from its random numbers.
"""

from __future__ import annotations

import asyncio
import random
import uuid
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import grpc

from alignfed.v1 import agent_service_pb2 as pb
from tests.fuzz.mutations import mutate_bytes, mutate_message
from tests.support.raw_client import WireDelta

TIMEOUT_SECONDS = 30.0
METHODS = {
    "RegisterAgent": pb.RegisterAgentRequest,
    "GetGlobalVersion": pb.GetGlobalVersionRequest,
    "QueryUpload": pb.QueryUploadRequest,
    "DownloadAdapter": pb.DownloadAdapterRequest,
}
_STREAMED = ("DownloadAdapter", "WatchGlobalVersions")
_OVERSIZED_BYTES = 5 << 20
_CROWD = b"\x0a\x80\x89\x7a" + b"\x52\x00" * 1_000_000  # a header of 2 MB that names a million empty tensors


class HostileClient:
    """Attacks one coordinator; `attack` picks a way by itself. Close it after use.

    Args:
        port: The agents' port.
        delta: A valid delta to start from.
        rng: Decides everything.
    """

    def __init__(self, port: int, delta: WireDelta, rng: random.Random) -> None:
        self._channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}")
        self._delta = delta
        self._rng = rng
        self._open: list[Any] = []
        self.accepted: set[str] = set()
        self._attacks: dict[Callable[[], Awaitable[Any]], int] = {
            self.spoiled_request: 40,
            self.spoiled_upload: 40,
            self.shuffled_upload: 25,
            self.half_open_upload: 10,
            self.odd_metadata: 10,
            self.unknown_method: 3,
            self.compressed: 3,
            self.oversized: 1,
            self.crowded_header: 1,
        }

    async def close(self) -> None:
        """Drop every open stream and the connection."""
        for call in self._open:
            call.cancel()
        await self._channel.close()

    async def attack(self) -> str:
        """Make one attack and return the name of the status it ended with."""
        chosen = self._rng.choices(list(self._attacks), weights=list(self._attacks.values()))[0]
        try:
            await chosen()
        except grpc.aio.AioRpcError as error:
            if "failed unexpectedly" in (error.details() or ""):
                raise AssertionError(f"{chosen.__name__} made the coordinator fail") from error
            return error.code().name
        return "OK"

    async def spoiled_request(self) -> Any:
        """Send a request with spoiled fields or bytes to any method."""
        method = self._rng.choice(list(METHODS))
        request = request_of(method, self._delta.plan.federation, self._delta.agent_id)
        return await self._unary(method, mutate_message(METHODS[method], request, self._rng))

    async def spoiled_upload(self) -> bytes:
        """Send an upload of which one message is spoiled: a header that lies, a chunk that is damaged."""
        messages = self._messages()
        place = self._rng.randrange(len(messages))
        messages[place] = mutate_message(pb.SubmitDeltaRequest, messages[place], self._rng)
        return await self._upload(messages)

    async def shuffled_upload(self) -> bytes:
        """Send the right messages in a wrong order, some twice, some never."""
        messages = self._messages()
        for _ in range(self._rng.randint(1, 3)):
            place = self._rng.randrange(len(messages))
            taken = messages[place] if self._rng.random() < 0.5 else messages.pop(place)
            if not messages or self._rng.random() < 0.7:
                messages.insert(self._rng.randint(0, len(messages)), taken)
        return await self._upload(messages)

    async def half_open_upload(self) -> str:
        """Begin an upload and say no more; some streams are cut later, some stay until the client goes."""
        call = self._stream("SubmitDelta")
        with suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
            for message in self._messages()[: self._rng.randint(0, 3)]:
                await call.write(message)
        self._open.append(call)
        if len(self._open) > 16:
            self._open.pop(self._rng.randrange(len(self._open))).cancel()
        return ""

    async def odd_metadata(self) -> Any:
        """Send metadata that is too long, or a trace context that is none."""
        size = self._rng.choice((10, 4_000, 60_000))
        metadata = (("traceparent", self._rng.choice(("00-", "x" * size))), ("x-bin", self._rng.randbytes(16)))
        request = pb.GetGlobalVersionRequest(federation=self._delta.plan.federation, agent_id=self._delta.agent_id)
        return await self._unary("GetGlobalVersion", request.SerializeToString(), metadata=metadata)

    async def unknown_method(self) -> Any:
        """Call what does not exist."""
        return await self._unary(f"Get{self._rng.randrange(1000)}", self._rng.randbytes(64))

    async def compressed(self) -> bytes:
        """Send a chunk of zeros that unfolds to far more than it takes on the wire."""
        bomb = pb.SubmitDeltaRequest(chunk={"data": bytes(1 << 20)}).SerializeToString()
        call = self._stream("SubmitDelta", compression=grpc.Compression.Gzip)
        return await self._write_all(call, [self._messages()[0], bomb])

    async def oversized(self) -> Any:
        """Send a message that is longer than any may be."""
        return await self._unary("RegisterAgent", bytes(_OVERSIZED_BYTES))

    async def crowded_header(self) -> bytes:
        """Send a header whose manifest takes little on the wire and would take much in memory."""
        return await self._upload([_CROWD])

    def _messages(self) -> list[bytes]:
        delta = self._delta
        header = delta.header(delta_id=str(uuid.UUID(int=self._rng.getrandbits(128), version=4)))
        return [message.SerializeToString() for message in (header, *delta.chunks())]

    async def _upload(self, messages: list[bytes]) -> bytes:
        if self._rng.random() < 0.1:
            messages = [mutate_bytes(message, self._rng) for message in messages]
        return await self._write_all(self._stream("SubmitDelta"), messages)

    async def _write_all(self, call: Any, messages: list[bytes]) -> bytes:
        with suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):  # the server has ended the stream
            for message in messages:
                await call.write(message)
            await call.done_writing()
        answer: bytes = await call
        self.accepted.add(pb.SubmitDeltaResponse.FromString(answer).receipt.delta_id)
        return answer

    def _stream(self, method: str, **options: Any) -> Any:
        return self._channel.stream_unary(_path(method))(timeout=TIMEOUT_SECONDS, **options)

    async def _unary(self, method: str, request: bytes, **options: Any) -> Any:
        if method in _STREAMED:
            call = self._channel.unary_stream(_path(method))(request, timeout=TIMEOUT_SECONDS, **options)
            return [answer async for answer in call][-1:]
        return await self._channel.unary_unary(_path(method))(request, timeout=TIMEOUT_SECONDS, **options)


def request_of(method: str, federation: str, agent_id: str) -> bytes:
    """Return a valid request of a method, which waits for nothing."""
    valid = {"federation": federation, "agent_id": agent_id}
    if method == "DownloadAdapter":
        del valid["agent_id"]
    request = METHODS[method](**valid)
    if method == "GetGlobalVersion":
        request.max_wait.nanos = 1_000_000
    return request.SerializeToString()


def _path(method: str) -> str:
    return f"/alignfed.v1.AgentService/{method}"
