"""What processes take of this machine, as /proc tells it (Linux)."""

from __future__ import annotations

import dataclasses
import resource
from collections.abc import Mapping
from pathlib import Path

from alignfed.errors import RequestInvalid
from bench.processes import processor_seconds, status_bytes

SPARE_FILES = 128
"""Open files of a process beside its connections: libraries, pipes, logs, the store."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What one process has taken so far.

    Attributes:
        cpu_seconds: Processor time of all its threads, user and system.
        waited_seconds: Time that its main thread, which runs the event loop, was ready and had no processor, because
            others had them: on a laden machine a process is full when this and its own time make up all there is.
        resident_bytes: Memory it has now.
    """

    cpu_seconds: float
    waited_seconds: float
    resident_bytes: int


def usage_of(pid: int) -> Usage:
    """Return what a running process has taken.

    Raises:
        OSError: It has ended.
    """
    return Usage(
        cpu_seconds=processor_seconds(pid),
        waited_seconds=_waited_seconds(pid),
        resident_bytes=status_bytes(pid, "VmRSS"),
    )


def _waited_seconds(pid: int) -> float:
    """Return the main thread's time in line for a processor; 0 when this kernel does not count it."""
    try:
        return int(Path(f"/proc/{pid}/schedstat").read_text("ascii").split()[1]) / 1e9
    except (FileNotFoundError, IndexError):
        return 0.0


def usages_of(pids: Mapping[str, int]) -> dict[str, Usage]:
    """Return what several processes have taken, by name."""
    return {name: usage_of(pid) for name, pid in pids.items()}


def allow_files(connections: int) -> None:
    """Raise this process' limit of open files, which its children inherit, if so many connections need it.

    Raises:
        RequestInvalid: The system allows fewer.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + SPARE_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        if hard != resource.RLIM_INFINITY and hard < wanted:
            raise RequestInvalid(
                f"{connections} connections need {wanted} open files in the coordinator's process, and the system "
                f"allows {hard}: raise it with `ulimit -Hn`, or share connections with --connections"
            )
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
