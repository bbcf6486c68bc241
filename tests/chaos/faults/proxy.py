"""A TCP proxy on loopback that spoils what passes through it: late, slow, in slices, held back, reset or refused.

What it does can be set while it runs, for each direction, and for all clients or for those that come from one loopback
address (a server told to `bind-source-addr 127.0.0.2` is told apart from one that comes from 127.0.0.1): that is how a
partition is made that some can see across and others cannot.

Sizes and times that are left to chance follow from the seed, the number of the connection and the direction.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import random
import socket
import struct
import threading
from collections.abc import Coroutine, Iterator
from typing import Any, Self, TypeVar

from tests.chaos.faults.flows import BLACK_HOLE, NONE, Faults, Flow, pieces

LOOPBACK = "127.0.0.1"
CHUNK_BYTES = 16 * 1024
QUEUED_CHUNKS = 32
"""What one direction of a connection may hold is this many chunks, half a mebibyte; then its sender has to wait."""
MAX_CONNECTIONS = 512
STOP_SECONDS = 10.0
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER of no time: closing sends RST

T = TypeVar("T")


@dataclasses.dataclass(slots=True, kw_only=True)
class Traffic:
    """What has passed so far: bytes that were delivered in each direction, connections made and reset."""

    up_bytes: int = 0
    down_bytes: int = 0
    connections: int = 0
    resets: int = 0


class FaultProxy:
    """Listens on a loopback port of its own and passes on to `target_port`. Use it as a context manager.

    Args:
        target_port: Where the real server listens on loopback.
        port: Where to listen; 0 for any free port.
        seed: Of everything left to chance.
    """

    def __init__(self, target_port: int, *, port: int = 0, seed: int = 0) -> None:
        self.target_port = target_port
        self.port = port
        self.traffic = Traffic()
        self._seed = seed
        self._faults: dict[str | None, Faults] = {}
        self._changed = asyncio.Event()
        self._links: set[_Link] = set()
        self._server: asyncio.Server | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fault-proxy", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._run(self._listen())
        return self

    def __exit__(self, *_exception: object) -> None:
        self._run(self._shut_down())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(STOP_SECONDS)
        self._loop.close()

    @property
    def address(self) -> str:
        """Return `host:port` to connect to."""
        return f"{LOOPBACK}:{self.port}"

    @property
    def open_connections(self) -> int:
        """Return how many connections are open now."""
        return len(self._links)

    def set(self, faults: Faults | None, *, source: str | None = None) -> None:
        """Apply faults from now on, to open connections too; with `source`, only to clients of that address.

        Faults of one source take the place of those of all; `NONE` exempts a source, None forgets what was set for it.
        """

        def apply() -> None:
            self._faults.pop(source, None)
            if faults is not None:
                self._faults[source] = faults
            self._changed.set()
            self._changed = asyncio.Event()

        self._loop.call_soon_threadsafe(apply)

    def heal(self) -> None:
        """End all faults, those of single sources too; a proxy that refuses goes on refusing."""
        for source in list(self._faults):
            self.set(None, source=source)

    def reset(self, *, source: str | None = None) -> int:
        """Reset open connections, all or those of one client address; return how many."""

        async def reset() -> int:
            chosen = [link for link in self._links if source in (None, link.source)]
            for link in chosen:
                link.reset()
            return len(chosen)

        return self._run(reset())

    @contextlib.contextmanager
    def refusing(self) -> Iterator[None]:
        """Refuse new connections and reset the open ones until the block ends."""
        self._run(self._close_listener())
        self.reset()
        try:
            yield
        finally:
            self._run(self._listen())

    @contextlib.contextmanager
    def cut(self, *, source: str | None = None) -> Iterator[None]:
        """Let nothing through until the block ends, then all that was held back, as a network that heals does."""
        before = self._faults.get(source)
        self.set(BLACK_HOLE, source=source)
        try:
            yield
        finally:
            self.set(before, source=source)

    def flow(self, source: str, *, up: bool) -> Flow:
        """Return what happens to a direction of connections from that address now."""
        faults = self._faults.get(source, self._faults.get(None, NONE))
        return faults.up if up else faults.down

    async def until_changed(self) -> None:
        """Wait until other faults are set."""
        await self._changed.wait()

    def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(STOP_SECONDS)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(
            self._serve, LOOPBACK, self.port, limit=CHUNK_BYTES, reuse_address=True
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def _close_listener(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    async def _shut_down(self) -> None:
        await self._close_listener()
        for link in list(self._links):
            link.reset()
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one connection until both ends have closed it or it is reset."""
        link = _Link(self, reader, writer)
        if len(self._links) >= MAX_CONNECTIONS:
            link.reset()
            return
        number, self.traffic.connections = self.traffic.connections, self.traffic.connections + 1
        self._links.add(link)
        try:
            await link.carry(number, self._seed)
        finally:
            self._links.discard(link)


