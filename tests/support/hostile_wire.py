"""Attacks below gRPC's libraries: many streams in one write, frames that lie, and bytes that are no HTTP/2 at all.

Each attack goes over a connection of its own and returns how each thing that it sent ended, under the name of its kind.
"""

from __future__ import annotations

import random
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable

from alignfed.v1 import agent_service_pb2 as pb
from tests.fuzz.mutations import mutate_bytes, mutate_message
from tests.support.hostile_client import METHODS, request_of
from tests.support.raw_client import WireDelta
from tests.support.raw_http2 import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PADDED,
    PING,
    PREFACE,
    PRIORITY,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    Http2Connection,
    frame,
    header_block,
    message,
    opening,
    rpc_headers,
)

ANSWER_SECONDS = 60.0
_STREAMS = 40
_WINDOW_BYTES = 48 * 1024  # what a server takes on a new connection before it grants more
_QUIET_SECONDS = 0.2
_LIE_TIMEOUT = b"300m"
_POLL_TIMEOUT = b"1S"  # spoiled polls may ask to wait for long

Endings = Counter[tuple[str, str]]
"""How many of each kind of message ended how."""


class WireAttacker:
    """Attacks one coordinator's port.

    Args:
        port: The agents' port.
        delta: A valid delta to start from.
        agents: Registered agents, in whose name it speaks.
        rng: Decides everything.
    """

    def __init__(self, port: int, delta: WireDelta, agents: list[str], rng: random.Random) -> None:
        self._port = port
        self._delta = delta
        self._agents = agents
        self._rng = rng
        self.untyped: list[str] = []
        self._attacks: dict[Callable[[], Awaitable[Endings]], int] = {
            self.streams: 60,
            self.lying_frames: 6,
            self.no_http2: 6,
            self.broken_off: 6,
        }

    async def attack(self) -> Endings:
        """Make one attack."""
        chosen = self._rng.choices(list(self._attacks), weights=list(self._attacks.values()))[0]
        return await chosen()

    async def streams(self) -> Endings:
        """Send many streams at once: spoiled requests, spoiled uploads, headers and prefixes that lie."""
        sent = opening()
        kinds: dict[int, str] = {}
        while len(kinds) < _STREAMS:
            stream = 2 * len(kinds) + 1
            kind, data = self._stream(stream)
            if kinds and len(sent) + len(data) > _WINDOW_BYTES:
                break
            kinds[stream], sent = kind, sent + data
        connection = await Http2Connection.to(self._port)
        try:
            await connection.send(sent)
            endings = await connection.endings(list(kinds), seconds=ANSWER_SECONDS)
        finally:
            await connection.close(rudely=self._rng.random() < 0.3)
        counted: Endings = Counter()
        for stream, ending in endings.items():
            kind = kinds[stream]
            counted[kind, ending.status if ending.over else "unanswered"] += 1
            if kind in ("request", "upload") and ending.status not in ("OK", "DEADLINE_EXCEEDED") and not ending.typed:
                self.untyped.append(f"{kind} of stream {stream}: {ending}")
        return counted

    def _stream(self, stream: int) -> tuple[str, bytes]:
        choice = self._rng.random()
        if choice < 0.66:
            return "request", self._request(stream)
        if choice < 0.82:
            return "upload", self._upload(stream)
        return self._lying_call(stream)

    def _request(self, stream: int) -> bytes:
        """Return a call of any method with a spoiled message."""
        method = self._rng.choice(list(METHODS))
        request = request_of(method, self._delta.plan.federation, self._rng.choice(self._agents))
        return _call(
            stream, rpc_headers(method, timeout=_POLL_TIMEOUT), [mutate_message(METHODS[method], request, self._rng)]
        )

    def _upload(self, stream: int) -> bytes:
        """Return an upload with a spoiled, moved, repeated or missing message, or now and then a right one."""
        header = self._delta.header(
            delta_id=str(uuid.UUID(int=self._rng.getrandbits(128), version=4)), agent_id=self._rng.choice(self._agents)
        )
        messages = [it.SerializeToString() for it in (header, *self._delta.chunks())]
        place, change = self._rng.randrange(len(messages)), self._rng.random()
        if change < 0.5:
            messages[place] = mutate_message(pb.SubmitDeltaRequest, messages[place], self._rng)
        elif change < 0.65:
            del messages[place]
        elif change < 0.8:
            messages.insert(self._rng.randint(0, len(messages)), messages[place])
        elif change < 0.95:
            self._rng.shuffle(messages)
        return _call(stream, rpc_headers("SubmitDelta"), messages)

    def _lying_call(self, stream: int) -> tuple[str, bytes]:
        """Return a call whose HTTP/2 is sound and whose gRPC is not, and what is wrong about it."""
        rng = self._rng
        request = request_of("GetGlobalVersion", self._delta.plan.federation, rng.choice(self._agents))
        headers = rpc_headers("GetGlobalVersion", timeout=_LIE_TIMEOUT)
        lies: dict[str, Callable[[], bytes]] = {
            "length": lambda: _call(
                stream, headers, [], raw=message(request, length=rng.choice((0, 1, len(request) + 1, 2**32 - 1)))
            ),
            "flag": lambda: _call(stream, headers, [], raw=message(request, flag=rng.choice((1, 2, 255)))),
            "encoding": lambda: _call(
                stream, [*headers, (b"grpc-encoding", rng.choice((b"gzip", b"br", b"")))], [request]
            ),
            "timeout": lambda: _call(
                stream, rpc_headers("GetGlobalVersion", timeout=rng.choice((b"", b"x", b"-1S", b"9" * 30))), [request]
            ),
            "metadata": lambda: _call(
                stream, [*headers, (b"x" * rng.choice((1, 200)), rng.randbytes(8).hex().encode() * 60)], [request]
            ),
            "method": lambda: _call(stream, rpc_headers(rng.choice(("", "Nothing", "..", "Get" * 50))), [request]),
            "pseudo-header": lambda: _call(stream, self._other_header(headers), [request]),
            "no message": lambda: _call(stream, headers, []),
            "many messages": lambda: _call(stream, headers, [request] * rng.randint(2, 5)),
            "trace": lambda: _call(
                stream, [*headers, (b"traceparent", mutate_bytes(b"00-" + b"1" * 32, rng).hex().encode())], [request]
            ),
            "bytes": lambda: _call(stream, headers, [], raw=mutate_bytes(message(request), rng)),
        }
        lie = rng.choice(list(lies))
        return f"lie about {lie}", lies[lie]()

    def _other_header(self, headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        name = self._rng.choice((b":method", b":path", b"te", b"content-type", b":scheme"))
        value = self._rng.choice((b"GET", b"", b"/", b"text/html", b"\xff"))
        return [(it, value if it == name else old) for it, old in headers]

    async def lying_frames(self) -> Endings:
        """Send sound streams and then frames that no peer may send: only this connection may suffer."""
        rng = self._rng
        stream = 2 * rng.randrange(1, 50) + 1
        frames = (
            frame(SETTINGS, b"\x00\x04\xff\xff\xff\xff"),
            frame(SETTINGS, rng.randbytes(rng.choice((1, 5, 6, 600)))),
            frame(WINDOW_UPDATE, bytes(4)),
            frame(WINDOW_UPDATE, (2**31 - 1).to_bytes(4, "big")) * 3,
            frame(DATA, b"x" * 100),
            frame(DATA, b"x" * 100, stream=stream),
            frame(DATA, b"\xff", flags=PADDED, stream=1),
            frame(HEADERS, b"\xff" * 40, flags=END_HEADERS, stream=stream),
            frame(HEADERS, b"\x00" + b"\x7f\xff\xff\xff\xff\xff\x0f", flags=END_HEADERS, stream=stream),
            frame(HEADERS, header_block(rpc_headers("GetGlobalVersion")), stream=stream)
            + frame(CONTINUATION, header_block([(b"x", b"y" * 4000)]), stream=stream) * 40,
            frame(CONTINUATION, b"", flags=END_HEADERS, stream=stream),
            frame(PUSH_PROMISE, bytes(4), stream=1),
            frame(PRIORITY, bytes(4), stream=stream),
            frame(RST_STREAM, bytes(4)),
            frame(GOAWAY, rng.randbytes(40)),
            frame(PING, bytes(8)) * 200,
            frame(rng.randrange(10, 256), rng.randbytes(50), flags=rng.randrange(256), stream=stream),
            (2**24 - 1).to_bytes(3, "big") + bytes(6) + rng.randbytes(1000),
            self._rapid_resets(),
        )
        return await self._blind("lying frame", opening() + self._request(1) + rng.choice(frames))

    def _rapid_resets(self) -> bytes:
        """Return streams that are each taken back at once."""
        return b"".join(
            self._request(stream) + frame(RST_STREAM, (8).to_bytes(4, "big"), stream=stream)
            for stream in range(3, 43, 2)
        )

    async def no_http2(self) -> Endings:
        """Send what is no HTTP/2."""
        rng = self._rng
        said = (
            rng.randbytes(rng.choice((1, 24, 500, 20_000))),
            b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
            b"POST /alignfed.v1.AgentService/SubmitDelta HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n" + bytes(500),
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + rng.randbytes(300),  # a TLS hello
            PREFACE[: rng.randrange(len(PREFACE))],
            PREFACE.lower(),
            PREFACE * 3,
            b"",
        )
        return await self._blind("no HTTP/2", rng.choice(said))

    async def broken_off(self) -> Endings:
        """Break off in the middle of a sound conversation, at any byte, or spoil it there."""
        whole = opening() + self._request(1) + self._upload(3) + self._request(5)
        if self._rng.random() < 0.5:
            return await self._blind("broken off", whole[: self._rng.randrange(len(whole))])
        return await self._blind("spoiled bytes", mutate_bytes(whole, self._rng))

    async def _blind(self, kind: str, data: bytes) -> Endings:
        """Send bytes and go; what is answered to them is the library's affair."""
        connection = await Http2Connection.to(self._port)
        try:
            await connection.send(data)
            if self._rng.random() < 0.3:
                await connection.quiet(seconds=_QUIET_SECONDS)
        finally:
            await connection.close(rudely=self._rng.random() < 0.5)
        return Counter({(kind, "gone"): 1})


def _call(stream: int, headers: list[tuple[bytes, bytes]], messages: list[bytes], *, raw: bytes = b"") -> bytes:
    """Return a whole call: headers, messages, end."""
    body = raw + b"".join(map(message, messages))
    pieces = (frame(DATA, body[start : start + 16_000], stream=stream) for start in range(0, len(body), 16_000))
    begun = frame(HEADERS, header_block(headers), flags=END_HEADERS, stream=stream)
    return b"".join((begun, *pieces, frame(DATA, flags=END_STREAM, stream=stream)))
