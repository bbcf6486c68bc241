"""The process that the nursery forks from: heavy modules loaded, no thread, no channel, no event loop yet.

Run as `python -m tests.chaos.harness.cradle FD`, FD being a socket on which each line of JSON is a request and gets one
line back; see `tests.chaos.harness.nursery`. It ends, and kills every child, when the socket closes. Children die with
it.
"""

from __future__ import annotations

import ctypes
import faulthandler
import gc
import json
import os
import random
import signal
import socket
import sys
import traceback
from pathlib import Path
from typing import Any, NoReturn

DIE_WITH_PARENT = 1
"""PR_SET_PDEATHSIG of prctl(2)."""
STACKS = signal.SIGUSR1
"""Makes a child print the stacks of its threads: a test that waits in vain for one wants to know why."""


class Cradle:
    """Forks children on request, and knows which of them live: a signal never reaches a stranger with a reused id."""

    def __init__(self, requests: socket.socket) -> None:
        self._requests = requests
        self._living: set[int] = set()

    def serve(self) -> None:
        """Answer requests until there are no more."""
        try:
            with self._requests.makefile("rw", encoding="utf-8", newline="\n") as lines:
                for line in lines:
                    lines.write(json.dumps(self._answer(json.loads(line))) + "\n")
                    lines.flush()
        finally:
            for pid in self._living:
                os.kill(pid, signal.SIGKILL)
            for pid in self._living:
                os.waitpid(pid, 0)

    def _answer(self, request: dict[str, Any]) -> dict[str, Any]:
        match request["ask"]:
            case "spawn":
                return {"pid": self._spawn(request)}
            case "signal":
                living = request["pid"] in self._living
                if living:
                    os.kill(request["pid"], request["number"])
                return {"sent": living}
            case "exits":
                return {"exits": self._reap()}
            case other:
                raise ValueError(f"nobody asks for {other!r}")

    def _spawn(self, request: dict[str, Any]) -> int:
        pid = os.fork()
        if pid == 0:
            _become(request, self._requests)
        self._living.add(pid)
        return pid

    def _reap(self) -> list[tuple[int, int]]:
        """Return the id and the exit code (minus the signal's number for killed ones) of children that have ended."""
        exits = []
        for pid in sorted(self._living):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                self._living.discard(pid)
                exits.append((pid, os.waitstatus_to_exitcode(status)))
        return exits


def _become(request: dict[str, Any], requests: socket.socket) -> NoReturn:
    """Turn the forked copy into the child that was asked for; never returns to the cradle's loop."""
    code = 1
    try:
        _settle_in(request, requests)
        from tests.chaos.harness.children import run_child

        run_child(request["kind"], request["settings"])
        code = 0
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else 1
    except BaseException:  # noqa: BLE001  # a child has nobody to raise to
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _settle_in(request: dict[str, Any], requests: socket.socket) -> None:
    """A session of its own, the asked environment and folder, output to its file, default signals, fresh chance."""
    parent = os.getppid()
    os.setsid()
    ctypes.CDLL(None).prctl(DIE_WITH_PARENT, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
    os.close(requests.detach())  # not `close`, which waits for whoever reads from it
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    silence = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((silence, 0), (log, 1), (log, 2)):
        os.dup2(source, target)
    os.close(silence)
    os.close(log)
    faulthandler.register(STACKS)
    os.chdir(request["folder"])
    for name in [name for name in os.environ if name.startswith("ALIGNFED_")]:
        del os.environ[name]
    os.environ.update(request["environment"])
    random.seed()
    sys.argv = [f"chaos-{request['kind']}"]


def _load() -> None:
    """Import what takes seconds, once for all children."""
    import torch

    import alignfed.tracing.export  # noqa: F401
    import coordinator.service.process  # noqa: F401  # commands import it only when they run
    from tests.chaos.harness import children

    torch.set_num_threads(1)
    assert children.KINDS
    gc.collect()
    gc.freeze()  # children share these pages for as long as nobody's collector walks them


def main() -> None:
    """Serve the socket that was handed on."""
    ctypes.CDLL(None).prctl(DIE_WITH_PARENT, signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the harness, which closes the socket
    requests = socket.socket(fileno=int(sys.argv[1]))
    _load()
    Cradle(requests).serve()


if __name__ == "__main__":
    assert Path("tests/chaos").is_dir(), "run from the root of the repository"
    main()
