"""Processor time of the processes of one side: what it costs, whoever else uses the machine at the same time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from bench.processes import processor_seconds


class Meter:
    """Adds up, block by block, what each of some processes has used.

    Args:
        pids: The processes, by name.
    """

    def __init__(self, pids: Mapping[str, int]) -> None:
        self._pids = dict(pids)
        self.readings: list[Mapping[str, float]] = []
        """Seconds of each process, for each block."""

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Read before and after the block."""
        before = self._now()
        yield
        after = self._now()
        self.readings.append({name: after[name] - before[name] for name in before})

    def take(self) -> list[Mapping[str, float]]:
        """Return the readings since the last call."""
        taken, self.readings = self.readings, []
        return taken

    def _now(self) -> dict[str, float]:
        return {name: processor_seconds(pid) for name, pid in self._pids.items()}
