"""How a running agent is told to stop: the exception that unwinds its work, and signals made safe for threads."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_STOPPING_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Interrupted(Exception):
    """The agent was told to stop: unfinished work is discarded. Not a failure, so not in `alignfed.errors`."""


@contextmanager
def stop_on_signals(stop: Callable[[], None]) -> Iterator[None]:
    """Call `stop` once, on a thread of its own, at the first SIGTERM or SIGINT.

    The second one acts as it did before, or ends the process where it was ignored, as in a shell's background jobs.
    A signal handler runs between two instructions of the main thread, which may hold the very lock that `stop` wants:
    the handler therefore only writes a byte to a pipe.
    """
    reader, writer = os.pipe()
    before = {number: signal.getsignal(number) for number in _STOPPING_SIGNALS}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        os.write(writer, b"s")
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is signal.SIG_IGN else handler)

    def watch() -> None:
        if os.read(reader, 1) == b"s":
            stop()

    watcher = threading.Thread(target=watch, name="stop-on-signals", daemon=True)
    watcher.start()
    for number in _STOPPING_SIGNALS:
        signal.signal(number, on_signal)
    try:
        yield
    finally:
        restore()
        os.write(writer, b"q")
        watcher.join()
        os.close(writer)
        os.close(reader)
