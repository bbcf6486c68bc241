"""Uploads that stall, by the hundred, from one light process: a header, then nothing, half a chunk, or byte by byte.

Speaks just enough HTTP/2 to send what no gRPC client would: single bytes of a message. Reads its orders from stdin, one
a line, and answers each with one line:

    stall PORT COUNT FILE   keep COUNT uploads open, again when the server ends them; FILE holds their messages
    drop                    close them all
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import itertools
import json
import struct
import sys
from base64 import b64decode
from pathlib import Path

METHOD = "/alignfed.v1.AgentService/SubmitDelta"
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RESET, SETTINGS, PING, GO_AWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
INITIAL_WINDOW, FIRST_WINDOW = 4, 65_535
END_HEADERS, ACK = 4, 1
STREAM = 1
FRAME_BYTES = 16_384
DRIP_SECONDS = 1.0
AGAIN_SECONDS = 1.0
CONNECTING = 32


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Stall:
    """One way to stall: what is sent at once, and what is sent byte by byte after it."""

    at_once: bytes
    slowly: bytes


def frame(kind: int, payload: bytes = b"", *, flags: int = 0, stream: int = 0) -> bytes:
    """Return one HTTP/2 frame."""
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def grpc_message(message: bytes) -> bytes:
    """Return a message with gRPC's prefix: not compressed, and its length."""
    return struct.pack(">BI", 0, len(message)) + message


def _headers(authority: str) -> bytes:
    """Return the request's headers, none of them compressed or indexed."""
    fields = {
        ":method": "POST",
        ":scheme": "http",
        ":path": METHOD,
        ":authority": authority,
        "content-type": "application/grpc",
        "te": "trailers",
    }
    literals = [bytes([0, len(n)]) + n.encode() + bytes([len(v)]) + v.encode() for n, v in fields.items()]
    return b"".join(literals)


def stalls_of(header: bytes, chunk: bytes) -> list[Stall]:
    """Return three ways to stall with an upload's first two messages."""
    head, first = grpc_message(header), grpc_message(chunk)
    half = len(first) // 2
    return [
        Stall(at_once=head, slowly=b""),
        Stall(at_once=head + first[:half], slowly=b""),
        Stall(at_once=head, slowly=first),
    ]


class Staller:
    """Keeps one upload open that does not get on.

    Args:
        port: The coordinator's.
        stall: What it sends.
        slots: Bounds how many connect at a time.
    """

    def __init__(self, port: int, stall: Stall, slots: asyncio.Semaphore) -> None:
        self._port = port
        self._stall = stall
        self._slots = slots
        self.opened = asyncio.Event()
        self.ended = 0

    async def run(self) -> None:
        """Open it, again whenever the server ends it, until cancelled."""
        while True:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                await self._once()
            self.ended += 1
            await asyncio.sleep(AGAIN_SECONDS)

    async def _once(self) -> None:
        async with self._slots:
            line = await Line.open(self._port)
        reading = asyncio.create_task(line.read_until_ended())
        sending = asyncio.create_task(self._send(line))
        try:
            await reading
        finally:
            sending.cancel()
            reading.cancel()
            line.close()

    async def _send(self, line: Line) -> None:
        await line.send(self._stall.at_once)
        self.opened.set()
        for byte in self._stall.slowly:
            await asyncio.sleep(DRIP_SECONDS)
            await line.send(bytes([byte]))


class Line:
    """One HTTP/2 connection with one request, whose body is sent as flow control allows."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._windows = {0: FIRST_WINDOW, STREAM: FIRST_WINDOW}
        self._stream_window = FIRST_WINDOW
        self._widened = asyncio.Event()

    @classmethod
    async def open(cls, port: int) -> Line:
        """Connect and begin the request."""
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        request = frame(HEADERS, _headers(f"127.0.0.1:{port}"), flags=END_HEADERS, stream=STREAM)
        writer.write(PREFACE + frame(SETTINGS) + request)
        return cls(reader, writer)

    def close(self) -> None:
        """Close the connection."""
        self._writer.close()

    async def send(self, data: bytes) -> None:
        """Send a piece of the body."""
        while data:
            room = min(*self._windows.values(), FRAME_BYTES)
            if room <= 0:
                self._widened.clear()
                await self._widened.wait()
                continue
            piece, data = data[:room], data[room:]
            for stream in self._windows:
                self._windows[stream] -= len(piece)
            self._writer.write(frame(DATA, piece, stream=STREAM))
            await self._writer.drain()

    async def read_until_ended(self) -> None:
        """Answer what a connection needs to stay open, until the server ends the stream."""
        while True:
            top, kind, flags, stream = struct.unpack(">3sBBI", await self._reader.readexactly(9))
            payload = await self._reader.readexactly(int.from_bytes(top, "big"))
            if kind == SETTINGS and not flags & ACK:
                self._heed(payload)
                self._writer.write(frame(SETTINGS, flags=ACK))
            elif kind == PING and not flags & ACK:
                self._writer.write(frame(PING, payload, flags=ACK))
            elif kind == WINDOW_UPDATE and stream in self._windows:
                self._windows[stream] += int.from_bytes(payload, "big")
                self._widened.set()
            elif kind in (RESET, GO_AWAY) or (kind == HEADERS and stream == STREAM):
                return

    def _heed(self, settings: bytes) -> None:
        for name, value in struct.iter_unpack(">HI", settings):
            if name == INITIAL_WINDOW:
                self._windows[STREAM] += value - self._stream_window
                self._stream_window = value
                self._widened.set()


class Crowd:
    """All stalled uploads of this process."""

    def __init__(self) -> None:
        self._tasks: list[asyncio.Task[None]] = []
        self._stallers: list[Staller] = []

    async def stall(self, port: int, count: int, messages: str) -> str:
        """Open uploads, one after the other in all three ways, and return when every one has sent what it sends."""
        known = json.loads(messages)
        chunk = b64decode(known["chunk"])
        chosen = [stalls_of(b64decode(known["headers"][it]), chunk)[it % 3] for it in range(count)]
        slots = asyncio.Semaphore(CONNECTING)
        self._stallers = [Staller(port, stall, slots) for stall in chosen]
        self._tasks = [asyncio.create_task(staller.run()) for staller in self._stallers]
        for staller in self._stallers:
            await staller.opened.wait()
        return f"stalled {count}"

    async def drop(self) -> str:
        """Close every connection and say how often the server had ended one."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        ended, self._tasks = sum(staller.ended for staller in self._stallers), []
        return f"dropped ended={ended}"


async def main() -> None:
    """Follow orders until stdin ends."""
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    crowd = Crowd()
    for _ in itertools.count():
        order = (await reader.readline()).decode().split()
        match order:
            case []:
                return
            case ["stall", port, count, file]:
                answer = await crowd.stall(int(port), int(count), Path(file).read_text())  # noqa: ASYNC240 - small
            case ["drop"]:
                answer = await crowd.drop()
            case _:
                answer = f"unknown order {order}"
        sys.stdout.write(f"{answer}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main())
