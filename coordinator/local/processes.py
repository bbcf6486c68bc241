"""Starts, watches and stops the processes of a federation on one machine, and leaves none behind.

Every child leads a process group of its own, so that Ctrl-C in the terminal reaches only this process, which then stops
the children in order. When this process is killed, the kernel kills them (see `coordinator.local.child`).
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from alignfed.errors import LocalProcessFailed
from alignfed.settings import ENV_PREFIX

LOG_TAIL_LINES = 15
"""How much of a dead process's log an error shows: enough for a traceback's end."""

GRACE_SECONDS = 5.0
"""Time from SIGTERM to SIGKILL. Nothing is lost by the latter: whatever was acknowledged is durable already."""

_POLL_SECONDS = 0.05


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """What to run.

    `arguments` begin with the path of the executable. `environment` is added to this process's own without its
    `ALIGNFED_*` variables: a child is told all it needs. What others depend on has a lower `stage` than they have, and
    is stopped later.
    """

    name: str
    stage: int
    arguments: tuple[str, ...]
    log: Path
    environment: Mapping[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, slots=True)
class _Child:
    program: Program
    process: subprocess.Popen[bytes]


def python_program(name: str, statement: str, arguments: Sequence[str], *, stage: int, log: Path) -> Program:
    """Return a program that runs `statement` in this interpreter, with `arguments` as its command line.

    Args:
        name: What it is called in messages.
        statement: Python code, such as an import and a call.
        arguments: `sys.argv[1:]` of the statement.
        stage: See `Program`.
        log: Where its output goes.
    """
    return Program(
        name=name,
        stage=stage,
        arguments=(sys.executable, "-c", statement, *arguments),
        log=log,
        environment={"PYTHONUNBUFFERED": "1", **_loopback_without_proxy()},
    )


def _loopback_without_proxy() -> dict[str, str]:
    """Return settings that keep loopback traffic away from a configured HTTP proxy, which gRPC would use otherwise."""
    hosts = [*filter(None, os.environ.get("no_proxy", os.environ.get("NO_PROXY", "")).split(",")), "127.0.0.1"]
    return {"no_proxy": ",".join(hosts), "NO_PROXY": ",".join(hosts)}


class Supervisor:
    """Owns child processes. Leaving its context stops all that still run, stage by stage, the highest stage first.

    Use it from the main thread: children die with the thread that starts them.
    """

    def __init__(self) -> None:
        self._children: dict[str, _Child] = {}

    def __enter__(self) -> Supervisor:
        return self

    def __exit__(self, *_error: object) -> None:
        grace_seconds = GRACE_SECONDS
        for stage in sorted({child.program.stage for child in self._children.values()}, reverse=True):
            names = [name for name, child in self._children.items() if child.program.stage == stage]
            try:
                self.stop(names, grace_seconds=grace_seconds)
            except KeyboardInterrupt:  # asked twice: no more patience
                grace_seconds = 0.0
                self.stop(names, grace_seconds=grace_seconds)

    def start(self, program: Program) -> None:
        """Start a program; its output is appended to its log.

        Raises:
            LocalProcessFailed: It cannot be started.
        """
        program.log.parent.mkdir(parents=True, exist_ok=True)
        launcher = (sys.executable, "-m", "coordinator.local.child", str(os.getpid()))
        try:
            with program.log.open("ab") as log:
                process = subprocess.Popen(
                    [*launcher, *program.arguments],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env=_environment(program),
                    process_group=0,
                )
        except OSError as error:
            raise LocalProcessFailed(f"{program.name} cannot be started: {error}") from error
        self._children[program.name] = _Child(program, process)

    def pids(self) -> dict[str, int]:
        """Return the process ids of the children that run, by name."""
        return {name: child.process.pid for name, child in self._children.items() if child.process.poll() is None}

    def check(self) -> None:
        """Check that every child still runs.

        Raises:
            LocalProcessFailed: One has ended; the message shows the end of its log.
        """
        for name, child in self._children.items():
            code = child.process.poll()
            if code is not None:
                tail = log_tail(child.program.log)
                raise LocalProcessFailed(
                    f"{name} ended by itself ({_describe_exit(code)}). The end of {child.program.log}:\n{tail}"
                )

    def stop(self, names: Sequence[str], *, grace_seconds: float = GRACE_SECONDS) -> None:
        """Stop children together: SIGTERM, then SIGKILL for those that run on after `grace_seconds`. Idempotent.

        Args:
            names: Those to stop; unknown ones are ignored.
            grace_seconds: Time to finish what they are doing.
        """
        stopping = [self._children[name] for name in names if name in self._children]
        for child in stopping:
            _signal_group(child.process, signal.SIGTERM)
        deadline = time.monotonic() + grace_seconds
        while time.monotonic() < deadline and any(child.process.poll() is None for child in stopping):
            time.sleep(_POLL_SECONDS)
        for child in stopping:
            _signal_group(child.process, signal.SIGKILL)
            child.process.wait()
            del self._children[child.program.name]


def _environment(program: Program) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(f"{ENV_PREFIX}_")}
    return {**inherited, **program.environment}


def log_tail(log: Path, *, lines: int = LOG_TAIL_LINES) -> str:
    """Return the last `lines` lines of a log file, indented."""
    with contextlib.suppress(OSError):
        text = log.read_text("utf-8", "replace").splitlines()[-lines:]
        if text:
            return "\n".join(f"  {line}" for line in text)
    return "  (empty)"


def _signal_group(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    if process.poll() is None:  # a process that was waited for no longer owns its id
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)


def _describe_exit(code: int) -> str:
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
