"""Profiles on request: where coordinators spend their time while they are measured, written by py-spy."""

from __future__ import annotations

import contextlib
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path

from alignfed.errors import LocalProcessFailed, RequestInvalid

_WRITE_SECONDS = 60.0
_SAMPLES_PER_SECOND = "200"

_wanted_in: ContextVar[Path | None] = ContextVar("_wanted_in", default=None)


@contextlib.contextmanager
def profiles_in(folder: Path) -> Iterator[None]:
    """Have every coordinator that the block starts profiled, each into a file of its own in `folder`.

    Raises:
        RequestInvalid: py-spy is not installed.
    """
    _py_spy()
    folder.mkdir(parents=True, exist_ok=True)
    token = _wanted_in.set(folder)
    try:
        yield
    finally:
        _wanted_in.reset(token)


@contextlib.contextmanager
def profiled(name: str, pid: int) -> Iterator[None]:
    """Profile a process while the block runs, if profiles are wanted; open the file on https://speedscope.app.

    Raises:
        LocalProcessFailed: py-spy may not look into the process, or did not end in time.
    """
    folder = _wanted_in.get()
    if folder is None:
        yield
        return
    file = folder / f"{name}-{pid}.speedscope.json"
    options = ["--nonblocking", "--rate", _SAMPLES_PER_SECOND, "--format", "speedscope", "--duration", "unlimited"]
    command = [_py_spy(), "record", *options, "--output", str(file), "--pid", str(pid)]
    profiler = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        yield
    finally:
        profiler.send_signal(signal.SIGINT)  # it writes what it has, and ends
        try:
            said = profiler.communicate(timeout=_WRITE_SECONDS)[1]
        finally:
            profiler.kill()
    if not file.exists():
        raise LocalProcessFailed(
            f"py-spy could not profile the {name}: run as root, or allow it (sysctl kernel.yama.ptrace_scope=0)\n{said}"
        )


def _py_spy() -> str:
    beside = Path(sys.executable).with_name("py-spy")
    found = str(beside) if beside.exists() else shutil.which("py-spy")
    if found is None:
        raise RequestInvalid("profiles are written by py-spy, which is not installed: pip install py-spy")
    return found
