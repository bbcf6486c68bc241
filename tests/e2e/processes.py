"""A command as a real process, and the processes it starts."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.support.waiting import wait_until

START_SECONDS = 120.0
"""Python loads torch in five processes at once, on two cores that may be busy with other tests."""


class RunningCommand:
    """One command in a folder, its output in a file.

    Args:
        command: A console script, `alignfed` or `alignfed-agent`, with its arguments.
        folder: Where it runs, and where its output goes.
        name: Of the output's file.
        settings: `ALIGNFED_*` variables it gets; this process's own are not handed on. A coordinator believes whoever
            calls it, unless the command names identities.
    """

    def __init__(
        self, command: list[str], folder: Path, *, name: str = "command", settings: Mapping[str, str] | None = None
    ) -> None:
        self._log = folder / f"{name}.log"
        self._from = self._log.stat().st_size if self._log.exists() else 0
        environment = {name: value for name, value in os.environ.items() if not name.startswith("ALIGNFED_")}
        if command[1:2] == ["coordinator"] and "--identity-dir" not in command:  # older ones know no such variable
            environment["ALIGNFED_INSECURE"] = "true"
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [str(Path(sys.executable).with_name(command[0])), *command[1:]],
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**environment, **(settings or {}), "PYTHONUNBUFFERED": "1"},
                process_group=0,
            )
        self._known: set[int] = {self.process.pid}

    @property
    def output(self) -> str:
        """What it has printed so far."""
        return self._log.read_bytes()[self._from :].decode()

    def family(self) -> set[int]:
        """Return the ids of this process and of all it has started so far, directly or not."""
        parents = _parents()
        while more := {pid for pid, parent in parents.items() if parent in self._known} - self._known:
            self._known |= more
        return set(self._known)

    def wait_for(self, pattern: str) -> None:
        """Wait until the output matches a regular expression; fail with the output if it ends without."""
        wait_until(
            lambda: bool(re.search(pattern, self.output)) or self.process.poll() is not None,
            what=f"{pattern!r} is printed to {self._log}",
            timeout_seconds=START_SECONDS,
        )
        assert re.search(pattern, self.output), self.output

    def end(self, number: signal.Signals | None = None) -> int:
        """Send a signal, if any, and return the exit code."""
        if number is not None:
            self.process.send_signal(number)
        return self.process.wait(START_SECONDS)


@contextmanager
def running(
    command: list[str], folder: Path, *, name: str = "command", settings: Mapping[str, str] | None = None
) -> Iterator[RunningCommand]:
    """Run a command; whatever the test does, it and all it started are gone afterwards."""
    started = RunningCommand(command, folder, name=name, settings=settings)
    try:
        yield started
    finally:
        family = started.family()
        started.process.kill()
        started.process.wait()
        wait_until(lambda: not any(map(is_running, family)), what=f"the command's processes {family} are gone")


def is_running(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _parents() -> dict[int, int]:
    parents = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                parents[int(folder.name)] = int((folder / "stat").read_text("ascii").rpartition(")")[2].split()[1])
            except OSError:
                continue
    return parents
