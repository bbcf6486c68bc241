"""Where processes that a measurement drives call in, and are told what to do."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import Any, Self

from alignfed.errors import LocalProcessFailed
from bench.flower.lines import END

CALL_SECONDS = 240.0
"""Flower's command line, its task runner and its application load one after the other, for some 15 seconds, and eight
agents load torch at once; a laden machine takes ten times as long."""
ANSWER_SECONDS = 300.0
LOOK_SECONDS = 0.5


class Peer:
    """One process that does as it is told."""

    def __init__(self, connection: socket.socket) -> None:
        connection.settimeout(ANSWER_SECONDS)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._connection = connection
        self._lines = connection.makefile("rb")
        self.name = "somebody"
        self.about = self.answer()
        self.name = str(self.about["name"])
        self._process = os.pidfd_open(int(self.about["pid"]))

    def ask(self, do: str, **values: Any) -> dict[str, Any]:
        """Have something done and return the answer.

        Raises:
            LocalProcessFailed: It could not be done, or the process is gone or silent.
        """
        self.begin(do, **values)
        return self.answer()

    def begin(self, do: str, **values: Any) -> None:
        """Have something done, after what was begun before; each has an `answer`.

        Raises:
            LocalProcessFailed: The process is gone.
        """
        try:
            self._connection.sendall(json.dumps({"do": do, **values}).encode() + b"\n")
        except OSError as error:
            raise LocalProcessFailed(f"{self.name} is gone: {error}") from error

    def answer(self) -> dict[str, Any]:
        """Return the next answer.

        Raises:
            LocalProcessFailed: It could not be done, or the process is gone or silent.
        """
        try:
            line = self._lines.readline()
        except OSError as error:
            raise LocalProcessFailed(f"{self.name} does not answer: {error}") from error
        if not line:
            raise LocalProcessFailed(f"{self.name} is gone")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise LocalProcessFailed(f"{self.name} failed:\n{answer['error']}")
        return answer

    def timed(self, do: str, **values: Any) -> float:
        """Have something done, and return the seconds that it says it took.

        Raises:
            LocalProcessFailed: As `ask`.
        """
        answer = self.ask(do, **values)
        return float(answer["ended"]) - float(answer["began"])

    def end(self) -> None:
        """Tell it to end. Idempotent; nothing happens if it is gone."""
        with suppress(LocalProcessFailed):
            self.begin(END)

    def close(self) -> None:
        """Hang up, upon which the process ends if it has not."""
        self._lines.close()
        self._connection.close()
        os.close(self._process)

    def kill(self) -> None:
        """Kill exactly this process, if it still runs."""
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._process, signal.SIGKILL)

    def ended_within(self, seconds: float) -> bool:
        """Wait for the process to end, and say whether it has."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            try:
                signal.pidfd_send_signal(self._process, 0)
            except ProcessLookupError:
                return True
            time.sleep(LOOK_SECONDS / 10)
        return False


class Switchboard:
    """Listens on loopback while its context lasts, and hangs up on everybody at its end."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._listener = self._stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        self._listener.settimeout(LOOK_SECONDS)
        self.port = int(self._listener.getsockname()[1])
        self._waiting: dict[str, Peer] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._stack.close()

    def peer(self, name: str, check: Callable[[], None]) -> Peer:
        """Return the process of a name once it has called.

        Args:
            name: How it introduces itself.
            check: Raises when there is no use in waiting any longer.

        Raises:
            LocalProcessFailed: It does not call within `CALL_SECONDS`.
        """
        deadline = time.monotonic() + CALL_SECONDS
        while name not in self._waiting:
            check()
            if time.monotonic() > deadline:
                raise LocalProcessFailed(f"{name} has not called within {CALL_SECONDS:.0f} s")
            with suppress(TimeoutError):
                connection, _ = self._listener.accept()
                caller = Peer(connection)
                self._stack.callback(caller.close)
                self._waiting[caller.name] = caller
        return self._waiting.pop(name)
