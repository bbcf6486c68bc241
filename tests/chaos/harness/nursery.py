"""Real processes in milliseconds: children forked from a parent that has torch and gRPC loaded already.

    with Nursery(folder) as nursery:
        worker = nursery.spawn("worker", "worker-1", {"store_url": url}, failpoints="merge.stored=crash")
        wait_until(lambda: worker.poll() is not None, what="it has died")

A child is a process of its own, in a session of its own, and runs what the command of its kind runs (see
`tests.chaos.harness.children`); what it prints goes to `NAME.log` in the nursery's folder, all starts of one name one
after the other. Starting one takes some 50 ms instead of five seconds. All die with the nursery, however that ends.
"""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, Self

from alignfed.failpoints import VARIABLE
from tests.chaos.harness.cradle import STACKS

ROOT = Path(__file__).parents[3]
LOAD_SECONDS = 240.0
"""Loading torch, transformers and gRPC takes five seconds, and far longer while other tests use the cores."""
END_SECONDS = 30.0
LAST_WORDS = 6000
STACKS_SECONDS = 2.0


@dataclasses.dataclass(slots=True, eq=False)
class Child:
    """One start of a process. `failpoints` is what it was told to do; `log_start` is where its output begins."""

    nursery: Nursery
    kind: str
    name: str
    pid: int
    failpoints: str
    log: Path
    log_start: int
    code: int | None = None

    def poll(self) -> int | None:
        """Return its exit code, minus the signal's number when one killed it; None while it lives."""
        self.nursery.reap()
        return self.code

    def signal(self, number: signal.Signals) -> bool:
        """Send a signal; return whether it still lived (or was not known to be dead)."""
        return self.nursery.signal(self, number)

    def last_words(self) -> str:
        """Return the end of its output, with the stacks of all its threads where it still lives."""
        if self.signal(STACKS):
            time.sleep(STACKS_SECONDS)
        return self.output[-LAST_WORDS:]

    @property
    def output(self) -> str:
        """What this start has printed so far."""
        with self.log.open("rb") as stream:
            stream.seek(self.log_start)
            return stream.read().decode(errors="replace")


_BELIEVING = {"ALIGNFED_INSECURE": "true"}
"""Coordinators believe whoever calls: what is tested here is what survives, not who may call."""


class Nursery:
    """Owns the cradle and, through it, every child. Use it as a context manager; safe for several threads.

    Args:
        folder: Where children run and print; created.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        self._children: dict[int, Child] = {}

    def __enter__(self) -> Self:
        mine, theirs = socket.socketpair()
        with theirs:
            environment = {name: value for name, value in os.environ.items() if not name.startswith("ALIGNFED_")}
            with (self.folder / "cradle.log").open("ab") as log:
                self._cradle = subprocess.Popen(
                    [sys.executable, "-m", "tests.chaos.harness.cradle", str(theirs.fileno())],
                    cwd=ROOT,
                    env=environment | {"OMP_NUM_THREADS": "1", "GRPC_ENABLE_FORK_SUPPORT": "0"},
                    pass_fds=[theirs.fileno()],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
        mine.settimeout(LOAD_SECONDS)
        self._socket = mine
        self._lines = mine.makefile("rw", encoding="utf-8", newline="\n")
        self._ask({"ask": "exits"})  # answers once everything is loaded
        return self

    def __exit__(self, *_exception: object) -> None:
        self._lines.close()
        self._socket.close()
        try:
            self._cradle.wait(END_SECONDS)
        finally:
            self._cradle.kill()
            self._cradle.wait()

    def kill(self) -> None:
        """SIGKILL to the cradle, as no test of a federation needs it: its children must not outlive it."""
        self._cradle.kill()
        self._cradle.wait()

    @property
    def living(self) -> list[Child]:
        """Children that are not known to have ended."""
        self.reap()
        with self._lock:
            return list(self._children.values())

    def spawn(
        self,
        kind: str,
        name: str,
        settings: dict[str, Any],
        *,
        failpoints: str = "",
        environment: dict[str, str] | None = None,
    ) -> Child:
        """Start a child.

        Args:
            kind: One of `tests.chaos.harness.children.KINDS`.
            name: Of its log.
            settings: What its kind takes, as plain JSON.
            failpoints: Its `ALIGNFED_FAILPOINTS`.
            environment: Further variables.
        """
        log = self.folder / f"{name}.log"
        log.touch()
        start = log.stat().st_size
        armed = {VARIABLE: failpoints} if failpoints else {}
        request = {"ask": "spawn", "kind": kind, "settings": settings, "log": str(log), "folder": str(self.folder)}
        with self._lock:
            pid = self._ask(request | {"environment": _BELIEVING | (environment or {}) | armed})["pid"]
            child = Child(self, kind, name, pid, failpoints, log, start)
            self._children[pid] = child
        return child

    def signal(self, child: Child, number: signal.Signals) -> bool:
        """Send a signal to a child that lives."""
        with self._lock:
            if child.code is not None:
                return False
            return bool(self._ask({"ask": "signal", "pid": child.pid, "number": int(number)})["sent"])

    def reap(self) -> None:
        """Note which children have ended, and how."""
        with self._lock:
            for pid, code in self._ask({"ask": "exits"})["exits"]:
                self._children.pop(pid).code = code

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        self._lines.write(json.dumps(request) + "\n")
        self._lines.flush()
        line = self._lines.readline()
        if not line:
            raise AssertionError(f"the nursery's cradle has died: {(self.folder / 'cradle.log').read_text()}")
        answer: dict[str, Any] = json.loads(line)
        return answer
