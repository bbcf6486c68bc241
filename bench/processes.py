"""What a process has taken of this machine, as Linux tells it."""

from __future__ import annotations

import time
from pathlib import Path

_SCHEDULED = 2
"""Linux's clock of the time that a process was scheduled, ended threads included."""


def processor_seconds(pid: int) -> float:
    """Return user and system time of a process, without its children, in seconds; not rounded to ticks.

    Raises:
        OSError: There is no such process.
    """
    return time.clock_gettime((~pid << 3) | _SCHEDULED)  # what clock_getcpuclockid(3) returns on Linux


def status_bytes(pid: int, field: str) -> int:
    """Return a figure of a process's memory: `VmRSS` for what it holds now, `VmHWM` for the most it has held.

    Raises:
        OSError: There is no such process, or this system does not say.
    """
    for line in Path(f"/proc/{pid}/status").read_text("ascii").splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise OSError(f"this system's /proc says nothing of {field}: memory is measured on Linux alone")
