"""The connection to the coordinator, over channels that may follow one another: one cannot change its certificate."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any

from edge_agent.domain import TlsFiles
from edge_agent.wire.calls import CALL_SECONDS, Calls
from edge_agent.wire.stub import agent_stub


class _Channel:
    """One channel, its stub, and who uses it; `users` and `replaced` belong to the connection's lock."""

    def __init__(self, address: str, tls: TlsFiles | None) -> None:
        self.calls = Calls(address, tls)
        self.stub = agent_stub(self.calls.channel)
        self.users = 0
        self.replaced = False


class Connection:
    """Makes calls by the name of their method; safe for several threads.

    Args:
        address: `host:port`.
        tls: For an encrypted connection; None for plain text.

    Raises:
        RequestInvalid: The address is malformed, or a file cannot be read.
    """

    def __init__(self, address: str, tls: TlsFiles | None) -> None:
        self._address = address
        self._tls = tls
        self._lock = threading.Lock()
        self._cancelled = False
        self._current = _Channel(address, tls)

    def unary(self, method: str, request: Any, *, timeout: float = CALL_SECONDS) -> Any:
        """Make a call that has one response and return the response."""
        with self._using() as channel:
            return channel.calls.unary(getattr(channel.stub, method), request, timeout=timeout)

    def stream(self, method: str, request: Any, *, timeout: float) -> Generator[Any]:
        """Make a call and yield its responses; abandoning the iterator cancels the call."""
        with self._using() as channel:
            yield from channel.calls.stream(getattr(channel.stub, method), request, timeout=timeout)

    def reconnect(self) -> None:
        """Open a new channel from the TLS files as they are now; calls in progress end on the old one.

        Raises:
            RequestInvalid: A file cannot be read; the old channel stays.
        """
        new = _Channel(self._address, self._tls)
        with self._lock:
            old, self._current = self._current, new
            old.replaced = True
            idle, cancelled = not old.users, self._cancelled
        if idle:
            old.calls.close()
        if cancelled:  # the agent stops
            new.calls.cancel()

    def cancel(self) -> None:
        """Break off calls in progress and refuse new ones: they raise `CoordinatorUnreachable`. Idempotent."""
        with self._lock:
            self._cancelled = True
            current = self._current
        current.calls.cancel()

    def close(self) -> None:
        """Cancel calls and close the channel. Idempotent."""
        self.cancel()
        self._current.calls.close()

    @contextmanager
    def _using(self) -> Iterator[_Channel]:
        with self._lock:
            channel = self._current
            channel.users += 1
        try:
            yield channel
        finally:
            with self._lock:
                channel.users -= 1
                over = channel.replaced and not channel.users
            if over:
                channel.calls.close()