class _Link:
    """One connection through the proxy."""

    def __init__(self, proxy: FaultProxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._proxy = proxy
        self._client = (reader, writer)
        self._writers = [writer]
        self._task = asyncio.current_task()
        self.source: str = writer.get_extra_info("peername")[0]

    def reset(self) -> None:
        """End the connection on both sides as a host that vanished and came back would: with RST."""
        self._proxy.traffic.resets += 1
        for writer in self._writers:
            plain = writer.get_extra_info("socket")
            if plain is not None and plain.fileno() >= 0:
                plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            writer.transport.abort()
        if self._task is not None and self._task is not asyncio.current_task():
            self._task.cancel()

    async def carry(self, number: int, seed: int) -> None:
        """Pass bytes on in both directions until the end of both."""
        try:
            await self._until_free(up=True)  # else a connection that nothing passes through would reach the server
            server = await asyncio.open_connection(LOOPBACK, self._proxy.target_port, limit=CHUNK_BYTES)
            self._writers.append(server[1])
            for writer in self._writers:
                writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                writer.transport.set_write_buffer_limits(high=CHUNK_BYTES)
            rngs = {up: random.Random(f"{seed}:{number}:{up}") for up in (True, False)}
            async with asyncio.TaskGroup() as both:
                both.create_task(self._pump(self._client[0], server[1], rngs[True], up=True))
                both.create_task(self._pump(server[0], self._client[1], rngs[False], up=False))
        except* (OSError, asyncio.IncompleteReadError):  # refused by the server, or one end is gone: so is the other
            self.reset()
        except* asyncio.CancelledError:
            pass  # reset, and everything closed by that
        finally:
            for writer in self._writers:
                writer.close()

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, rng: random.Random, *, up: bool
    ) -> None:
        queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(QUEUED_CHUNKS)
        async with asyncio.TaskGroup() as pair:
            pair.create_task(self._take(reader, queue, rng, up=up))
            pair.create_task(self._give(queue, writer, rng, up=up))

    async def _take(
        self, reader: asyncio.StreamReader, queue: asyncio.Queue[tuple[float, bytes]], rng: random.Random, *, up: bool
    ) -> None:
        clock = asyncio.get_running_loop().time
        while True:
            data = await reader.read(CHUNK_BYTES)
            flow = self._proxy.flow(self.source, up=up)
            await queue.put((clock() + flow.latency_seconds + rng.uniform(0, flow.jitter_seconds), data))
            if not data:
                return

    async def _give(
        self, queue: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter, rng: random.Random, *, up: bool
    ) -> None:
        clock = asyncio.get_running_loop().time
        carried = 0
        while True:
            due, data = await queue.get()
            await asyncio.sleep(max(0.0, due - clock()))
            await self._until_free(up=up)
            if not data:
                writer.write_eof()
                return
            for piece in pieces(data, self._proxy.flow(self.source, up=up), rng):
                await self._until_free(up=up)
                flow = self._proxy.flow(self.source, up=up)
                if flow.reset_after_bytes is not None and carried >= flow.reset_after_bytes:
                    raise ConnectionResetError("as it was told to be")
                writer.write(piece)
                await writer.drain()
                carried += len(piece)
                self._count(len(piece), up=up)
                if flow.bytes_per_second is not None:
                    await asyncio.sleep(len(piece) / flow.bytes_per_second)
                elif flow.slice_bytes is not None:
                    await asyncio.sleep(0)  # else the kernel would join the pieces again

    async def _until_free(self, *, up: bool) -> None:
        while self._proxy.flow(self.source, up=up).held:
            await self._proxy.until_changed()

    def _count(self, nbytes: int, *, up: bool) -> None:
        if up:
            self._proxy.traffic.up_bytes += nbytes
        else:
            self._proxy.traffic.down_bytes += nbytes
