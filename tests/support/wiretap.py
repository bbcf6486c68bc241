"""A TCP proxy on loopback that records what passes, and holds or cuts the line when told."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import Self

LOOPBACK = "127.0.0.1"
BLOCK_BYTES = 1024


class Wiretap:
    """Forwards connections to a port; owns its sockets and threads.

    Args:
        target_port: Where to.
    """

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._hold_at: int | None = None
        self._incoming = False
        self._flowing = threading.Event()
        self._flowing.set()
        self.sent = bytearray()
        self.received = bytearray()
        self._listener = socket.create_server((LOOPBACK, 0))
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    @property
    def address(self) -> str:
        """Where clients connect."""
        return f"{LOOPBACK}:{self._listener.getsockname()[1]}"

    def hold_after(self, nbytes: int, *, incoming: bool = False) -> None:
        """Let so many more bytes pass in one direction, then none in either until `cut`."""
        with self._lock:
            self._incoming = incoming
            self._hold_at = len(self.received if incoming else self.sent) + nbytes

    @property
    def holding(self) -> bool:
        """Whether the line is held."""
        return not self._flowing.is_set()

    def cut(self) -> None:
        """Cut every connection, and let later ones pass."""
        with self._lock:
            self._hold_at = None
            ends = list(self._open)
        for end in ends:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        self._flowing.set()

    def close(self) -> None:
        """Cut everything and stop listening."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._accepting.join()
        self.cut()
        for thread in self._threads:
            thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _address = self._listener.accept()
            except OSError:
                return
            try:
                target = socket.create_connection((LOOPBACK, self._target_port), timeout=5)
            except OSError:
                client.close()
                continue
            target.settimeout(None)
            with self._lock:
                self._open |= {client, target}
            for source, sink, outgoing in ((client, target, True), (target, client, False)):
                thread = threading.Thread(target=self._pump, args=(source, sink, outgoing), daemon=True)
                thread.start()
                self._threads.append(thread)

    def _pump(self, source: socket.socket, sink: socket.socket, outgoing: bool) -> None:
        with suppress(OSError):
            while data := source.recv(BLOCK_BYTES):
                self._flowing.wait()
                sink.sendall(data)
                self._record(data, outgoing)
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
            with self._lock:
                self._open.discard(end)

    def _record(self, data: bytes, outgoing: bool) -> None:
        with self._lock:
            (self.sent if outgoing else self.received).extend(data)
            passed = len(self.received if self._incoming else self.sent)
            if self._hold_at is not None and passed >= self._hold_at:
                self._hold_at = None
                self._flowing.clear()
