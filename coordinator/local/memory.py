"""How much memory all processes of a local run take together, measured while it runs (Linux)."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

SAMPLE_SECONDS = 2.0
"""Reading the figure of a 1 GB process takes a few milliseconds."""


class MemoryMeter:
    """Samples the sum of the proportional set sizes of this process and of its children, in a thread.

    A page that several processes share counts once in the sum, which the sum of resident sizes would not do.

    Args:
        children: Returns the process ids to count besides this process; called from the thread.
    """

    def __init__(self, children: Callable[[], Iterable[int]]) -> None:
        self._children = children
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="memory-meter", daemon=True)
        self.peak_bytes = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while True:
            total = sum(proportional_bytes(pid) for pid in [os.getpid(), *self._children()])
            self.peak_bytes = max(self.peak_bytes, total)
            if self._stop.wait(SAMPLE_SECONDS):
                return


def proportional_bytes(pid: int) -> int:
    """Return a process's proportional set size; 0 when it has ended or the system does not tell."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text("ascii").splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
