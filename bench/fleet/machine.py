"""What processes take of this machine, as /proc tells it (Linux)."""

from __future__ import annotations

import dataclasses
import os
import resource
from collections.abc import Mapping
from pathlib import Path

from alignfed.errors import RequestInvalid

SPARE_FILES = 128
"""Open files of a process beside its connections: libraries, pipes, logs, the store."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What one process has taken so far: processor time of user and system, and the memory it has now."""

    cpu_seconds: float
    resident_bytes: int


def usage_of(pid: int) -> Usage:
    """Return what a running process has taken.

    Raises:
        OSError: It has ended.
    """
    fields = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()
    return Usage(
        cpu_seconds=(int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK"),
        resident_bytes=int(fields[21]) * os.sysconf("SC_PAGE_SIZE"),
    )


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
