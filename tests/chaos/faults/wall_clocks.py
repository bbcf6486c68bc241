"""Wall clocks of processes that can be set while they run, each machine's its own; monotonic clocks go on as ever."""

from __future__ import annotations

import mmap
import shutil
import struct
import subprocess
from pathlib import Path

import pytest

DAY_SECONDS = 86_400
SOURCE = Path(__file__).with_name("wall_clock.c")


class WallClocks:
    """The clocks of named machines: how far each is from the true time, in whole seconds.

    Args:
        folder: Where the library is compiled to and the clocks are kept; created.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._library = folder / "wall_clock.so"
        compiler = shutil.which("cc")
        if compiler is None:
            pytest.skip("no cc on PATH: install a C compiler to set the clocks of processes")
        flags = ["-shared", "-fPIC", "-O2", "-Wall", "-Werror"]
        subprocess.run([compiler, *flags, "-o", str(self._library), str(SOURCE), "-ldl"], check=True)
        self._clocks: dict[str, mmap.mmap] = {}

    def environment(self, machine: str) -> dict[str, str]:
        """Return the variables with which a process lives by that machine's clock."""
        self._clock(machine)
        return {"LD_PRELOAD": str(self._library), "CHAOS_CLOCK": str(self._path(machine))}

    def set(self, machine: str, seconds: int) -> None:
        """Set a machine's clock to so many seconds after the true time, or before it."""
        self._clock(machine)[:8] = struct.pack("q", seconds)

    def _path(self, machine: str) -> Path:
        return self._folder / f"{machine}.clock"

    def _clock(self, machine: str) -> mmap.mmap:
        if machine not in self._clocks:
            self._path(machine).write_bytes(struct.pack("q", 0))
            with self._path(machine).open("r+b") as file:
                self._clocks[machine] = mmap.mmap(file.fileno(), 8)
        return self._clocks[machine]
