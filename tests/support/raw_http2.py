"""HTTP/2 written by hand, so that tests can send what no library would: frames, header blocks, gRPC messages.

Only as much is read back as tells how streams ended. The peer is told to keep no header table, so that what it answers
is literal and can be searched for; many streams travel in one write.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import re
from collections.abc import Iterable, Sequence

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, ACK, END_HEADERS, PADDED = 0x1, 0x1, 0x4, 0x8
NO_STATUS = "none"
CODES = (
    "OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
    "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED",
    "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
)  # fmt: skip
_STATUS = re.compile(rb"grpc-status[\x01\x02](\d{1,2})")
_DETAILS = b"grpc-status-details-bin"
_HANDSHAKE_SETTINGS = b"\x00\x01\x00\x00\x00\x00" + b"\x00\x04\x7f\xff\xff\xff"  # no header table, endless windows


def frame(kind: int, payload: bytes = b"", *, flags: int = 0, stream: int = 0) -> bytes:
    """Return a frame."""
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


def opening() -> bytes:
    """Return what a client says first."""
    return PREFACE + frame(SETTINGS, _HANDSHAKE_SETTINGS) + frame(WINDOW_UPDATE, (2**30).to_bytes(4, "big"))


def header_block(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Return headers as literals that no table remembers."""
    return b"".join(b"\x00" + _text(name) + _text(value) for name, value in headers)


def _text(text: bytes) -> bytes:
    length = len(text)
    if length < 127:
        return bytes((length,)) + text
    length -= 127
    encoded = bytearray((127,))
    while length > 127:
        encoded.append(length & 127 | 128)
        length >>= 7
    return bytes((*encoded, length)) + text


def rpc_headers(method: str, *extra: tuple[bytes, bytes], timeout: bytes = b"20S") -> list[tuple[bytes, bytes]]:
    """Return the headers of a call."""
    return [
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":path", f"/alignfed.v1.AgentService/{method}".encode()),
        (b":authority", b"127.0.0.1"),
        (b"te", b"trailers"),
        (b"content-type", b"application/grpc"),
        (b"grpc-timeout", timeout),
        *extra,
    ]


def message(data: bytes, *, flag: int = 0, length: int | None = None) -> bytes:
    """Return a gRPC message with its prefix, which may lie."""
    return bytes((flag,)) + (len(data) if length is None else length).to_bytes(4, "big") + data


@dataclasses.dataclass(slots=True)
class Ending:
    """How a stream ended: its gRPC status, that it was reset, or that nothing was heard; and whether it was typed."""

    status: str = NO_STATUS
    typed: bool = False
    over: bool = False


class Http2Connection:
    """One connection; `send` bytes as they are, `endings` waits for streams. Close it after use."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._block: dict[int, bytes] = {}
        self.gone = False

    @classmethod
    async def to(cls, port: int) -> Http2Connection:
        """Connect to a port of this machine; nothing is said yet."""
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    async def send(self, data: bytes) -> None:
        """Send bytes; a peer that has closed the connection is not an error."""
        try:
            self._writer.write(data)
            await self._writer.drain()
        except (ConnectionError, OSError):
            self.gone = True

    async def endings(self, streams: Sequence[int], *, seconds: float) -> dict[int, Ending]:
        """Return how these streams ended; those that had not by the time, or when the connection went, are not over."""
        found = {stream: Ending() for stream in streams}
        left = set(streams)
        try:
            async with asyncio.timeout(seconds):
                while left:
                    head = await self._reader.readexactly(9)
                    payload = await self._reader.readexactly(int.from_bytes(head[:3], "big"))
                    self._take(head[3], head[4], int.from_bytes(head[5:9], "big") & 2**31 - 1, payload, found)
                    left -= {stream for stream in left if found[stream].over}
        except (TimeoutError, asyncio.IncompleteReadError, ConnectionError, OSError) as error:
            self.gone = not isinstance(error, TimeoutError)
        return found

    def _take(self, kind: int, flags: int, stream: int, payload: bytes, found: dict[int, Ending]) -> None:
        if kind == SETTINGS and not flags & ACK:
            self._writer.write(frame(SETTINGS, flags=ACK))
        ending = found.get(stream)
        if ending is None:
            return
        if kind == RST_STREAM:
            ending.over = True
            if ending.status == NO_STATUS:
                ending.status = "reset"
        elif kind in (HEADERS, CONTINUATION):
            self._block[stream] = self._block.get(stream, b"") + payload
            status = _STATUS.search(self._block[stream])
            if status is not None:
                ending.status = CODES[int(status[1]) % len(CODES)]
            ending.typed = _DETAILS in self._block[stream]
        if kind in (HEADERS, DATA) and flags & END_STREAM:
            ending.over = True

    async def quiet(self, *, seconds: float) -> None:
        """Read and forget what comes until the peer closes, or for so long."""
        with contextlib.suppress(TimeoutError, ConnectionError, OSError):
            async with asyncio.timeout(seconds):
                while await self._reader.read(65_536):
                    pass

    async def close(self, *, rudely: bool = False) -> None:
        """Close the connection: with a reset, or as is proper."""
        if rudely:
            self._writer.transport.abort()
            return
        self._writer.close()
        with contextlib.suppress(ConnectionError, OSError):
            await self._writer.wait_closed()
